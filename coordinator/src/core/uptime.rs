//! Uptime: how long each verdict stood within a range. Pure.

use std::time::Duration;

use parallax_common::limits::UPTIME_INTERVALS_SHOWN_MAX;
use parallax_common::time::UtcTime;
use parallax_proto::{store, v1};
use prost::Message as _;

/// A verdict, from when to when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// Which.
    pub verdict: v1::Verdict,
    /// It began.
    pub from: UtcTime,
    /// It ended; absent: it stands.
    pub to: Option<UtcTime>,
}

impl Interval {
    /// From its row.
    pub fn decode(row: &[u8]) -> Option<Self> {
        let row = store::IntervalRow::decode(row).ok()?;
        let (from, to) = (UtcTime::from_ns(row.from_utc_ns), UtcTime::from_ns(row.to_utc_ns));
        (from < to).then(|| Self { verdict: row.verdict(), from, to: Some(to) })
    }
}

/// Times without a leader: what stood through them counts as unrecorded.
#[derive(Debug, Clone, Default)]
pub struct Leaderless {
    /// From when to when, the oldest first; none overlaps another.
    spans: Vec<(UtcTime, UtcTime)>,
    /// How much of such time lies before each of them.
    before: Vec<Duration>,
}

impl Leaderless {
    /// From their rows, in whatever order, and the time since `still`, when nobody leads now.
    pub fn new(rows: &[Interval], still: Option<(UtcTime, UtcTime)>) -> Self {
        let rows = rows.iter().filter_map(|row| Some((row.from, row.to?)));
        let mut spans: Vec<_> = rows.chain(still).filter(|(from, to)| from < to).collect();
        spans.sort_unstable();
        // Rows of a cluster do not overlap; should some, the time of one is not counted twice.
        spans.dedup_by(|later, earlier| {
            let meets = later.0 <= earlier.1;
            if meets {
                earlier.1 = earlier.1.max(later.1);
            }
            meets
        });
        let mut sum = Duration::ZERO;
        let before = spans.iter().map(|(from, to)| {
            let before = sum;
            sum += to.since(*from);
            before
        });
        let before = before.collect();
        Self { spans, before }
    }

    /// How much of such time lies before a moment.
    fn until(&self, moment: UtcTime) -> Duration {
        match self.spans.partition_point(|(from, _)| *from < moment).checked_sub(1) {
            None => Duration::ZERO,
            Some(last) => {
                let (from, to) = self.spans[last];
                self.before[last] + to.min(moment).since(from)
            }
        }
    }

    /// How much of `from..to` it is.
    fn within(&self, from: UtcTime, to: UtcTime) -> Duration {
        self.until(to).saturating_sub(self.until(from))
    }

    /// Those that reach into `from..to`, the newest first, at most so many.
    pub fn shown(
        &self,
        from: UtcTime,
        to: UtcTime,
    ) -> impl Iterator<Item = (UtcTime, UtcTime)> + '_ {
        let inside = move |span: &&(UtcTime, UtcTime)| span.0 < to && span.1 > from;
        self.spans.iter().rev().filter(inside).copied().take(UPTIME_INTERVALS_SHOWN_MAX)
    }
}

/// How long each verdict stood.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sum {
    /// All is well.
    pub up: Duration,
    /// Something is wrong, and it is not down.
    pub degraded: Duration,
    /// It is down.
    pub down: Duration,
    /// Nobody could say.
    pub unknown: Duration,
    /// Nobody decided anything.
    pub unrecorded: Duration,
    /// The newest first.
    pub intervals: Vec<Interval>,
    /// Those that are not listed.
    pub left_out: u64,
}

impl Sum {
    /// Up and degraded, of the time of which something is known. What is unknown or unrecorded
    /// counts neither way.
    pub fn percent(&self) -> Option<f64> {
        let well = self.up + self.degraded;
        let known = well + self.down;
        // Divided first: then all of it is 100 exactly.
        (!known.is_zero()).then(|| 100.0 * (well.as_secs_f64() / known.as_secs_f64()))
    }
}

