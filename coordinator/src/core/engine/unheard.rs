//! Votes that this member could not take, because it does not know yet what they are about.
//!
//! A probe learns of a check from the first coordinator that has applied it, and tells all of them
//! what it sees at once. A member that is behind cannot fold that, and the probe does not say it again: passes are
//! not repeated. So it is remembered who spoke, and when the check is known they are asked.

use std::collections::{BTreeMap, BTreeSet};

use parallax_common::limits::VOTES_UNHEARD_MAX;
use parallax_common::name::Uid;

use crate::core::ballots::VoterId;

/// Who spoke of checks that are not known here.
#[derive(Debug, Default)]
pub struct Unheard {
    of: BTreeMap<Uid, BTreeSet<VoterId>>,
    /// How many that is.
    count: usize,
    /// Who spoke of more than there was room for: they are asked with the next check that is looked at.
    more: BTreeSet<VoterId>,
}

impl Unheard {
    /// This voter spoke of a check that is not known.
    pub fn note(&mut self, check: Uid, voter: VoterId) {
        if self.count >= VOTES_UNHEARD_MAX {
            // Of all of it only this is kept.
            self.more.extend(std::mem::take(&mut self.of).into_values().flatten());
            self.more.insert(voter);
            self.count = 0;
            return;
        }
        self.count += usize::from(self.of.entry(check).or_default().insert(voter));
    }

    /// These vote on the check by now, as far as is known: who has to be asked, for it or for more than
    /// there was room for. Whoever spoke of it and does not vote yet is kept: that may be learnt later.
    pub fn learnt(&mut self, check: &Uid, voters: &[VoterId]) -> BTreeSet<VoterId> {
        let mut asked = std::mem::take(&mut self.more);
        if let Some(spoke) = self.of.get_mut(check) {
            let before = spoke.len();
            asked.extend(voters.iter().filter(|voter| spoke.remove(voter)));
            self.count -= before - spoke.len();
            if spoke.is_empty() {
                self.of.remove(check);
            }
        }
        asked
    }

    /// The check is gone: nobody will be asked for it.
    pub fn removed(&mut self, check: &Uid) {
        self.count -= self.of.remove(check).map_or(0, |spoke| spoke.len());
    }

    /// A voter on whom nothing depends any more: its next session tells everything.
    pub fn forget(&mut self, voter: VoterId) {
        self.more.remove(&voter);
        let before = self.count;
        let mut gone = 0;
        self.of.retain(|_, voters| {
            gone += usize::from(voters.remove(&voter));
            !voters.is_empty()
        });
        self.count = before - gone;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [VoterId; 3] = [VoterId(1), VoterId(2), VoterId(3)];

    fn uid(number: usize) -> Uid {
        let mut bytes = [0; 16];
        bytes[8..].copy_from_slice(&number.to_be_bytes());
        Uid::from_slice(&bytes).unwrap()
    }

    #[test]
    fn whoever_spoke_of_a_check_is_named_once_when_it_is_learnt() {
        let mut unheard = Unheard::default();
        for voter in [2, 1, 2] {
            unheard.note(uid(7), VoterId(voter));
        }
        unheard.note(uid(8), VoterId(3));
        assert!(unheard.learnt(&uid(7), &[]).is_empty());
        assert_eq!(unheard.learnt(&uid(7), &ALL), [VoterId(1), VoterId(2)].into());
        assert!(unheard.learnt(&uid(7), &ALL).is_empty());
        unheard.forget(VoterId(3));
        assert!(unheard.learnt(&uid(8), &ALL).is_empty());
        assert_eq!(unheard.count, 0);
    }

    #[test]
    fn who_does_not_vote_yet_is_kept_until_it_does_or_the_check_goes() {
        let mut unheard = Unheard::default();
        for voter in [1, 2] {
            unheard.note(uid(7), VoterId(voter));
        }
        assert_eq!(unheard.learnt(&uid(7), &[VoterId(1)]), [VoterId(1)].into());
        assert_eq!(unheard.learnt(&uid(7), &ALL), [VoterId(2)].into());
        unheard.note(uid(7), VoterId(2));
        unheard.removed(&uid(7));
        assert!(unheard.learnt(&uid(7), &ALL).is_empty());
        assert_eq!(unheard.count, 0);
    }

    #[test]
    fn nobody_is_forgotten_when_there_is_no_more_room() {
        let mut unheard = Unheard::default();
        for number in 0..VOTES_UNHEARD_MAX {
            unheard.note(uid(number), VoterId(1));
        }
        unheard.note(uid(VOTES_UNHEARD_MAX), VoterId(2));
        assert!(unheard.of.is_empty(), "what is kept is bounded");
        // Whatever check is looked at next, and whoever votes on it.
        assert_eq!(unheard.learnt(&uid(0), &[]), [VoterId(1), VoterId(2)].into());
        assert!(unheard.learnt(&uid(1), &ALL).is_empty(), "they were asked for everything");
    }
}
