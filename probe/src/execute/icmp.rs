//! An ICMP step: so many echoes to one host, so far apart, and what comes back in the run's time.
//!
//! [`crate::core::echo`] writes and reads what travels and counts; here are clock and socket. Each
//! round trip is a sample of `first_byte`.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parallax_common::check::{IcmpStep, Run};
use parallax_common::limits::{
    ECHO_IGNORED_MAX, ECHO_LEEWAY_MAX, ECHO_PAYLOAD_BYTES_MAX, ECHOES_MAX,
};
use parallax_common::outcome::{Phase, Reason};
use parallax_runtime::clock;
use rustix::io::Errno;

use super::connect::failure;
use super::errno::plain;
use super::socket::{Echoes, Way, Wish};
use super::{Executor, Failure, Seen, Stage, Trace};
use crate::core::echo::Tally;
use crate::core::echo::packet::{Complaint, Form, Request};
use crate::core::guard::Allowed;

/// Room for a packet with its headers; what is cut off would be payload.
const PACKET_BYTES: usize = ECHO_PAYLOAD_BYTES_MAX as usize + 128;

/// What is settled before the clock starts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub id: u16,
    pub token: u64,
    /// Whether the default rule applies: one answer at least.
    pub judge: bool,
    pub source: Option<IpAddr>,
}

/// Sends the echoes, listens, and judges unless the check does so itself.
pub(super) async fn run(
    executor: &Executor,
    run: &Run,
    step: &IcmpStep,
    plan: &Plan,
    trace: &mut Trace,
) -> Result<Seen, Failure> {
    // Echoes know no ports.
    let addresses = executor.allowed(run, (step.host.as_str(), 0), plan.source, trace).await?;
    trace.stage = Stage::Echo;
    let leeway = ECHO_LEEWAY_MAX.min(run.timeout / 10);
    let ends_at = trace.ends_at.unwrap_or_else(|| clock::instant() + run.timeout);
    let until = ends_at.checked_sub(leeway).unwrap_or(ends_at);
    let mut talk = Talk::begin(step, plan, &addresses, trace).await?;
    talk.go_on(step, until).await?;
    for round_trip in talk.tally.round_trips() {
        trace.sample(Phase::FirstByte, round_trip);
    }
    let echoes = talk.tally.echoes();
    if plan.judge && echoes.answered == 0 {
        return Err(talk.unanswered(step));
    }
    Ok(Seen { echoes: Some(echoes), ..Seen::default() })
}

/// The echoes of one run.
struct Talk {
    socket: Echoes,
    request: Request,
    tally: Tally,
    since: Instant,
    count: u32,
}

impl Talk {
    /// Sends the first echo: to the first of the addresses that this machine has a way to.
    async fn begin(
        step: &IcmpStep,
        plan: &Plan,
        addresses: &[Allowed],
        trace: &mut Trace,
    ) -> Result<Self, Failure> {
        let Plan { id, source, .. } = *plan;
        let wish = Wish { source, id, ttl: step.ttl, dont_fragment: step.dont_fragment };
        let mut refused = None;
        for to in addresses {
            let remote = to.address();
            trace.remote = Some(remote);
            let socket = match Echoes::open(*to, &wish) {
                Ok(socket) => socket,
                // A machine without IPv6 refuses its addresses in more than one way.
                Err(failure) => {
                    refused = Some(failure);
                    continue;
                }
            };
            let request = Request {
                target: socket.target(),
                identifier: (socket.way() == Way::Raw).then_some(id),
                token: plan.token,
                payload_bytes: step.payload_bytes.min(ECHO_PAYLOAD_BYTES_MAX) as usize,
            };
            let (tally, since) = (Tally::default(), clock::instant());
            let count = step.count.clamp(1, ECHOES_MAX);
            let mut talk = Self { socket, request, tally, since, count };
            match talk.send().await {
                Ok(()) => {
                    trace.left_out = None;
                    return Ok(talk);
                }
                Err(failure) => refused = Some(failure),
            }
        }
        Err(refused
            .unwrap_or_else(|| Failure::new(Reason::DnsNoAddress, "the name has no address")))
    }

    /// Sends the other echoes, each when it is due, and listens until nothing is waited for.
    async fn go_on(&mut self, step: &IcmpStep, until: Instant) -> Result<(), Failure> {
        let mut buffer = vec![0; PACKET_BYTES];
        let mut ignored = 0;
        while !self.tally.is_settled(self.count) {
            let due = u32::from(self.tally.next());
            let next_at = self.since + step.spacing.saturating_mul(due);
            let wake_at = if due < self.count { next_at.min(until) } else { until };
            let now = clock::instant();
            if now >= until {
                break;
            }
            if due < self.count && now >= next_at {
                self.send().await?;
                continue;
            }
            tokio::select! {
                biased;
                heard = self.socket.recv(&mut buffer) => {
                    ignored += u32::from(!self.hear(heard, &buffer)?);
                    if ignored > ECHO_IGNORED_MAX {
                        break;
                    }
                }
                () = tokio::time::sleep_until(wake_at.into()) => {}
            }
        }
        Ok(())
    }