/// Adds up closed intervals and the verdict that stands, within `from..to`, without what is `leaderless`.
pub fn sum(
    closed: &[Interval],
    standing: Option<(UtcTime, v1::Verdict)>,
    leaderless: &Leaderless,
    from: UtcTime,
    to: UtcTime,
) -> Sum {
    let standing = standing.map(|(since, verdict)| Interval { verdict, from: since, to: None });
    let mut sum = Sum::default();
    let mut recorded = Duration::ZERO;
    for interval in standing.iter().chain(closed) {
        let (begin, end) = (interval.from.max(from), interval.to.unwrap_or(to).min(to));
        if end <= begin {
            continue;
        }
        let length = end.since(begin).saturating_sub(leaderless.within(begin, end));
        recorded += length;
        match interval.verdict {
            v1::Verdict::Up => sum.up += length,
            v1::Verdict::Degraded => sum.degraded += length,
            v1::Verdict::Down => sum.down += length,
            v1::Verdict::Unknown | v1::Verdict::Unspecified => sum.unknown += length,
        }
        if sum.intervals.len() < UPTIME_INTERVALS_SHOWN_MAX {
            sum.intervals.push(*interval);
        } else {
            sum.left_out += 1;
        }
    }
    sum.unrecorded = to.since(from).saturating_sub(recorded);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::table::{columns, lines};

    fn at(seconds: i64) -> UtcTime {
        UtcTime::from_ns(seconds * 1_000_000_000)
    }

    fn interval(verdict: v1::Verdict, from: i64, to: i64) -> Interval {
        Interval { verdict, from: at(from), to: Some(at(to)) }
    }

    fn seconds(sum: &Sum) -> [u64; 5] {
        [sum.up, sum.degraded, sum.down, sum.unknown, sum.unrecorded].map(|d| d.as_secs())
    }

    fn verdict(word: &str) -> v1::Verdict {
        let name = format!("VERDICT_{}", word.to_uppercase());
        v1::Verdict::from_str_name(&name).unwrap_or_else(|| panic!("no verdict: {word}"))
    }

    fn range(text: &str) -> (i64, i64) {
        let (from, to) = text.split_once('-').expect("from and to");
        (from.parse().unwrap(), to.parse().unwrap())
    }

    #[test]
    fn intervals_are_cut_to_the_range_and_what_is_missing_is_unrecorded() {
        let mut rows = 0;
        for line in lines(include_str!("uptime/spans.txt")) {
            let [recorded, now, span, up, degraded, down, unknown, nothing, percent, listed] =
                columns(line);
            let recorded = recorded.split(',').filter_map(|one| one.trim().split_once(' '));
            let mut closed: Vec<Interval> = recorded
                .map(|(word, text)| {
                    let (from, to) = range(text);
                    interval(verdict(word), from, to)
                })
                .collect();
            // The newest comes first.
            closed.reverse();
            let standing = now.split_once(' ');
            let standing = standing.map(|(word, at_s)| (at(at_s.parse().unwrap()), verdict(word)));
            let (from, to) = range(span);
            let sum = sum(&closed, standing, &Leaderless::default(), at(from), at(to));
            let expected =
                [up, degraded, down, unknown, nothing].map(|cell| cell.parse::<u64>().unwrap());
            assert_eq!(seconds(&sum), expected, "{line}");
            let said = sum.percent().map_or("-".to_owned(), |percent| format!("{percent:.1}"));
            assert_eq!(said.trim_end_matches(".0"), percent, "{line}");
            assert_eq!(sum.intervals.len(), listed.parse::<usize>().unwrap(), "{line}");
            let open = sum.intervals.first().filter(|interval| interval.to.is_none());
            let stands = standing.filter(|(since, _)| *since < at(to));
            assert_eq!(open.map(|it| (it.from, it.verdict)), stands, "{line}");
            rows += 1;
        }
        assert_eq!(rows, 9);
    }

    #[test]
    fn what_stood_while_nobody_led_is_unrecorded() {
        use v1::Verdict::{Down, Unspecified, Up};
        let closed = [interval(Down, 50, 60), interval(Up, 10, 50)];
        let rows = [interval(Unspecified, 45, 55), interval(Unspecified, 5, 20)];
        let none = Leaderless::new(&rows, None);
        let standing = Some((at(60), Up));
        let whole = sum(&closed, standing, &none, at(0), at(100));
        // Up 10..50 without 10..20 and 45..50, down 50..60 without 50..55, up from 60 on.
        assert_eq!(seconds(&whole), [65, 0, 5, 0, 30]);
        assert_eq!(whole.intervals.len(), 3, "they go on through it");
        let part = sum(&closed, standing, &none, at(15), at(47));
        assert_eq!(seconds(&part), [25, 0, 0, 0, 7]);
        let within = sum(&closed, standing, &none, at(46), at(54));
        assert_eq!((seconds(&within), within.percent()), ([0, 0, 0, 0, 8], None));
        // Nobody leads now, either.
        let now = Leaderless::new(&rows, Some((at(90), at(100))));
        assert_eq!(seconds(&sum(&closed, standing, &now, at(0), at(100))), [55, 0, 5, 0, 40]);
        let shown: Vec<_> = now.shown(at(50), at(100)).collect();
        assert_eq!(shown, [(at(90), at(100)), (at(45), at(55))]);
        // Rows that overlap count once.
        let rows = [interval(Unspecified, 10, 30), interval(Unspecified, 20, 40)];
        let once = Leaderless::new(&rows, None);
        assert_eq!(seconds(&sum(&[], Some((at(0), Up)), &once, at(0), at(100))), [70, 0, 0, 0, 30]);
    }

    #[test]
    fn what_was_never_down_was_up_all_the_time() {
        for ns in (1..10_000_000_000).step_by(9_999_991) {
            let sum = Sum { up: Duration::from_nanos(ns), ..Sum::default() };
            assert_eq!(sum.percent(), Some(100.0), "{ns} ns");
        }
    }

    #[test]
    fn more_intervals_than_are_listed_are_still_counted() {
        let closed: Vec<Interval> = (0..1_500)
            .map(|n| {
                interval(if n % 2 == 0 { v1::Verdict::Up } else { v1::Verdict::Down }, n, n + 1)
            })
            .collect();
        let sum = sum(&closed, None, &Leaderless::default(), at(0), at(1_500));
        assert_eq!((sum.intervals.len(), sum.left_out), (UPTIME_INTERVALS_SHOWN_MAX, 500));
        assert_eq!(seconds(&sum), [750, 0, 750, 0, 0]);
    }

    #[test]
    fn rows_that_lasted_no_time_are_refused() {
        let row = |from, to| {
            store::IntervalRow { from_utc_ns: from, to_utc_ns: to, ..store::IntervalRow::default() }
                .encode_to_vec()
        };
        assert!(Interval::decode(&row(1, 2)).is_some());
        assert!(Interval::decode(&row(2, 2)).is_none());
        assert!(Interval::decode(b"\xff").is_none());
    }
}
