//! Durations as HDR histograms (G. Tene): 1 us to 60 s, 3 significant figures, one layout for
//! everybody, so that merging is exact and its order does not matter.
//!
//! A [`Recorder`] gathers samples on a probe; [`Encoded`] is what travels and is stored; a
//! [`Merged`] is what readers add up. Bytes from the wire are looked through here, bound by bound,
//! before anything is allocated for them: the stock V2 decoder would believe a 40-byte header that
//! asks for 4 GiB.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::limits::{
    HISTOGRAM_FIGURES, HISTOGRAM_HIGH_US, HISTOGRAM_LOW_US, SAMPLES_PER_SERIES_MAX,
    SPARSE_SAMPLES_MAX,
};

pub mod hdr_v2;

/// Linear steps of the first bucket, as a power of two: the least that holds 2 x 10^3.
const STEPS_LOG2: u32 = 11;
/// Steps that each later bucket adds.
const HALF: u64 = 1 << (STEPS_LOG2 - 1);
/// Entries of the counts array: 16 buckets cover 60 s.
pub const COUNTS_LEN: u32 = 17 * HALF as u32;

/// Where a value in microseconds is counted. Values above the top are counted at the top.
pub fn index_of(us: u64) -> u32 {
    let us = us.min(HISTOGRAM_HIGH_US);
    let bucket = (64 - STEPS_LOG2) - (us | (2 * HALF - 1)).leading_zeros();
    // At most 16 * 1024 + 1023.
    ((u64::from(bucket) + 1) * HALF + (us >> bucket) - HALF) as u32
}

/// The lowest value in microseconds that is counted at `index`, which must be inside the array.
pub fn value_at(index: u32) -> u64 {
    let index = u64::from(index);
    match index.checked_sub(2 * HALF) {
        None => index,
        Some(above) => (above % HALF + HALF) << (above / HALF + 1),
    }
}

/// A duration as it is counted: whole microseconds, within what the histograms hold.
pub fn microseconds(length: Duration) -> u64 {
    u64::try_from(length.as_micros()).unwrap_or(u64::MAX).clamp(HISTOGRAM_LOW_US, HISTOGRAM_HIGH_US)
}

/// Count, sum, least and greatest of the samples of one series, exact in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Samples.
    pub count: u64,
    /// Sum in microseconds.
    pub sum_us: u64,
    /// Least in microseconds; 0 when there is none.
    pub min_us: u64,
    /// Greatest in microseconds; 0 when there is none.
    pub max_us: u64,
}

impl Totals {
    fn record(&mut self, us: u64) {
        self.add(Self { count: 1, sum_us: us, min_us: us, max_us: us });
    }

    fn add(&mut self, other: Self) {
        if other.count == 0 {
            return;
        }
        let first = self.count == 0;
        self.min_us = if first { other.min_us } else { self.min_us.min(other.min_us) };
        self.max_us = self.max_us.max(other.max_us);
        self.count = self.count.saturating_add(other.count);
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
    }
}

/// Counts by index: what a series holds on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encoded {
    /// Up to [`SPARSE_SAMPLES_MAX`] samples: for each filled entry its distance from the one
    /// before (the first: from entry 0), and its count.
    Sparse {
        /// Distances.
        index_delta: Vec<u32>,
        /// Counts, one for each distance.
        count: Vec<u32>,
    },
    /// More samples: the HDR V2 encoding, not compressed.
    HdrV2(Vec<u8>),
}

impl Encoded {
    /// The same, borrowed.
    pub fn view(&self) -> View<'_> {
        match self {
            Self::Sparse { index_delta, count } => View::Sparse { index_delta, count },
            Self::HdrV2(bytes) => View::HdrV2(bytes),
        }
    }
}

/// An encoding that lies in somebody else's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View<'a> {
    /// See [`Encoded::Sparse`].
    Sparse {
        /// Distances.
        index_delta: &'a [u32],
        /// Counts.
        count: &'a [u32],
    },
    /// See [`Encoded::HdrV2`].
    HdrV2(&'a [u8]),
}

