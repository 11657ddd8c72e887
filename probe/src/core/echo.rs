//! Echoes of one run: what was sent, what came back, what somebody on the way said.
//!
//! Pure: times come in as what has passed since the run's first echo. [`packet`] reads and writes
//! what travels; sockets and clocks are in `crate::execute`.

use std::net::IpAddr;
use std::time::Duration;

use parallax_common::expect::Echoes;

pub mod packet;

use packet::{Complaint, Heard};

/// What is known of one echo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It may still be answered.
    Open,
    /// After so long.
    Answered(Duration),
    /// Somebody said that it did not get there.
    Refused,
}

/// The echoes of one run, in the order in which they are sent: the place is the sequence number.
#[derive(Debug, Default)]
pub struct Tally {
    echoes: Vec<(Duration, Fate)>,
    /// The first that was said of one.
    complaint: Option<(Complaint, Option<IpAddr>)>,
}

impl Tally {
    /// The sequence number of the next echo.
    pub fn next(&self) -> u16 {
        u16::try_from(self.echoes.len()).unwrap_or(u16::MAX)
    }

    /// The next echo was sent.
    pub fn sent(&mut self, at: Duration) {
        self.echoes.push((at, Fate::Open));
    }

    /// Something about an echo was heard. Whether it was one of ours that still waits: a second
    /// answer to the same echo, or one to an echo that was never sent, says nothing.
    pub fn heard(&mut self, heard: Heard, from: IpAddr, at: Duration) -> bool {
        match heard {
            Heard::Answer { sequence } => {
                let Some((sent, fate)) = self.open(sequence) else { return false };
                *fate = Fate::Answered(at.saturating_sub(*sent));
            }
            Heard::Complaint { sequence, complaint } => {
                let Some((_, fate)) = self.open(sequence) else { return false };
                *fate = Fate::Refused;
                self.complaint.get_or_insert((complaint, Some(from)));
            }
        }
        true
    }

    /// The system says that an echo did not get there, and not which: taken for the oldest.
    pub fn refused(&mut self, complaint: Complaint) {
        if let Some((_, fate)) = self.echoes.iter_mut().find(|(_, fate)| *fate == Fate::Open) {
            *fate = Fate::Refused;
        }
        self.complaint.get_or_insert((complaint, None));
    }

    /// The system does not let the next echo go.
    pub fn held_back(&mut self, at: Duration, complaint: Complaint) {
        self.echoes.push((at, Fate::Refused));
        self.complaint.get_or_insert((complaint, None));
    }

    fn open(&mut self, sequence: u16) -> Option<&mut (Duration, Fate)> {
        self.echoes.get_mut(usize::from(sequence)).filter(|(_, fate)| *fate == Fate::Open)
    }

    /// Whether nothing is waited for any more, of so many echoes.
    pub fn is_settled(&self, count: u32) -> bool {
        self.echoes.len() >= count as usize && !self.echoes.iter().any(|(_, f)| *f == Fate::Open)
    }

    /// Each round trip, in the order of the echoes.
    pub fn round_trips(&self) -> impl Iterator<Item = Duration> + '_ {
        self.echoes.iter().filter_map(|(_, fate)| match fate {
            Fate::Answered(after) => Some(*after),
            Fate::Open | Fate::Refused => None,
        })
    }

    /// The first that was said of an echo that did not get there, and by whom.
    pub fn complaint(&self) -> Option<(Complaint, Option<IpAddr>)> {
        self.complaint
    }

    /// What expressions see.
    pub fn echoes(&self) -> Echoes {
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let answered = count(self.round_trips().count());
        let least = self.round_trips().min();
        let round_trips = least.zip(self.round_trips().max()).map(|(least, most)| {
            (least, self.round_trips().sum::<Duration>() / answered.max(1), most)
        });
        Echoes { sent: count(self.echoes.len()), answered, round_trips }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn tally(count: u64) -> Tally {
        let mut tally = Tally::default();
        (0..count).for_each(|n| tally.sent(ms(100 * n)));
        tally
    }

    #[test]
    fn each_echo_is_answered_once_by_its_own_number() {
        let mut tally = tally(3);
        let answer = |sequence| Heard::Answer { sequence };
        assert!(tally.heard(answer(1), FROM, ms(120)));
        assert!(tally.heard(answer(0), FROM, ms(140)));
        // Again, and one that was never sent.
        assert!(!tally.heard(answer(1), FROM, ms(500)));
        assert!(!tally.heard(answer(3), FROM, ms(500)));
        assert_eq!(tally.round_trips().collect::<Vec<_>>(), [ms(140), ms(20)]);
        assert!(!tally.is_settled(3));
        let echoes = tally.echoes();
        assert_eq!((echoes.sent, echoes.answered), (3, 2));
        assert_eq!(echoes.round_trips, Some((ms(20), ms(80), ms(140))));
        assert!(tally.heard(answer(2), FROM, ms(201)));
        assert!(tally.is_settled(3) && !tally.is_settled(4));
        assert_eq!(tally.next(), 3);
    }

    #[test]
    fn an_echo_that_is_held_back_takes_nothing_from_those_on_their_way() {
        let mut tally = tally(1);
        tally.held_back(ms(100), Complaint::Prohibited);
        assert!(tally.heard(Heard::Answer { sequence: 0 }, FROM, ms(130)));
        assert!(tally.is_settled(2));
        let echoes = tally.echoes();
        assert_eq!((echoes.sent, echoes.answered), (2, 1));
        assert_eq!(tally.complaint(), Some((Complaint::Prohibited, None)));
    }

    #[test]
    fn the_first_complaint_is_told_and_settles_its_echo() {
        let mut tally = tally(3);
        let host = Complaint::Unreachable("host unreachable");
        let complaint = |sequence, complaint| Heard::Complaint { sequence, complaint };
        assert!(tally.heard(complaint(1, host), FROM, ms(150)));
        assert!(tally.heard(complaint(2, Complaint::Prohibited), FROM, ms(250)));
        assert_eq!(tally.complaint(), Some((host, Some(FROM))));
        // An answer after all says nothing any more; the echo that is left is the system's.
        assert!(!tally.heard(Heard::Answer { sequence: 1 }, FROM, ms(300)));
        tally.refused(Complaint::Prohibited);
        assert!(tally.is_settled(3));
        assert_eq!(tally.echoes(), Echoes { sent: 3, answered: 0, round_trips: None });
        assert!((tally.echoes().loss() - 1.0).abs() < f64::EPSILON);
    }
}
