//! Looks that somebody asked for: orders down, and what became of them up.

use std::time::Duration;

use parallax_common::limits::ORDER_EXPIRES;
use parallax_common::name::RunDigest;
use parallax_common::record::{LookOrder, LookRefusal, LookResult};
use parallax_common::rule;
use parallax_common::time::MeshTime;

use super::assignment::{WireError, broken, uid};
use super::record::{record, record_to};
use super::request;
use crate::v1;

/// An order as messages carry it.
pub fn order_to(order: &LookOrder) -> v1::LookOrder {
    v1::LookOrder {
        look: order.look,
        check_uid: order.check.as_bytes().to_vec().into(),
        run_digest: order.run_digest.0,
        // At most two seconds.
        expires_ms: u32::try_from(order.expires.as_millis()).unwrap_or(u32::MAX),
        ordered_mesh_ns: order.ordered.map_or(0, |at| at.as_ns()),
        request: order.request.clone(),
    }
}

/// The checked form of an order that a coordinator sent.
///
/// # Errors
/// The first rule that it breaks.
pub fn order(order: &v1::LookOrder) -> Result<LookOrder, WireError> {
    if !is_number(order.look) {
        return broken(rule::WIRE_NUMBER, "look", format!("{} is not a look", order.look));
    }
    let expires = Duration::from_millis(order.expires_ms.into());
    if expires.is_zero() || expires > ORDER_EXPIRES {
        return broken(rule::WIRE_TIME, "expires_ms", format!("{expires:?} is out of bounds"));
    }
    Ok(LookOrder {
        look: order.look,
        check: uid(&order.check_uid)?,
        run_digest: RunDigest(order.run_digest),
        expires,
        ordered: (order.ordered_mesh_ns != 0).then(|| MeshTime::from_ns(order.ordered_mesh_ns)),
        request: request::heard(&order.request).to_owned(),
    })
}

/// What became of a look, as messages carry it.
pub fn result_to(result: &LookResult) -> v1::LookResult {
    v1::LookResult {
        look: result.look,
        record: result.said.as_ref().ok().map(|record| record_to(record)),
        refusal: result.said.as_ref().err().map_or(0, |refusal| refusal_to(*refusal).into()),
    }
}

/// The checked form of what a probe says of a look.
///
/// # Errors
/// The first rule that it, or what was seen, breaks.
pub fn result(result: &v1::LookResult) -> Result<LookResult, WireError> {
    let look = result.look;
    if !is_number(look) {
        return broken(rule::WIRE_NUMBER, "look", format!("{look} is not a look"));
    }
    let said = match (&result.record, result.refusal) {
        (Some(seen), 0) => {
            let seen = record(seen)?;
            if (seen.number, seen.order, seen.slot) != (look, look, None) {
                return broken(rule::WIRE_NUMBER, "record.number", "it is not that of the look");
            }
            Ok(Box::new(seen))
        }
        (None, refusal) => match LookRefusal::ALL.into_iter().find(|it| code(*it) == refusal) {
            Some(refusal) => Err(refusal),
            None => {
                return broken(rule::WIRE_FIELD, "refusal", format!("{refusal} is not known"));
            }
        },
        (Some(_), _) => return broken(rule::WIRE_FIELD, "refusal", "it was seen and refused"),
    };
    Ok(LookResult { look, said })
}

/// What a record's number may be, as it stands there, too.
fn is_number(look: u64) -> bool {
    (1..u64::MAX).contains(&look)
}

fn code(refusal: LookRefusal) -> i32 {
    refusal_to(refusal).into()
}

fn refusal_to(refusal: LookRefusal) -> v1::LookRefusal {
    match refusal {
        LookRefusal::NotAssigned => v1::LookRefusal::NotAssigned,
        LookRefusal::OtherVersion => v1::LookRefusal::OtherVersion,
        LookRefusal::TooLate => v1::LookRefusal::TooLate,
        LookRefusal::TooMany => v1::LookRefusal::TooMany,
        LookRefusal::Broken => v1::LookRefusal::Broken,
    }
}

#[cfg(test)]
mod tests {
    use parallax_common::name::Uid;

    use super::*;

    fn seen(look: u64) -> v1::OutcomeRecord {
        v1::OutcomeRecord {
            check_uid: vec![7; 16].into(),
            number: look,
            order: look,
            outcome: v1::Outcome::Pass.into(),
            ended_boottime_ns: 1_000,
            ..v1::OutcomeRecord::default()
        }
    }

    #[test]
    fn orders_and_answers_survive_the_wire() {
        let sent = LookOrder {
            look: 7,
            check: Uid::from_bytes([3; 16]),
            run_digest: RunDigest(9),
            expires: ORDER_EXPIRES,
            ordered: Some(MeshTime::from_ns(5)),
            request: "cli-7/3".to_owned(),
        };
        assert_eq!(order(&order_to(&sent)), Ok(sent.clone()));
        let unknown = LookOrder { ordered: None, ..sent };
        assert_eq!(order(&order_to(&unknown)), Ok(unknown));
        let record = Box::new(record(&seen(7)).unwrap());
        let said = LookRefusal::ALL.into_iter().map(Err).chain([Ok(record)]);
        for said in said {
            let sent = LookResult { look: 7, said };
            assert_eq!(result(&result_to(&sent)), Ok(sent));
        }
    }

    #[test]
    fn what_cannot_be_is_refused_by_the_rule_that_it_breaks() {
        let good = v1::LookOrder {
            look: 1,
            check_uid: vec![7; 16].into(),
            expires_ms: 2_000,
            ..v1::LookOrder::default()
        };
        assert!(order(&good).is_ok());
        let orders = [
            (v1::LookOrder { look: 0, ..good.clone() }, "look"),
            (v1::LookOrder { look: u64::MAX, ..good.clone() }, "look"),
            (v1::LookOrder { expires_ms: 0, ..good.clone() }, "expires_ms"),
            (v1::LookOrder { expires_ms: 2_001, ..good.clone() }, "expires_ms"),
            (v1::LookOrder { check_uid: vec![7; 15].into(), ..good }, "check_uid"),
        ];
        for (bad, field) in orders {
            assert_eq!(order(&bad).unwrap_err().field, field, "{bad:?}");
        }
        let good = v1::LookResult { look: 1, record: Some(seen(1)), refusal: 0 };
        assert!(result(&good).is_ok());
        let another = v1::OutcomeRecord { order: 2, ..seen(1) };
        let slotted = v1::OutcomeRecord { order: 0, slot: Some(4), ..seen(1) };
        let results = [
            (v1::LookResult { look: 0, ..good.clone() }, "look"),
            (v1::LookResult { look: 2, ..good.clone() }, "record.number"),
            (v1::LookResult { record: Some(another), ..good.clone() }, "record.number"),
            (v1::LookResult { record: Some(slotted), ..good.clone() }, "record.number"),
            (v1::LookResult { refusal: 1, ..good.clone() }, "refusal"),
            (v1::LookResult { record: None, ..good.clone() }, "refusal"),
            (v1::LookResult { record: None, refusal: 99, ..good }, "refusal"),
        ];
        for (bad, field) in results {
            assert_eq!(result(&bad).unwrap_err().field, field, "{bad:?}");
        }
    }
}
