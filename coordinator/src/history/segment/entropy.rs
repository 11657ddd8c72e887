//! Bits that cost what they tell: an adaptive binary range coder. Pure.
//!
//! Whoever writes and whoever reads keep the same estimates of what comes next; what was expected
//! costs a fraction of a bit (G. N. N. Martin, "Range encoding", 1979). Counts of histograms are small
//! numbers with a slowly changing mean, for which whole bytes would be several times too much.
//!
//! Reading believes nothing: behind the last byte come zeros, and [`Decoder::is_whole`] says when too
//! many of them were needed.

/// Estimates are in units of 1 / 2^15.
const ONE_LOG2: u32 = 15;
/// No decision costs less than a hundredth of a bit: what a few damaged bytes can pretend to hold
/// stays small.
const LEAST: u16 = 256;
/// Below this the range is widened by a byte.
const RANGE_MIN: u32 = 1 << 24;
/// Decisions after which an estimate moves no slower.
const SETTLED: u8 = 100;
/// Lengths of numbers that are told apart in their upper bits.
const LENGTHS: usize = 20;

/// What is expected of one decision.
#[derive(Debug, Clone, Copy)]
pub struct Bit {
    /// Share of `false`.
    zero: u16,
    seen: u8,
}

impl Default for Bit {
    fn default() -> Self {
        Self { zero: 1 << (ONE_LOG2 - 1), seen: 0 }
    }
}

/// 1 / (n + 1.5) in units of 1 / 2^16: how far an estimate moves.
const RATES: [u32; SETTLED as usize + 1] = {
    let mut rates = [0; SETTLED as usize + 1];
    let mut seen = 0;
    while seen < rates.len() {
        rates[seen] = 2 * 65_536 / (2 * seen as u32 + 3);
        seen += 1;
    }
    rates
};

impl Bit {
    fn learn(&mut self, bit: bool) {
        let rate = RATES[usize::from(self.seen)];
        self.seen = (self.seen + 1).min(SETTLED);
        let most = (1u32 << ONE_LOG2) - u32::from(LEAST);
        let zero = u32::from(self.zero);
        let zero = match bit {
            true => zero - (((zero - u32::from(LEAST)) * rate) >> 16),
            false => zero + (((most - zero) * rate) >> 16),
        };
        self.zero = zero as u16;
    }
}

/// What is expected of numbers of one kind: small ones, or ones like those before.
#[derive(Debug, Clone, Default)]
pub struct Number {
    /// Whether it has more binary places.
    longer: [Bit; LENGTHS],
    /// The first places behind the leading one.
    upper: [[Bit; 8]; LENGTHS],
}

/// Places behind the leading one that are expected; those after them are taken for chance.
const UPPER_PLACES: u32 = 3;

/// Bytes that are being put together.
#[derive(Debug)]
pub struct Encoder {
    out: Vec<u8>,
    low: u32,
    range: u32,
}

impl Default for Encoder {
    fn default() -> Self {
        Self { out: Vec::new(), low: 0, range: u32::MAX }
    }
}

impl Encoder {
    /// One decision.
    pub fn bit(&mut self, expected: &mut Bit, bit: bool) {
        let bound = (self.range >> ONE_LOG2) * u32::from(expected.zero);
        expected.learn(bit);
        self.narrow(bound, bit);
    }

    fn narrow(&mut self, bound: u32, bit: bool) {
        if bit {
            let (low, over) = self.low.overflowing_add(bound);
            self.low = low;
            self.range -= bound;
            if over {
                self.carry();
            }
        } else {
            self.range = bound;
        }
        while self.range < RANGE_MIN {
            self.out.push((self.low >> 24) as u8);
            self.low <<= 8;
            self.range <<= 8;
        }
    }

