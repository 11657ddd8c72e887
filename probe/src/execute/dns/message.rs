//! Questions and answers as bytes and as facts. No socket, no clock.

use std::fmt::Write as _;
use std::net::SocketAddr;

use hickory_resolver::proto::op::{
    Edns, Header, Message, MessageType, OpCode, Query, ResponseCode,
};
use hickory_resolver::proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_resolver::proto::serialize::binary::{BinDecodable, BinDecoder};
use parallax_common::check::{DnsClass, DnsStep, DnsTransport, DnsType};
use parallax_common::expect::{DnsAnswer, DnsFlags, DnsRecord};
use parallax_common::limits::{DNS_RECORD_BYTES_MAX, DNS_UDP_OFFER_BYTES};
use parallax_common::outcome::Reason;

use super::Failure;

/// A question as it is sent.
#[derive(Debug)]
pub(in crate::execute) struct Question {
    id: u16,
    asked: Query,
    pub(super) packet: Vec<u8>,
    /// The default rule judges the answer.
    pub(super) judge: bool,
    /// Expressions look at the answer.
    pub(super) facts: bool,
}

/// Why bytes are not the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refused {
    /// They answer another question, or none; somebody else may have sent them.
    Other(String),
    /// They answer this question, and cannot be read.
    Malformed(String),
}

impl Question {
    /// Writes a question; `id` is what nobody else can know.
    pub fn prepare(step: &DnsStep, id: u16, judge: bool, facts: bool) -> Result<Self, Failure> {
        let refuse = |error: String| {
            Failure::new(
                Reason::ConfigError,
                format!("{} cannot be asked about: {error}", step.name),
            )
        };
        let labels = step.name.split('.').filter(|label| !label.is_empty()).map(str::as_bytes);
        let name = Name::from_labels(labels).map_err(|error| refuse(error.to_string()))?;
        let mut asked = Query::query(name, record_type(step.record_type));
        asked.set_query_class(match step.class {
            DnsClass::In => DNSClass::IN,
            DnsClass::Ch => DNSClass::CH,
            DnsClass::Hs => DNSClass::HS,
        });
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = step.recursion;
        // RFC 6840, 5.7: says that the AD flag of the answer is understood.
        message.metadata.authentic_data = true;
        message.add_query(asked.clone());
        let mut edns = Edns::new();
        edns.set_max_payload(DNS_UDP_OFFER_BYTES);
        message.set_edns(edns);
        let packet = message.to_vec().map_err(|error| refuse(error.to_string()))?;
        Ok(Self { id, asked, packet, judge, facts })
    }

    /// Reads what may be the answer: first whether it is one to this question, then the rest.
    pub(super) fn read(&self, bytes: &[u8]) -> Result<Answer, Refused> {
        let other = |why: &str| Err(Refused::Other(why.to_owned()));
        let mut decoder = BinDecoder::new(bytes);
        let Ok(header) = Header::read(&mut decoder) else {
            return other("it is too short for DNS");
        };
        if header.metadata.id != self.id {
            return other("its id is of another question");
        }
        if header.metadata.message_type != MessageType::Response {
            return other("it is a question itself");
        }
        let code = header.metadata.response_code;
        match header.counts.queries {
            // Who could not read the question cannot repeat it.
            0 if matches!(code, ResponseCode::FormErr | ResponseCode::NotImp) => {}
            1 => match Message::read_queries(&mut decoder, 1) {
                Ok(asked) if asked.first() == Some(&self.asked) => {}
                Ok(_) => return other("it answers another question"),
                Err(error) => return Err(Refused::Other(format!("its question: {error}"))),
            },
            _ => return other("it does not say which question it answers"),
        }
        if header.metadata.op_code != OpCode::Query {
            return Err(Refused::Malformed("it answers another operation".to_owned()));
        }
        match Message::from_vec(bytes) {
            Ok(message) => Ok(Answer(message)),
            // Cut in the middle of a record, and says so.
            Err(_) if header.metadata.truncation => {
                let mut message = Message::new(self.id, MessageType::Response, OpCode::Query);
                message.metadata = header.metadata;
                message.add_query(self.asked.clone());
                Ok(Answer(message))
            }
            Err(error) => Err(Refused::Malformed(error.to_string())),
        }
    }
}

/// An answer to the question that was asked.
#[derive(Debug)]
pub(super) struct Answer(Message);

impl Answer {
    /// Whether it did not fit.
    pub(super) fn is_cut(&self) -> bool {
        self.0.metadata.truncation
    }

    /// What is wrong with it by the default rule: it is whole, says no error, and has records.
    pub(super) fn judge(&self, step: &DnsStep, server: Option<SocketAddr>) -> Option<Failure> {
        let code = self.0.metadata.response_code;
        let reason = match code {
            ResponseCode::NoError if self.is_cut() => Reason::DnsTruncated,
            ResponseCode::NoError if self.has_records(step) => return None,
            ResponseCode::NoError => Reason::DnsNoRecords,
            ResponseCode::NXDomain => Reason::DnsNxdomain,
            ResponseCode::ServFail => Reason::DnsServfail,
            ResponseCode::Refused => Reason::DnsRefused,
            _ => Reason::DnsRcode,
        };
        let what = match reason {
            Reason::DnsTruncated => "the answer is cut".to_owned(),
            Reason::DnsNoRecords => match self.0.answers.len() {
                0 => "no record".to_owned(),
                others => format!("no record of this type, {others} others"),
            },
            _ => rcode(code),
        };
        let server = server.map(|server| format!(" at {server}")).unwrap_or_default();
        let evidence = format!("{} {}{server}: {what}", step.name, step.record_type);
        Some(Failure::new(reason, evidence))
    }

