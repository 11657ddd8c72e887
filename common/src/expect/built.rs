//! Values that are built once for all expressions that see the same facts: a JSON body, the
//! records of a DNS answer, a chain of certificates. What they hold is known beforehand, so that
//! what loops over them costs can be bounded.

use std::collections::HashMap;

use cel::common::types::{
    CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString,
};
use cel::common::value::Val;

use super::{Certificate, DnsFlags, DnsRecord};

/// Bytes of a value that is in a list, without its text.
pub(super) const VALUE_BYTES: u64 = 64;

/// A value, and what is known of it.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) value: Box<dyn Val>,
    /// Items of the largest list or map in it: what one loop can run over.
    pub(super) largest: u64,
    /// About what it takes in memory.
    pub(super) bytes: u64,
}

/// Counts while a value is built.
#[derive(Debug)]
struct Builder {
    largest: u64,
    bytes: u64,
}

impl Builder {
    fn build(value: impl FnOnce(&mut Self) -> Box<dyn Val>) -> Built {
        let mut builder = Self { largest: 1, bytes: 0 };
        let value = value(&mut builder);
        Built { value, largest: builder.largest, bytes: builder.bytes }
    }

    fn text(&mut self, text: &str) -> Box<dyn Val> {
        self.bytes += VALUE_BYTES + text.len() as u64;
        Box::new(CelString::from(text.to_owned()))
    }

    fn int(&mut self, number: i64) -> Box<dyn Val> {
        self.bytes += VALUE_BYTES;
        Box::new(CelInt::from(number))
    }

    fn bool(&mut self, value: bool) -> Box<dyn Val> {
        self.bytes += VALUE_BYTES;
        Box::new(CelBool::from(value))
    }

    fn list(&mut self, items: Vec<Box<dyn Val>>) -> Box<dyn Val> {
        self.bytes += VALUE_BYTES;
        self.largest = self.largest.max(items.len() as u64);
        Box::new(CelList::from(items))
    }

    fn map(&mut self, members: Vec<(&'static str, Box<dyn Val>)>) -> Box<dyn Val> {
        self.bytes += VALUE_BYTES * (1 + members.len() as u64);
        self.largest = self.largest.max(members.len() as u64);
        let members: HashMap<_, _> =
            members.into_iter().map(|(key, value)| (CelMapKey::from(key), value)).collect();
        Box::new(CelMap::from(members))
    }

    fn cert(&mut self, cert: &Certificate) -> Vec<(&'static str, Box<dyn Val>)> {
        let names = cert.names.iter().map(|name| self.text(name)).collect();
        vec![
            ("days_left", self.int(cert.days_left)),
            ("names", self.list(names)),
            ("issuer", self.text(&cert.issuer)),
            ("subject", self.text(&cert.subject)),
            ("serial", self.text(&cert.serial)),
            ("signature", self.text(&cert.signature)),
            ("key_type", self.text(&cert.key_type)),
            ("key_bits", self.int(cert.key_bits.into())),
        ]
    }
}

/// A JSON body.
pub(super) fn json(json: serde_json::Value) -> Built {
    Builder::build(|builder| json_value(json, &mut builder.largest, &mut builder.bytes))
}

/// A section of a DNS answer: a list of maps.
pub(super) fn records(records: &[DnsRecord]) -> Built {
    Builder::build(|builder| {
        let mut items = Vec::with_capacity(records.len());
        for DnsRecord { name, record_type, ttl, data } in records {
            let members = vec![
                ("name", builder.text(name)),
                ("type", builder.text(record_type)),
                ("ttl", builder.int((*ttl).into())),
                ("data", builder.text(data)),
            ];
            items.push(builder.map(members));
        }
        builder.list(items)
    })
}

/// A list of texts.
pub(super) fn texts(texts: &[String]) -> Built {
    Builder::build(|builder| {
        let items = texts.iter().map(|text| builder.text(text)).collect();
        builder.list(items)
    })
}

/// The flags of a DNS answer, by the names that they have in its header.
pub(super) fn flags(flags: DnsFlags) -> Built {
    let DnsFlags { aa, tc, rd, ra, ad, cd } = flags;
    Builder::build(|builder| {
        let members = [("aa", aa), ("tc", tc), ("rd", rd), ("ra", ra), ("ad", ad), ("cd", cd)];
        let members = members.map(|(name, flag)| (name, builder.bool(flag)));
        builder.map(members.into())
    })
}

/// The certificate that was shown, with the whole chain in it.
pub(super) fn cert(leaf: &Certificate, chain: &[Certificate]) -> Built {
    Builder::build(|builder| {
        let mut members = builder.cert(leaf);
        let mut items = Vec::with_capacity(chain.len());
        for cert in chain {
            let cert = builder.cert(cert);
            items.push(builder.map(cert));
        }
        let nearest = chain.iter().map(|cert| cert.days_left).min().unwrap_or(leaf.days_left);
        members.push(("chain_days_left", builder.int(nearest)));
        members.push(("chain", builder.list(items)));
        builder.map(members)
    })
}

/// Whole numbers that fit are ints, others doubles. Nesting is bounded by the parser (128).
fn json_value(json: serde_json::Value, largest: &mut u64, bytes: &mut u64) -> Box<dyn Val> {
    *bytes += VALUE_BYTES;
    match json {
        serde_json::Value::Null => Box::new(CelNull),
        serde_json::Value::Bool(value) => Box::new(CelBool::from(value)),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(whole) => Box::new(CelInt::from(whole)),
            None => Box::new(CelDouble::from(number.as_f64().unwrap_or(f64::NAN))),
        },
        serde_json::Value::String(value) => {
            *bytes += value.len() as u64;
            Box::new(CelString::from(value))
        }
        serde_json::Value::Array(items) => {
            *largest = (*largest).max(items.len() as u64);
            let items: Vec<_> =
                items.into_iter().map(|item| json_value(item, largest, bytes)).collect();
            Box::new(CelList::from(items))
        }
        serde_json::Value::Object(members) => {
            *largest = (*largest).max(members.len() as u64);
            let members: HashMap<_, _> = members
                .into_iter()
                .map(|(key, value)| {
                    *bytes += VALUE_BYTES + key.len() as u64;
                    (CelMapKey::from(key), json_value(value, largest, bytes))
                })
                .collect();
            Box::new(CelMap::from(members))
        }
    }
}