    async fn send(&mut self) -> Result<(), Failure> {
        let packet = self.request.packet(self.tally.next());
        let is_first = self.tally.next() == 0;
        let mut at = self.passed();
        let mut sent = self.socket.send(&packet).await;
        let mut before = None;
        if let Err(error) = &sent
            && !is_first
        {
            // A datagram socket tells now what was said of an echo before, and has sent nothing.
            before = complaint(error);
        }
        if before.is_some() {
            at = self.passed();
            sent = self.socket.send(&packet).await;
        }
        let Err(error) = sent else {
            // It goes now, so it was not what was complained of.
            before.into_iter().for_each(|complaint| self.tally.refused(complaint));
            self.tally.sent(at);
            return Ok(());
        };
        match complaint(&error) {
            Some(complaint) if !is_first || matches!(complaint, Complaint::TooLarge(_)) => {
                // The same twice in a moment is the system's own word on this one, unless it has
                // just learned it from what became of the one before.
                let learned = matches!(complaint, Complaint::TooLarge(_));
                let of_another = before.filter(|before| learned || *before != complaint);
                of_another.into_iter().for_each(|complaint| self.tally.refused(complaint));
                self.tally.held_back(at, complaint);
                Ok(())
            }
            _ => Err(self.broken(&error)),
        }
    }

    /// Takes what the socket brought. Whether it was about an echo of ours.
    fn hear(&mut self, heard: io::Result<(usize, IpAddr)>, buffer: &[u8]) -> Result<bool, Failure> {
        let at = self.passed();
        match heard {
            Ok((length, from)) => {
                let v4 = self.request.target.is_ipv4();
                let form = match self.socket.way() {
                    Way::Raw if v4 => Form::WithHeader,
                    Way::Raw | Way::Datagram => Form::Message,
                };
                let heard = self.request.read(from, form, &buffer[..length]);
                Ok(heard.is_some_and(|heard| self.tally.heard(heard, from, at)))
            }
            Err(error) => match complaint(&error) {
                Some(complaint) => {
                    self.tally.refused(complaint);
                    Ok(true)
                }
                None => Err(self.broken(&error)),
            },
        }
    }

    fn passed(&self) -> Duration {
        clock::instant().saturating_duration_since(self.since)
    }

    fn broken(&self, error: &io::Error) -> Failure {
        let target = self.request.target;
        let failure = failure(error, (target, 0).into());
        match failure.reason.is_missed() {
            true => failure,
            false => Failure { evidence: format!("echo to {target}: {}", plain(error)), ..failure },
        }
    }

    /// Why nothing came back.
    fn unanswered(&self, step: &IcmpStep) -> Failure {
        let sent = self.tally.echoes().sent;
        let evidence = format!(
            "no answer to {sent} echo{} of {} bytes to {} ({})",
            if sent == 1 { "" } else { "es" },
            step.payload_bytes,
            self.request.target,
            self.socket.way().word(),
        );
        let Some((complaint, from)) = self.tally.complaint() else {
            return Failure::new(Reason::IcmpNoAnswer, evidence);
        };
        let reason = match complaint {
            Complaint::Unreachable(_) => Reason::IcmpUnreachable,
            Complaint::Prohibited => Reason::IcmpProhibited,
            Complaint::TimeExceeded(_) => Reason::IcmpTimeExceeded,
            Complaint::TooLarge(_) => Reason::IcmpTooLarge,
        };
        let said = match from {
            Some(from) => format!("{from} says: {complaint}"),
            None => complaint.to_string(),
        };
        Failure::new(reason, format!("{said}; {evidence}"))
    }
}

/// What somebody on the way said, as far as the system tells it by an error: a datagram socket has no
/// other way.
fn complaint(error: &io::Error) -> Option<Complaint> {
    Some(match Errno::from_io_error(error)? {
        Errno::MSGSIZE => Complaint::TooLarge(None),
        Errno::ACCESS => Complaint::Prohibited,
        Errno::CONNREFUSED => Complaint::Unreachable("port unreachable"),
        Errno::NOPROTOOPT | Errno::PROTO => Complaint::Unreachable("protocol unreachable"),
        Errno::HOSTUNREACH | Errno::HOSTDOWN => Complaint::Unreachable("host unreachable"),
        Errno::NETUNREACH => Complaint::Unreachable("network unreachable"),
        _ => return None,
    })
}
