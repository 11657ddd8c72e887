//! What was said, held against what had to be said: pure, so that each kind of mistake has a test.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::harness::receiver::Said;

/// What one receiver was told, and what is wrong with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// Messages that somebody saw, repetitions included.
    pub shown: usize,
    /// Messages of their own, by key; an end that is said again has a key of its own.
    pub messages: usize,
    /// Of these: one that said both beginning and end.
    pub combined: usize,
    /// Ends that were said again, after an attempt that was in doubt.
    pub said_again: usize,
    /// Messages that somebody saw once more under the same key.
    pub repeated: usize,
    /// Times that one message was seen, at most.
    pub times_at_most: usize,
    /// Its key, when it was seen more than once.
    pub most_often: Option<String>,
    /// Incidents whose beginning or end nobody ever saw.
    pub lost: Vec<String>,
    /// Incidents whose beginning, or whose end, was told under two keys.
    pub doubled: Vec<String>,
    /// Incidents whose end was seen before their beginning.
    pub early_ends: Vec<String>,
    /// Incidents that, by the last that was seen of them, go on.
    pub zombies: Vec<String>,
    /// Incidents whose beginning was seen after their end, whatever followed.
    pub begun_again: usize,
    /// Messages about incidents that never were.
    pub strange: Vec<String>,
}

/// What one receiver was told of these incidents, all of which are over. One that `knows_keys` looks at
/// the first message of each key only, as whoever reads `Idempotency-Key` does.
pub fn account(incidents: &BTreeSet<String>, said: &[Said], knows_keys: bool) -> Account {
    let mut account = Account::default();
    let mut by_incident: BTreeMap<&str, Vec<&Said>> = BTreeMap::new();
    let mut seen_by_incident: BTreeMap<&str, Vec<&Said>> = BTreeMap::new();
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for message in said.iter().filter(|message| message.shown) {
        account.shown += 1;
        let seen = times.entry(&message.key).or_default();
        *seen += 1;
        if *seen == 1 || !knows_keys {
            by_incident.entry(&message.incident).or_default().push(message);
        }
        seen_by_incident.entry(&message.incident).or_default().push(message);
        if !incidents.contains(&message.incident) {
            account.strange.push(message.key.clone());
        }
    }
    account.messages = times.len();
    account.repeated = account.shown - account.messages;
    if let Some((key, seen)) = times.iter().max_by_key(|(_, seen)| **seen) {
        account.times_at_most = *seen;
        account.most_often = (*seen > 1).then(|| (*key).to_owned());
    }
    account.said_again = times.keys().filter(|key| key.ends_with("/again")).count();
    for incident in incidents {
        let told = by_incident.get(incident.as_str()).map_or(&[][..], Vec::as_slice);
        account.judge(incident, told);
        // By all that was seen: what a key tells apart may still open a closed thing anew.
        let seen = seen_by_incident.get(incident.as_str()).map_or(&[][..], Vec::as_slice);
        if seen.last().is_some_and(|said| !says_end(said)) && seen.iter().any(|it| says_end(it)) {
            account.zombies.push(incident.clone());
        }
        let mut after_end = seen.iter().skip_while(|said| !says_end(said));
        if after_end.any(|said| said.kind == "opened") {
            account.begun_again += 1;
        }
    }
    account
}

/// What was said of one incident, for the message of a failure: milliseconds from its first message, what
/// it said, and a ! behind what nobody saw. Kills have their place in it.
pub fn told_of(incident: &str, said: &[Said], kills: &[Instant]) -> String {
    let mut told: Vec<(Instant, String)> = said
        .iter()
        .filter(|it| it.incident == incident)
        .map(|it| {
            let key = it.key.rsplit(':').next().unwrap_or_default();
            let mark = if it.shown { "" } else { "!" };
            (it.at, format!("{}{mark} as {key}", it.kind))
        })
        .collect();
    let (Some(first), Some(last)) =
        (told.iter().map(|it| it.0).min(), told.iter().map(|it| it.0).max())
    else {
        return "nothing".to_owned();
    };
    let between = kills.iter().filter(|at| first <= **at && **at <= last);
    told.extend(between.map(|at| (*at, "a kill".to_owned())));
    told.sort();
    let line = |(at, what): &(Instant, String)| {
        format!("{} ms {what}", at.duration_since(first).as_millis())
    };
    told.iter().map(line).collect::<Vec<_>>().join(", ")
}

