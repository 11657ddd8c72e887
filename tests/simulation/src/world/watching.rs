//! Watchers ask, hear, lose their streams and go on elsewhere.

use super::{Event, World};
use crate::feed::{Letter, Said};
use crate::node::Node;
use crate::seen::Seen;
use crate::wire::Input;

/// How long a watcher waits for its stream to begin.
const PATIENCE_US: u64 = 3_000_000;
/// After so long it has noticed that the other end is gone.
const NOTICED_US: (u64, u64) = (50_000, 2_000_000);

impl World {
    /// A watcher begins a stream with any member, unless it has one that is newer.
    pub(super) fn listen(&mut self, index: usize, stream: u64) {
        if self.watchers[index].stream != stream {
            return;
        }
        let is_member = |node: &&Node| !node.removed && node.joined.is_some();
        let ids: Vec<u64> = self.nodes.values().filter(is_member).map(|node| node.id).collect();
        let watcher = &mut self.watchers[index];
        let Some(to) = watcher.chance.pick(&ids).copied() else { return };
        let listen = watcher.ask(index, to);
        let (stream, delay_us) = (listen.stream, watcher.chance.between(100, 5_000));
        if !self.breaks() {
            self.after(delay_us, Event::Arrive(to, Box::new(Input::Listen(listen))));
        }
        self.after(PATIENCE_US, Event::Unheard(index, stream));
    }

    /// Has a watcher that still has this stream give it up, and ask again a while later.
    fn hang_up_watch(&mut self, index: usize, stream: u64, pause_us: u64) {
        let watcher = &self.watchers[index];
        if watcher.stream != stream {
            return;
        }
        let member = self.nodes.get_mut(&watcher.member);
        if let Some(process) = member.and_then(|node| node.process.as_mut()) {
            process.feeds.close(index, stream);
        }
        // Nothing that is under way is heard any more.
        self.watchers[index].stream += 1;
        self.after(pause_us, Event::Listen(index, stream + 1));
    }

    /// A stream should have begun by now.
    pub(super) fn unheard(&mut self, index: usize, stream: u64) {
        let watcher = &mut self.watchers[index];
        if !watcher.begun {
            let pause_us = watcher.chance.between(20_000, 500_000);
            self.hang_up_watch(index, stream, pause_us);
        }
    }

    /// A watcher's connection breaks, and it is away for a moment or for long; and so on.
    pub(super) fn tire(&mut self, index: usize) {
        if self.is_calm() {
            return;
        }
        let watcher = &mut self.watchers[index];
        let stream = watcher.stream;
        let away_us = match watcher.chance.one_in(3) {
            true => watcher.chance.between(1_000_000, 8_000_000),
            false => watcher.chance.between(10_000, 300_000),
        };
        let next_us = away_us + watcher.chance.between(500_000, 5_000_000);
        self.hang_up_watch(index, stream, away_us);
        self.after(next_us, Event::Tire(index));
    }

    /// The process of a member is gone, and its watchers notice.
    pub(super) fn end_watches(&mut self, id: u64) {
        for index in 0..self.watchers.len() {
            let watcher = &mut self.watchers[index];
            if watcher.member == id && watcher.begun {
                watcher.begun = false;
                let (least, most) = NOTICED_US;
                let (stream, noticed_us) = (watcher.stream, watcher.chance.between(least, most));
                self.after(noticed_us, Event::Unheard(index, stream));
            }
        }
    }

    /// Puts what a member says to its watchers on its way. A connection that breaks loses the end of it.
    pub(super) fn post_watch(&mut self, busy_us: u64, letters: Vec<Letter>) {
        for (index, stream, mut said) in letters {
            let breaks = self.breaks();
            let watcher = &mut self.watchers[index];
            if watcher.stream != stream {
                continue;
            }
            if breaks && let Said::Changes(changes, state) = &mut said {
                changes.truncate(watcher.chance.below(changes.len() as u64 + 1) as usize);
                *state = None;
            }
            let delay_us = watcher.chance.between(100, 5_000);
            // A connection keeps the order.
            watcher.last_us = watcher.last_us.max(self.now_us + busy_us + delay_us);
            let at_us = watcher.last_us;
            let letter = Box::new((index, stream, said));
            self.at(at_us, Event::Heard(letter));
            if breaks {
                self.at(at_us, Event::Torn(index, stream));
            }
        }
    }

    /// A connection broke.
    pub(super) fn torn(&mut self, index: usize, stream: u64) {
        let pause_us = self.watchers[index].chance.between(10_000, 300_000);
        self.hang_up_watch(index, stream, pause_us);
    }

    /// A watcher hears something.
    pub(super) fn heard_watch(&mut self, (index, stream, said): Letter) {
        let watcher = &mut self.watchers[index];
        if watcher.stream != stream {
            return;
        }
        match said {
            Said::List(state) => {
                self.counters.add("watch listed");
                watcher.at = Some(state.applied);
                watcher.through = None;
                let namespace = watcher.namespace.clone();
                self.sink.tell(Seen::Listed { watcher: index, namespace, state });
                self.listen(index, stream);
            }
            Said::Begun => {
                watcher.begun = true;
                let other = watcher.through.replace(watcher.member) != Some(watcher.member);
                if other && watcher.resumed {
                    self.counters.add("watch resumed on another member");
                }
                watcher.resumed = true;
            }
            Said::Changes(changes, state) => {
                let changes = watcher.take(changes);
                self.sink.tell(Seen::Told { watcher: index, changes, state });
            }
            Said::Compacted => {
                self.counters.add("watch compacted");
                (watcher.at, watcher.resumed) = (None, false);
                self.listen(index, stream);
            }
            Said::End => {
                let pause_us = watcher.chance.between(20_000, 500_000);
                self.hang_up_watch(index, stream, pause_us);
            }
        }
    }
}