/// Why an encoded histogram is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HistogramError {
    /// Lists of different length.
    #[error("a sparse histogram has {deltas} distances but {counts} counts")]
    Uneven {
        /// Distances.
        deltas: usize,
        /// Counts.
        counts: usize,
    },
    /// Outside the counts array.
    #[error("index {0} is outside the counts array")]
    Index(u64),
    /// The same entry twice.
    #[error("an entry is given twice")]
    Repeated,
    /// An entry without samples.
    #[error("an entry has no samples")]
    EmptyEntry,
    /// More samples than a series may hold.
    #[error("there are more samples than a series may hold")]
    TooMany,
    /// The wrong one of the two encodings for this many samples.
    #[error("{0} samples are in the wrong encoding")]
    WrongEncoding(u64),
    /// The HDR V2 bytes are not of our layout, or not well formed.
    #[error("the HDR V2 bytes are refused: {0}")]
    V2(#[from] hdr_v2::V2Error),
    /// Entries and totals disagree.
    #[error("the entries do not agree with {0}")]
    Disagrees(&'static str),
}

/// Looks through an encoding and hands out its (index, count) pairs in ascending order. Allocates
/// nothing. Gives the number of samples.
///
/// # Errors
/// The first bound that does not hold; `each` may have been called before.
pub fn walk(view: View<'_>, mut each: impl FnMut(u32, u64)) -> Result<u64, HistogramError> {
    let mut total: u64 = 0;
    let mut take = |index: u64, count: u64| {
        if index >= u64::from(COUNTS_LEN) {
            return Err(HistogramError::Index(index));
        }
        // Every count is bounded as well, so the sum cannot wrap.
        total = total.saturating_add(count);
        if total > SAMPLES_PER_SERIES_MAX {
            return Err(HistogramError::TooMany);
        }
        each(index as u32, count);
        Ok(())
    };
    match view {
        View::Sparse { index_delta, count } => {
            if index_delta.len() != count.len() {
                return Err(HistogramError::Uneven {
                    deltas: index_delta.len(),
                    counts: count.len(),
                });
            }
            if count.len() as u64 > SPARSE_SAMPLES_MAX {
                return Err(HistogramError::WrongEncoding(count.len() as u64));
            }
            let mut index: u64 = 0;
            for (place, (&delta, &count)) in index_delta.iter().zip(count).enumerate() {
                if place > 0 && delta == 0 {
                    return Err(HistogramError::Repeated);
                }
                if count == 0 {
                    return Err(HistogramError::EmptyEntry);
                }
                index += u64::from(delta);
                take(index, u64::from(count))?;
            }
            if total > SPARSE_SAMPLES_MAX {
                return Err(HistogramError::WrongEncoding(total));
            }
        }
        View::HdrV2(bytes) => {
            hdr_v2::walk(bytes, &mut take)?;
            if total <= SPARSE_SAMPLES_MAX {
                return Err(HistogramError::WrongEncoding(total));
            }
        }
    }
    Ok(total)
}

/// Checks that an encoding is well formed and says the same as its totals. Allocates nothing.
///
/// # Errors
/// What is wrong with it.
pub fn check(view: View<'_>, totals: Totals) -> Result<(), HistogramError> {
    let Totals { count, sum_us, min_us, max_us } = totals;
    let (mut lowest, mut highest) = (None, 0);
    // Between these the sum of the samples must lie.
    let (mut least, mut most) = (0u128, 0u128);
    let entries = walk(view, |index, count| {
        lowest.get_or_insert(index);
        highest = index;
        least += u128::from(value_at(index)) * u128::from(count);
        most += u128::from(value_at(index + 1) - 1) * u128::from(count);
    })?;
    let sane = min_us >= HISTOGRAM_LOW_US && min_us <= max_us && max_us <= HISTOGRAM_HIGH_US;
    if entries != count || count == 0 {
        Err(HistogramError::Disagrees("count"))
    } else if !sane || lowest != Some(index_of(min_us)) {
        Err(HistogramError::Disagrees("min_us"))
    } else if highest != index_of(max_us) {
        Err(HistogramError::Disagrees("max_us"))
    } else if !(least..=most).contains(&u128::from(sum_us)) {
        Err(HistogramError::Disagrees("sum_us"))
    } else {
        Ok(())
    }
}

/// Gathers the samples of one series. Holds only entries that are filled: a few bytes a sample,
/// not the 136 KiB of a full counts array.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recorder {
    totals: Totals,
    /// (index, count), ascending.
    entries: Vec<(u32, u32)>,
}

