//! Chance that a seed decides, one stream for each check and purpose.

/// A stream of draws.
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// The stream number `stream` of `seed`.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut mixed = Self(seed ^ stream.wrapping_mul(0xd1b5_4a32_d192_ed03));
        // Neighbours start far apart.
        Self(mixed.word())
    }

    /// The next word.
    pub fn word(&mut self) -> u64 {
        // SplitMix64, by Steele, Lea and Flood.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number above 0 and at most 1, evenly spread.
    pub fn unit(&mut self) -> f64 {
        ((self.word() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    /// A number below `bound`; 0 when that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.word() % bound.max(1)
    }

    /// How many times something of chance `p` does not happen before it does: by inversion.
    pub fn skip(&mut self, p: f64) -> u64 {
        if p <= 0.0 {
            return u64::MAX / 2;
        }
        // A float above what fits is cut to what fits, far beyond any span.
        (self.unit().ln() / (-p).ln_1p()).floor().min(1e15) as u64
    }

    /// How long until the next event of a Poisson process whose events are `mean` apart.
    pub fn wait(&mut self, mean: f64) -> f64 {
        -mean * self.unit().ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skips_have_the_mean_of_their_chance() {
        let mut chance = Chance::new(1, 2);
        for p in [0.3, 0.03, 0.003] {
            let draws = 200_000;
            let sum: u64 = (0..draws).map(|_| chance.skip(p)).sum();
            let (mean, wanted) = (sum as f64 / f64::from(draws), (1.0 - p) / p);
            assert!((mean / wanted - 1.0).abs() < 0.02, "{p}: {mean}, not {wanted}");
        }
        assert!(chance.skip(0.0) > 1 << 60, "never");
    }

    #[test]
    fn neighbouring_streams_have_nothing_in_common() {
        let words = |stream| {
            let mut chance = Chance::new(7, stream);
            (0..64).map(|_| chance.word()).collect::<Vec<_>>()
        };
        let (one, other) = (words(1), words(2));
        assert!(one.iter().all(|word| !other.contains(word)));
        assert_eq!(one, words(1));
    }
}