    fn carry(&mut self) {
        for byte in self.out.iter_mut().rev() {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                return;
            }
        }
    }

    /// The lower places of a value, by chance.
    pub fn places(&mut self, value: u64, places: u32) {
        for place in (0..places).rev() {
            self.narrow(self.range >> 1, (value >> place) & 1 == 1);
        }
    }

    /// A number.
    pub fn number(&mut self, expected: &mut Number, value: u64) {
        let value = u128::from(value) + 1;
        let length = value.ilog2();
        for at in 0..length {
            self.bit(&mut expected.longer[slot(at)], true);
        }
        if length < u64::BITS {
            self.bit(&mut expected.longer[slot(length)], false);
        }
        let upper = length.min(UPPER_PLACES);
        let mut node = 1;
        for place in (length - upper..length).rev() {
            let bit = (value >> place) & 1 == 1;
            self.bit(&mut expected.upper[slot(length)][node], bit);
            node = (node << 1) | usize::from(bit);
        }
        self.places(value as u64, length - upper);
    }

    /// A number that may be negative.
    pub fn signed(&mut self, expected: &mut Number, value: i64) {
        self.number(expected, ((value << 1) ^ (value >> 63)) as u64);
    }

    /// The bytes: as few as still lead to the same decisions.
    pub fn into_bytes(mut self) -> Vec<u8> {
        let last = u64::from(self.low) + u64::from(self.range) - 1;
        for bytes in 0..=4u32 {
            let rest = (1u64 << (32 - 8 * bytes)) - 1;
            let value = (u64::from(self.low) + rest) & !rest;
            if value <= last {
                if value > u64::from(u32::MAX) {
                    self.carry();
                }
                self.out.extend_from_slice(&(value as u32).to_be_bytes()[..bytes as usize]);
                break;
            }
        }
        self.out
    }
}

/// The place of a length among the estimates.
fn slot(length: u32) -> usize {
    (length as usize).min(LENGTHS - 1)
}

/// Bytes that are being taken apart.
#[derive(Debug)]
pub struct Decoder<'a> {
    rest: &'a [u8],
    code: u32,
    range: u32,
    /// Zeros taken for what is not there.
    beyond: u32,
}

impl<'a> Decoder<'a> {
    /// Begins.
    pub fn new(bytes: &'a [u8]) -> Self {
        let mut decoder = Self { rest: bytes, code: 0, range: u32::MAX, beyond: 0 };
        for _ in 0..4 {
            decoder.code = (decoder.code << 8) | decoder.next();
        }
        decoder
    }

    fn next(&mut self) -> u32 {
        match self.rest.split_first() {
            Some((&byte, rest)) => {
                self.rest = rest;
                u32::from(byte)
            }
            None => {
                self.beyond = self.beyond.saturating_add(1);
                0
            }
        }
    }

    /// Whether what was read so far was there. Four bytes are looked at ahead, and the last ones are
    /// written only as far as they matter.
    pub fn is_whole(&self) -> bool {
        self.beyond <= 4
    }

    /// Whether every byte was taken.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// One decision.
    pub fn bit(&mut self, expected: &mut Bit) -> bool {
        let bound = (self.range >> ONE_LOG2) * u32::from(expected.zero);
        let bit = self.narrow(bound);
        expected.learn(bit);
        bit
    }

    fn narrow(&mut self, bound: u32) -> bool {
        let bit = self.code >= bound;
        if bit {
            self.code -= bound;
            self.range -= bound;
        } else {
            self.range = bound;
        }
        while self.range < RANGE_MIN {
            self.code = (self.code << 8) | self.next();
            self.range <<= 8;
        }
        bit
    }

    /// See [`Encoder::places`].
    pub fn places(&mut self, places: u32) -> u64 {
        (0..places).fold(0, |value, _| (value << 1) | u64::from(self.narrow(self.range >> 1)))
    }

    /// A number.
    pub fn number(&mut self, expected: &mut Number) -> u64 {
        let mut length = 0;
        while length < u64::BITS && self.bit(&mut expected.longer[slot(length)]) {
            length += 1;
        }
        let upper = length.min(UPPER_PLACES);
        let mut node = 1;
        for _ in 0..upper {
            let bit = self.bit(&mut expected.upper[slot(length)][node]);
            node = (node << 1) | usize::from(bit);
        }
        let rest = u128::from(self.places(length - upper));
        let value = ((node as u128) << (length - upper)) | rest;
        (value - 1) as u64
    }

