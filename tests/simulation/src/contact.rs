//! Whoever is paged: well, unreachable, hanging, or busy.

use std::time::Duration;

use parallax_coordinator::core::outbox::{Report, Send};

use crate::seen::Seen;
use crate::world::{Event, World};

/// How a contact does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It takes pages and says so.
    Well,
    /// Nobody gets a connection.
    Refusing,
    /// It takes half of the pages and never answers.
    Hanging,
    /// It answers that it has no time, and now and then when it will have some.
    Busy,
}

impl World {
    /// A page is on its way.
    pub(crate) fn page(&mut self, from: u64, life: u64, send: Send) {
        self.counters.add("page attempt");
        if send.attempt > 1 {
            self.counters.add("page attempted again");
        }
        let (node, now_us) = (from, self.now_us);
        self.sink.tell(Seen::PageStarted { node, now_us, key: send.key.clone() });
        let (report, arrives, delay_us) = match self.health {
            Health::Refusing => (Report::NotSent("connection refused".to_owned()), false, 20_000),
            Health::Hanging => {
                let arrives = self.mischief.one_in(2);
                (Report::Ambiguous("no answer".to_owned()), arrives, 2_000_000)
            }
            Health::Busy => {
                self.counters.add("page refused for now");
                let wait_s = self.mischief.below(6);
                let (status, retry_after) = match wait_s {
                    0..3 => (503, None),
                    _ => (429, Some(Duration::from_secs(wait_s))),
                };
                let detail = "busy".to_owned();
                let answered = Report::Answered { status, retry_after, detail };
                (answered, false, self.mischief.between(1_000, 50_000))
            }
            Health::Well => {
                let detail = String::new();
                let answered = Report::Answered { status: 200, retry_after: None, detail };
                (answered, true, self.mischief.between(1_000, 50_000))
            }
        };
        if arrives {
            self.sink.tell(Seen::PageReceived {
                key: send.key.clone(),
                incident: send.incident.clone(),
                contact: send.contact.clone(),
                kind: send.kind,
            });
        }
        self.after(delay_us, Event::PageEnds(from, life, send.key, report));
    }

    /// The attempt has ended; whoever made it may be gone.
    pub(crate) fn page_ends(&mut self, from: u64, life: u64, key: &str, report: Report) {
        let now_us = self.now_us;
        let Some(node) = self.nodes.get_mut(&from).filter(|node| node.life == life) else { return };
        if node.paused {
            let event = Event::PageEnds(from, life, key.to_owned(), report);
            return self.after(50_000, event);
        }
        let utc_ns = node.utc_ns(now_us);
        if let Some(process) = &mut node.process {
            process.pager.finished(key, report, utc_ns);
            self.turn(from);
        }
    }
}
