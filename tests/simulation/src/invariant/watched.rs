//! What a watcher was told, folded, is the replicated state: nothing is missed, nothing is told twice,
//! and it never goes back.

use std::collections::BTreeMap;
use std::sync::Arc;

use parallax_coordinator::core::state::State;

use super::Invariant;
use crate::fold::{self, About, Facts};
use crate::seen::Seen;

/// What one watcher knows.
struct Known {
    namespace: String,
    /// Up to here it was told everything.
    revision: u64,
    told: Facts,
    /// What the state says that it was compared with last, and that state.
    expected: Facts,
    state: Arc<State>,
    /// What was told since.
    since: Vec<About>,
}

/// By watcher.
#[derive(Default)]
pub struct Watchers(BTreeMap<usize, Known>);

impl Known {
    /// Compares what differs since the last time, and what was told since.
    fn compare(&mut self, state: &Arc<State>) -> Result<(), String> {
        let mut touched = std::mem::take(&mut self.since);
        for next in fold::between(&self.state, state, &self.namespace) {
            touched.push(next.0.clone());
            fold::step(&mut self.expected, next);
        }
        self.state = Arc::clone(state);
        match touched.iter().find(|about| self.told.get(*about) != self.expected.get(*about)) {
            Some(about) => Err(self.differs(about)),
            None => Ok(()),
        }
    }

    fn differs(&self, about: &About) -> String {
        format!(
            "up to revision {} it was told {:?} of {about:?}, and the state of entry {} says {:?}",
            self.revision,
            self.told.get(about),
            self.state.applied,
            self.expected.get(about)
        )
    }
}

impl Invariant for Watchers {
    fn name(&self) -> &'static str {
        "a watcher misses nothing and hears nothing twice"
    }

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::Listed { watcher, namespace, state } => {
                if let Some(known) = self.0.get(watcher)
                    && state.applied < known.revision
                {
                    return Err(format!(
                        "watcher {watcher} was told revision {} and is shown {} after it",
                        known.revision, state.applied
                    ));
                }
                let told = fold::whole(state, namespace);
                let known = Known {
                    namespace: namespace.clone(),
                    revision: state.applied,
                    expected: told.clone(),
                    told,
                    state: Arc::clone(state),
                    since: Vec::new(),
                };
                self.0.insert(*watcher, known);
            }
            Seen::Told { watcher, changes, state } => {
                let Some(known) = self.0.get_mut(watcher) else {
                    return Err(format!(
                        "watcher {watcher} is told changes and has listed nothing"
                    ));
                };
                let mut within = None;
                for change in changes {
                    if change.revision <= known.revision && within != Some(change.revision) {
                        return Err(format!(
                            "watcher {watcher} was told revision {} and hears of {} after it",
                            known.revision, change.revision
                        ));
                    }
                    within = change.more.then_some(change.revision);
                    known.revision = change.revision;
                    for next in change.change.iter().flat_map(fold::told) {
                        known.since.push(next.0.clone());
                        fold::step(&mut known.told, next);
                    }
                }
                if let Some(state) = state {
                    let compared = known.compare(state);
                    compared.map_err(|what| format!("watcher {watcher}: {what}"))?;
                } else if within.is_some() {
                    return Err(format!("watcher {watcher} took a half of revision {within:?}"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), String> {
        for (watcher, known) in &self.0 {
            let whole = fold::whole(&known.state, &known.namespace);
            if known.since.is_empty() && whole != known.told {
                return Err(format!(
                    "watcher {watcher} does not know the state of entry {}",
                    known.state.applied
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use parallax_proto::v1;
    use parallax_proto::v1::watch_response::Change;

    use super::*;

    /// A state at `index` with these regions (name, etag) in namespace n.
    fn state(index: u64, regions: &[(&str, u64)]) -> Arc<State> {
        let mut state = State::default();
        state.applied = index;
        for (name, etag) in regions {
            let key = ("n".to_owned(), (*name).to_owned());
            state.regions.insert(key.into(), Arc::new(region(name, *etag)));
        }
        Arc::new(state)
    }

    fn region(name: &str, etag: u64) -> v1::Region {
        let (namespace, name) = ("n".to_owned(), name.to_owned());
        let meta = v1::Meta { namespace, name, etag, ..v1::Meta::default() };
        v1::Region { meta: Some(meta), title: String::new() }
    }

    fn listed(state: Arc<State>) -> Seen {
        Seen::Listed { watcher: 0, namespace: "n".to_owned(), state }
    }

    /// Each region's new etag is its revision.
    fn told(changes: &[(&str, u64, bool)], state: Option<Arc<State>>) -> Seen {
        let one = |(name, revision, more): &(&str, u64, bool)| {
            let kind = Some(v1::resource::Kind::Region(region(name, *revision)));
            let changed = v1::ResourceChanged {
                kind: v1::ChangeKind::Changed.into(),
                resource: Some(v1::Resource { kind }),
            };
            let change = Some(Change::Resource(changed));
            v1::WatchResponse { revision: *revision, at: None, change, more: *more }
        };
        Seen::Told { watcher: 0, changes: changes.iter().map(one).collect(), state }
    }

    #[test]
    fn what_is_told_is_what_the_state_says_and_nothing_else() {
        let begin = || listed(state(3, &[("a", 2)]));
        let both = || Some(state(9, &[("a", 5), ("b", 5)]));
        for (name, all, good) in [
            ("all of it", vec![told(&[("a", 5, true), ("b", 5, false)], both())], true),
            ("one is missed", vec![told(&[("a", 5, false)], both())], false),
            ("all are missed", vec![told(&[], both())], false),
            (
                "one is told that is not so",
                vec![told(&[("a", 4, false)], Some(state(9, &[("a", 2)])))],
                false,
            ),
            (
                "one is told twice",
                vec![
                    told(&[("a", 5, true), ("b", 5, false)], None),
                    told(&[("b", 5, false)], both()),
                ],
                false,
            ),
            ("it goes back", vec![told(&[("a", 5, false), ("a", 4, false)], None)], false),
            ("of what it knew", vec![told(&[("a", 2, false)], None)], false),
            ("it takes a half", vec![told(&[("a", 5, true)], None)], false),
            ("an older list", vec![listed(state(2, &[]))], false),
            (
                "a newer list",
                vec![listed(state(9, &[("b", 5)])), told(&[("b", 10, false)], None)],
                true,
            ),
        ] {
            let mut watchers = Watchers::default();
            let seen = std::iter::once(begin()).chain(all);
            let held = seen.into_iter().try_for_each(|seen| watchers.see(&seen));
            assert_eq!(held.is_ok(), good, "{name}: {held:?}");
        }
        assert!(Watchers::default().see(&told(&[("a", 1, false)], None)).is_err(), "no list");
    }
}