impl Recorder {
    /// No samples yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts one sample. Longer ones than 60 s count as 60 s, shorter ones than 1 us as 1 us. At
    /// [`SAMPLES_PER_SERIES_MAX`] no more are taken, and the answer is `false`.
    pub fn record(&mut self, length: Duration) -> bool {
        if self.totals.count >= SAMPLES_PER_SERIES_MAX {
            return false;
        }
        let us = microseconds(length);
        self.totals.record(us);
        let index = index_of(us);
        match self.entries.binary_search_by_key(&index, |(at, _)| *at) {
            Ok(place) => self.entries[place].1 += 1,
            Err(place) => self.entries.insert(place, (index, 1)),
        }
        true
    }

    /// Adds an encoded series, entry by entry: as if its samples had been recorded here.
    ///
    /// # Errors
    /// What is wrong with the encoding or its totals, or too many samples; nothing is added then.
    pub fn add_encoded(&mut self, view: View<'_>, totals: Totals) -> Result<(), HistogramError> {
        check(view, totals)?;
        if self.totals.count.saturating_add(totals.count) > SAMPLES_PER_SERIES_MAX {
            return Err(HistogramError::TooMany);
        }
        walk(view, |index, count| {
            // Not above the limit that was just looked at.
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            match self.entries.binary_search_by_key(&index, |(at, _)| *at) {
                Ok(place) => self.entries[place].1 = self.entries[place].1.saturating_add(count),
                Err(place) => self.entries.insert(place, (index, count)),
            }
        })?;
        self.totals.add(totals);
        Ok(())
    }

    /// Count, sum, least and greatest so far.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.totals.count == 0
    }

    /// What travels.
    pub fn encode(&self) -> Encoded {
        if self.totals.count > SPARSE_SAMPLES_MAX {
            return Encoded::HdrV2(hdr_v2::encode(&self.entries));
        }
        let mut before = 0;
        let index_delta = self
            .entries
            .iter()
            .map(|&(index, _)| index - std::mem::replace(&mut before, index))
            .collect();
        Encoded::Sparse { index_delta, count: self.entries.iter().map(|(_, n)| *n).collect() }
    }
}

/// Series added up: exact counts, so the order of adding does not matter.
#[derive(Debug, Clone, PartialEq)]
pub struct Merged {
    totals: Totals,
    counts: Histogram<u64>,
}

impl Default for Merged {
    fn default() -> Self {
        Self::new()
    }
}

impl Merged {
    /// No samples.
    pub fn new() -> Self {
        let counts =
            Histogram::new_with_bounds(HISTOGRAM_LOW_US, HISTOGRAM_HIGH_US, HISTOGRAM_FIGURES)
                .expect("the bounds are constants that the layout allows");
        Self { totals: Totals::default(), counts }
    }

    /// Adds one encoded series.
    ///
    /// # Errors
    /// What is wrong with the encoding or its totals; nothing is added then.
    pub fn add_encoded(&mut self, view: View<'_>, totals: Totals) -> Result<(), HistogramError> {
        check(view, totals)?;
        walk(view, |index, count| self.counts.saturating_record_n(value_at(index), count))?;
        self.totals.add(totals);
        Ok(())
    }

    /// Adds another sum to this one.
    pub fn add(&mut self, other: &Self) {
        for entry in other.counts.iter_recorded() {
            let value = self.counts.lowest_equivalent(entry.value_iterated_to());
            self.counts.saturating_record_n(value, entry.count_at_value());
        }
        self.totals.add(other.totals);
    }

    /// Count, sum, least and greatest, exact.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// The duration that the share `quantile` (0 to 1) of all samples does not exceed, to 3
    /// figures and never outside the exact least and greatest; `None` without samples.
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        if self.totals.count == 0 {
            return None;
        }
        let us = self.counts.value_at_quantile(quantile);
        Some(Duration::from_micros(us.clamp(self.totals.min_us, self.totals.max_us)))
    }

    /// The exact mean; `None` without samples.
    pub fn mean(&self) -> Option<Duration> {
        self.totals.sum_us.checked_div(self.totals.count).map(Duration::from_micros)
    }
}

/// One encoded series on its own.
///
/// # Errors
/// What is wrong with the encoding or its totals.
pub fn decode(view: View<'_>, totals: Totals) -> Result<Merged, HistogramError> {
    let mut merged = Merged::new();
    merged.add_encoded(view, totals)?;
    Ok(merged)
}

#[cfg(test)]
mod tests;