/// How long after its sender was killed a request may still be read: it had left before. And how late it
/// may be seen that somebody else leads.
const LATE: Duration = Duration::from_secs(1);

/// Messages that were shown again although nobody was killed since they were shown before, and nobody was
/// seen to begin to lead.
pub fn unexplained<'a>(said: &'a [Said], kills: &[Instant], terms: &[Instant]) -> Vec<&'a Said> {
    let mut last: BTreeMap<&str, Instant> = BTreeMap::new();
    let mut unexplained = Vec::new();
    for message in said.iter().filter(|message| message.shown) {
        if let Some(before) = last.insert(&message.key, message.at)
            && !kills.iter().any(|at| before <= *at + LATE && *at <= message.at)
            && !terms.iter().any(|at| before <= *at && *at <= message.at + LATE)
        {
            unexplained.push(message);
        }
    }
    unexplained
}

fn says_begin(said: &Said) -> bool {
    matches!(said.kind.as_str(), "opened" | "combined")
}

fn says_end(said: &Said) -> bool {
    matches!(said.kind.as_str(), "resolved" | "combined")
}

impl Account {
    fn judge(&mut self, incident: &str, told: &[&Said]) {
        let first_end = told.iter().position(|said| says_end(said));
        let first_begin = told.iter().position(|said| says_begin(said));
        if told.iter().any(|said| said.kind == "combined") {
            self.combined += 1;
        }
        let (Some(first_begin), Some(first_end)) = (first_begin, first_end) else {
            self.lost.push(incident.to_owned());
            return;
        };
        if first_end < first_begin {
            self.early_ends.push(incident.to_owned());
        }
        let keys = |wanted: fn(&Said) -> bool| {
            let keys = told.iter().filter(|said| wanted(said) && !said.key.ends_with("/again"));
            keys.map(|said| &said.key).collect::<BTreeSet<_>>().len()
        };
        // One message that said both, in doubt, may be followed by an end under its own key.
        if keys(says_begin) > 1 || keys(|said| said.kind == "resolved") > 1 {
            self.doubled.push(incident.to_owned());
        }
    }

    /// What must not be, in words; empty when all is well.
    pub fn faults(&self) -> Vec<String> {
        let faults = [
            ("lost", &self.lost),
            ("told under two keys", &self.doubled),
            ("ended before they began", &self.early_ends),
            ("going on by what was seen last", &self.zombies),
            ("about no incident", &self.strange),
        ];
        let there = faults.iter().filter(|(_, incidents)| !incidents.is_empty());
        there.map(|(what, it)| format!("{} {what}: {it:?}", it.len())).collect()
    }
}

#[cfg(test)]
mod tests {
    use parallax_runtime::clock;
    use serde_json::Value;

    use super::*;

    /// Messages about one incident, `i`: "opened", "resolved!" (not shown), "resolved/again",
    /// "opened=2" (under a second key), "combined" (under the key of the opening).
    fn said(words: &[&str]) -> Vec<Said> {
        let said = words.iter().map(|word| {
            let kind = word.split(['!', '/', '=']).next().unwrap_or_default();
            let name = word.trim_end_matches('!').replace("combined", "opened");
            Said {
                key: format!("i:c:{name}"),
                kind: kind.to_owned(),
                incident: "i".to_owned(),
                check: "checkout".to_owned(),
                body: Value::Null,
                shown: !word.ends_with('!'),
                at: clock::instant(),
            }
        });
        said.collect()
    }