    /// A number that may be negative.
    pub fn signed(&mut self, expected: &mut Number) -> i64 {
        let value = self.number(expected);
        (value >> 1) as i64 ^ -((value & 1) as i64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One thing that is written.
    #[derive(Debug, Clone)]
    enum Said {
        Bit(usize, bool),
        Number(usize, u64),
        Signed(usize, i64),
        Places(u64, u32),
    }

    fn said() -> impl Strategy<Value = Said> {
        prop_oneof![
            (0usize..3, any::<bool>()).prop_map(|(of, bit)| Said::Bit(of, bit)),
            (0usize..3, 0u64..40).prop_map(|(of, value)| Said::Number(of, value)),
            (0usize..3, any::<u64>()).prop_map(|(of, value)| Said::Number(of, value)),
            (0usize..3, -70i64..70).prop_map(|(of, value)| Said::Signed(of, value)),
            (0usize..3, any::<i64>()).prop_map(|(of, value)| Said::Signed(of, value)),
            (any::<u64>(), 0u32..=64).prop_map(|(value, places)| {
                Said::Places(if places == 64 { value } else { value & ((1 << places) - 1) }, places)
            }),
        ]
    }

    proptest! {
        #[test]
        fn what_was_said_is_heard(all in prop::collection::vec(said(), 0..300)) {
            let mut encoder = Encoder::default();
            let (mut bits, mut numbers) = ([Bit::default(); 3], [(); 3].map(|()| Number::default()));
            for one in &all {
                match *one {
                    Said::Bit(of, bit) => encoder.bit(&mut bits[of], bit),
                    Said::Number(of, value) => encoder.number(&mut numbers[of], value),
                    Said::Signed(of, value) => encoder.signed(&mut numbers[of], value),
                    Said::Places(value, places) => encoder.places(value, places),
                }
            }
            let bytes = encoder.into_bytes();
            let mut decoder = Decoder::new(&bytes);
            let (mut bits, mut numbers) = ([Bit::default(); 3], [(); 3].map(|()| Number::default()));
            for one in &all {
                let heard = match *one {
                    Said::Bit(of, _) => Said::Bit(of, decoder.bit(&mut bits[of])),
                    Said::Number(of, _) => Said::Number(of, decoder.number(&mut numbers[of])),
                    Said::Signed(of, _) => Said::Signed(of, decoder.signed(&mut numbers[of])),
                    Said::Places(_, places) => Said::Places(decoder.places(places), places),
                };
                prop_assert_eq!(format!("{heard:?}"), format!("{one:?}"));
            }
            prop_assert!(decoder.is_whole() && decoder.is_empty());
        }

        #[test]
        fn nonsense_ends(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let (mut decoder, mut number) = (Decoder::new(&bytes), Number::default());
            let mut heard = 0;
            while decoder.is_whole() {
                decoder.number(&mut number);
                heard += 1;
            }
            // No decision costs less than a hundredth of a bit.
            prop_assert!(heard <= (bytes.len() + 8) * 8 * 100, "{}", heard);
        }
    }

    #[test]
    fn what_was_expected_costs_next_to_nothing() {
        let (mut encoder, mut number) = (Encoder::default(), Number::default());
        (0..10_000).for_each(|_| encoder.number(&mut number, 3));
        let bytes = encoder.into_bytes().len();
        assert!(bytes < 150, "{bytes} bytes for 10 000 times the same");
        // A coin costs one bit, and not much more.
        let mut random = 1u64;
        let (mut encoder, mut coin) = (Encoder::default(), Bit::default());
        for _ in 0..8_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            encoder.bit(&mut coin, random >> 63 == 1);
        }
        let bytes = encoder.into_bytes().len();
        assert!((990..1_020).contains(&bytes), "{bytes} bytes for 8 000 coins");
    }
}