    /// With recursion an answer is a record of the type: an alias that leads nowhere is none.
    /// Without it any record is one: the server need not know where an alias leads.
    fn has_records(&self, step: &DnsStep) -> bool {
        let wanted = record_type(step.record_type);
        let fits = |record: &Record| !step.recursion || record.record_type() == wanted;
        self.0.answers.iter().any(fits)
    }

    /// What expressions see; `brought` is what brought it.
    pub(super) fn facts(&self, brought: DnsTransport) -> Result<DnsAnswer, Failure> {
        let head = &self.0.metadata;
        let mut room = DNS_RECORD_BYTES_MAX;
        let mut section = |records: &[Record]| -> Result<Vec<DnsRecord>, Failure> {
            records
                .iter()
                .map(|record| {
                    let written = written(record);
                    let bytes = written.name.len() + written.data.len();
                    room = room.checked_sub(bytes).ok_or_else(|| {
                        let evidence =
                            format!("the answer's records have over {DNS_RECORD_BYTES_MAX} bytes");
                        Failure::new(Reason::DnsMalformed, evidence)
                    })?;
                    Ok(written)
                })
                .collect()
        };
        Ok(DnsAnswer {
            rcode: rcode(head.response_code),
            flags: DnsFlags {
                aa: head.authoritative,
                tc: head.truncation,
                rd: head.recursion_desired,
                ra: head.recursion_available,
                ad: head.authentic_data,
                cd: head.checking_disabled,
            },
            answers: section(&self.0.answers)?,
            authority: section(&self.0.authorities)?,
            additional: section(&self.0.additionals)?,
            transport: brought.word().to_owned(),
        })
    }
}

const fn record_type(word: DnsType) -> RecordType {
    match word {
        DnsType::A => RecordType::A,
        DnsType::Aaaa => RecordType::AAAA,
        DnsType::Caa => RecordType::CAA,
        DnsType::Cname => RecordType::CNAME,
        DnsType::Dnskey => RecordType::DNSKEY,
        DnsType::Ds => RecordType::DS,
        DnsType::Https => RecordType::HTTPS,
        DnsType::Mx => RecordType::MX,
        DnsType::Naptr => RecordType::NAPTR,
        DnsType::Ns => RecordType::NS,
        DnsType::Ptr => RecordType::PTR,
        DnsType::Soa => RecordType::SOA,
        DnsType::Srv => RecordType::SRV,
        DnsType::Sshfp => RecordType::SSHFP,
        DnsType::Svcb => RecordType::SVCB,
        DnsType::Tlsa => RecordType::TLSA,
        DnsType::Txt => RecordType::TXT,
    }
}

/// The code by the name that it has in the IANA registry.
pub(in crate::execute) fn rcode(code: ResponseCode) -> String {
    let number = u16::from(code);
    let name = match number {
        0 => "NOERROR",
        1 => "FORMERR",
        2 => "SERVFAIL",
        3 => "NXDOMAIN",
        4 => "NOTIMP",
        5 => "REFUSED",
        6 => "YXDOMAIN",
        7 => "YXRRSET",
        8 => "NXRRSET",
        9 => "NOTAUTH",
        10 => "NOTZONE",
        16 => "BADVERS",
        23 => "BADCOOKIE",
        _ => return format!("RCODE{number}"),
    };
    name.to_owned()
}

/// A record as text, the way zone files have it.
fn written(record: &Record) -> DnsRecord {
    let record_type = match record.record_type() {
        RecordType::Unknown(number) => format!("TYPE{number}"),
        known => known.to_string(),
    };
    DnsRecord { name: name(&record.name), record_type, ttl: record.ttl, data: data(&record.data) }
}

/// Names are the same in either case, and servers repeat what they were sent.
fn name(name: &Name) -> String {
    let mut text = name.to_ascii();
    if !text.ends_with('.') {
        text.push('.');
    }
    text.make_ascii_lowercase();
    text
}

fn data(data: &RData) -> String {
    match data {
        RData::CNAME(target) => name(target),
        RData::NS(target) => name(target),
        RData::PTR(target) => name(target),
        RData::MX(mx) => format!("{} {}", mx.preference, name(&mx.exchange)),
        RData::SRV(srv) => {
            format!("{} {} {} {}", srv.priority, srv.weight, srv.port, name(&srv.target))
        }
        RData::SOA(soa) => format!(
            "{} {} {} {} {} {} {}",
            name(&soa.mname),
            name(&soa.rname),
            soa.serial,
            soa.refresh,
            soa.retry,
            soa.expire,
            soa.minimum
        ),
        // A text longer than 255 bytes comes in pieces that mean one.
        RData::TXT(txt) => String::from_utf8_lossy(&txt.txt_data.concat()).into_owned(),
        RData::Unknown { rdata, .. } => generic(&rdata.anything),
        RData::NULL(null) => generic(&null.anything),
        other => {
            let mut text = String::new();
            // What cannot be written is left empty.
            let _ = write!(text, "{other}");
            text
        }
    }
}

/// RFC 3597: what has no form of its own.
fn generic(bytes: &[u8]) -> String {
    let mut text = format!("\\# {}", bytes.len());
    for (place, byte) in bytes.iter().enumerate() {
        let _ = write!(text, "{}{byte:02x}", if place == 0 { " " } else { "" });
    }
    text
}