    #[test]
    fn what_is_wrong_is_seen_by_those_who_know_keys_and_by_those_who_do_not() {
        // words, faults with keys, faults without
        #[rustfmt::skip]
        let rows: [(&[&str], &str, &str); 14] = [
            (&["opened", "resolved"],                   "", ""),
            (&["combined"],                             "", ""),
            (&["opened!", "opened", "resolved"],        "", ""),
            (&["opened", "opened", "resolved"],         "", ""),
            (&["opened", "resolved", "resolved/again"], "", ""),
            (&["opened"],                               "lost", "lost"),
            (&["opened", "resolved!"],                  "lost", "lost"),
            // Under the key of the opening nobody who knows keys hears of the end.
            (&["opened", "combined"],                   "lost", ""),
            (&["resolved", "opened"],                   "before going", "before going"),
            (&["opened", "resolved", "opened"],         "going", "going"),
            (&["combined", "opened"],                   "going", "going"),
            (&["combined", "opened", "resolved"],       "", ""),
            (&["opened", "opened=2", "resolved"],       "keys", "keys"),
            (&[],                                       "lost", "lost"),
        ];
        let one = BTreeSet::from(["i".to_owned()]);
        for (words, with_keys, without) in rows {
            for (knows_keys, wanted) in [(true, with_keys), (false, without)] {
                let faults = account(&one, &said(words), knows_keys).faults().join("; ");
                let fits = wanted.split(' ').all(|word| faults.contains(word));
                assert!(
                    fits && wanted.is_empty() == faults.is_empty(),
                    "{words:?}, keys: {knows_keys}: {faults:?}, not {wanted:?}"
                );
            }
        }
        let faults = account(&BTreeSet::new(), &said(&["opened"]), true).faults().join("; ");
        assert!(faults.contains("about no incident"), "{faults}");
    }

    #[test]
    fn a_failure_is_told_in_order_with_the_kills_between() {
        let start = clock::instant();
        let at = |word: &str, ms| Said {
            at: start + Duration::from_millis(ms),
            ..said(&[word]).remove(0)
        };
        let told = [at("opened!", 5), at("opened", 25)];
        let kills = [start, start + Duration::from_millis(15)];
        let line = "0 ms opened! as opened, 10 ms a kill, 20 ms opened as opened";
        assert_eq!(told_of("i", &told, &kills), line);
        assert_eq!(told_of("j", &told, &kills), "nothing");
    }

    #[test]
    fn a_repetition_needs_a_kill_since_it_was_shown_before() {
        let second = |n| Duration::from_secs(n);
        let start = clock::instant();
        let at = |word: &str, n| Said { at: start + second(n), ..said(&[word]).remove(0) };
        let keys =
            |said: &[Said], kills: &[Instant]| -> usize { unexplained(said, kills, &[]).len() };
        let twice = [at("opened", 3), at("resolved", 4), at("opened!", 5), at("opened", 8)];
        assert_eq!(unexplained(&twice, &[], &[])[0].at, start + second(8));
        // It is seen late that another one leads, and never early.
        for (at, left) in [(2, 1), (3, 0), (9, 0), (10, 1)] {
            assert_eq!(unexplained(&twice, &[], &[start + second(at)]).len(), left, "{at}");
        }
        assert_eq!(keys(&twice, &[start + second(1), start + second(9)]), 1);
        assert_eq!(keys(&twice, &[start + second(6)]), 0);
        assert_eq!(
            keys(&twice, &[start + second(2)]),
            0,
            "it was read after its sender was killed"
        );
        let thrice = [at("opened", 3), at("opened", 6), at("opened", 9)];
        assert_eq!(keys(&thrice, &[start + second(4)]), 1);
    }

    #[test]
    fn repetitions_are_counted_by_key() {
        let one = BTreeSet::from(["i".to_owned()]);
        let words = ["opened", "opened", "opened", "resolved", "resolved/again"];
        let told = account(&one, &said(&words), false);
        let counted = (told.shown, told.messages, told.repeated, told.times_at_most);
        assert_eq!(counted, (5, 3, 2, 3));
        assert_eq!(told.most_often.as_deref(), Some("i:c:opened"));
        assert_eq!((told.said_again, told.combined), (1, 0));
        assert_eq!(account(&one, &said(&["combined"]), true).combined, 1);
        assert_eq!(told.begun_again, 0);
        let in_doubt = said(&["combined", "opened", "resolved"]);
        assert_eq!(account(&one, &in_doubt, false).begun_again, 1);
    }
}
