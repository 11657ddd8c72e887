//! Whether the opening pages of an incident go out now, later or never, and why.
//!
//! [`word`] is the one function that decides it. Apply asks it when an incident opens, when what
//! holds one is over, and when somebody ends it early; the outbox sends what it lets through and
//! knows nothing of the reasons. What is asked for to be quiet is checked in [`draft`], what depends on what in [`depends`]; which times of
//! maintenance windows become silences is found in [`windows`], and when a check flaps in [`flap`].

pub mod depends;
pub mod draft;
pub mod flap;
pub mod windows;

use std::cmp::Reverse;

use parallax_common::matcher::{Matcher, Operator};
use parallax_common::time::UtcTime;
use parallax_proto::convert::route::operator;
use parallax_proto::v1;
use parallax_proto::v1::held::By;

use super::{routing, stamp};

/// What becomes of the opening pages of an incident.
#[derive(Debug, Clone, PartialEq)]
pub enum Word {
    /// They go out.
    Now,
    /// They wait, and are looked at again then.
    Later {
        /// When what holds them is over.
        until: UtcTime,
        /// What holds them.
        by: By,
    },
    /// They do not go out any more: there is nothing left to wake anybody for.
    Never,
}

/// Something that keeps pages back for a while.
#[derive(Debug, Clone, PartialEq)]
pub struct Cause {
    /// From then on.
    pub from: UtcTime,
    /// Until before then.
    pub until: UtcTime,
    /// What an incident says that it is held by.
    pub by: By,
}

/// What is to become of the opening pages of an incident, `ended` or not, given all that could keep
/// them back. Of several that do the one that lasts longest has the word; of equals the first.
pub fn word(ended: bool, causes: impl IntoIterator<Item = Cause>, now: UtcTime) -> Word {
    if ended {
        return Word::Never;
    }
    let lasting = causes
        .into_iter()
        .enumerate()
        .filter(|(_, cause)| cause.from <= now && now < cause.until)
        .max_by_key(|(place, cause)| (cause.until, Reverse(*place)));
    match lasting {
        Some((_, cause)) => Word::Later { until: cause.until, by: cause.by },
        None => Word::Now,
    }
}

/// No end that is known: what holds ends with something that happens.
pub const OPEN_END: UtcTime = UtcTime::from_ns(i64::MAX);

/// The open incident of a check that another one depends on, as something that keeps pages back.
pub fn parent(incident: &v1::Incident) -> Cause {
    let by = v1::HeldByParent {
        check_uid: incident.check_uid.clone(),
        check_name: incident.check_name.clone(),
        incident_uid: incident.uid.clone(),
        ended: false,
    };
    Cause { from: UtcTime::from_ns(i64::MIN), until: OPEN_END, by: By::Parent(by) }
}

/// Checks that another one depends on, none of them down yet, as something that keeps pages back until
/// they had the time to be found down as well.
pub fn parents_to_come(check_names: Vec<String>, until: UtcTime) -> Cause {
    let by = By::Parents(v1::HeldForParents { check_names });
    Cause { from: UtcTime::from_ns(i64::MIN), until, by }
}

/// Whether somebody is told although the incident ended while its openings waited: not when it was to
/// be quiet, but when nobody had asked for that.
pub fn is_told_all_the_same(held: &v1::Held) -> bool {
    matches!(held.by, Some(By::Parents(_)))
}

/// A silence as it is stored and as it is used.
#[derive(Debug, Clone)]
pub struct Silence {
    /// As it is listed.
    pub wire: v1::Silence,
    matchers: Vec<Matcher>,
}

impl Silence {
    /// Of a silence that was accepted once.
    pub fn new(wire: v1::Silence) -> Self {
        let matchers = wire.matchers.iter().map(stored).collect();
        Self { wire, matchers }
    }

    /// From when on it holds.
    pub fn starts(&self) -> UtcTime {
        stamp::utc(self.wire.starts_at.as_ref())
    }

    /// From when on it holds no more.
    pub fn ends(&self) -> UtcTime {
        stamp::utc(self.wire.ends_at.as_ref())
    }

    /// Whether all its matchers fit the incident.
    pub fn fits(&self, incident: &v1::Incident) -> bool {
        self.wire.namespace == incident.namespace && all_fit(&self.matchers, incident)
    }

    /// As something that keeps pages back.
    pub fn cause(&self) -> Cause {
        let by = v1::HeldBySilence {
            uid: self.wire.uid.clone(),
            created_by: self.wire.created_by.clone(),
            comment: self.wire.comment.clone(),
        };
        Cause { from: self.starts(), until: self.ends(), by: By::Silence(by) }
    }
}

/// Whether all matchers fit an incident.
pub fn all_fit(matchers: &[Matcher], incident: &v1::Incident) -> bool {
    matchers.iter().all(|matcher| matcher.fits(label(incident, &matcher.key)))
}

/// A label of an incident; empty when it has none of this name.
fn label<'a>(incident: &'a v1::Incident, key: &str) -> &'a str {
    match key {
        "check" => &incident.check_name,
        "region" => &incident.region,
        // What has none may have a label of this name.
        "alert" if !incident.alert.is_empty() => &incident.alert,
        "kind" => match incident.kind() {
            v1::IncidentKind::Down => "down",
            v1::IncidentKind::RegionSilent => "region_silent",
            v1::IncidentKind::RegionExcluded => "region_excluded",
            v1::IncidentKind::RegionOutdated => "region_outdated",
            v1::IncidentKind::CanaryInDoubt => "canary_in_doubt",
            v1::IncidentKind::Storm => "storm",
            v1::IncidentKind::Leaderless => "leaderless",
            v1::IncidentKind::Regional => "regional",
            v1::IncidentKind::Warning => "warning",
            v1::IncidentKind::Latency => "latency",
            v1::IncidentKind::ErrorRate => "error_rate",
            v1::IncidentKind::Certificate => "certificate",
            v1::IncidentKind::BurnRate => "burn_rate",
            v1::IncidentKind::Unspecified => "",
        },
        // A label that a check has always had keeps its meaning.
        "severity" if !incident.labels.contains_key("severity") => {
            routing::severity_word(incident.severity())
        }
        key => incident.labels.get(key).map_or("", String::as_str),
    }
}

/// A matcher of the wire that was accepted once.
pub fn stored(matcher: &v1::Matcher) -> Matcher {
    // An operator of a newer build compares with nothing that there is: it fits nothing.
    match operator(matcher.operator()) {
        Some(operator) => Matcher::stored(&matcher.key, operator, &matcher.value),
        None => Matcher::stored(&matcher.key, Operator::Pattern, "("),
    }
}

#[cfg(test)]
mod tests {
    use parallax_proto::convert::route::matcher_to;

    use super::*;
    use crate::core::table::{columns, lines, yes};

    fn at(minute: i64) -> UtcTime {
        UtcTime::from_ns(minute * 60_000_000_000)
    }

    /// `a 0..60, parent p`: a silence by name, from a minute until before another, and a check that is
    /// down.
    fn causes(text: &str) -> Vec<Cause> {
        let of = |text: &str| {
            if let Some(name) = text.trim().strip_prefix("parent ") {
                return Some(parent(&v1::Incident {
                    check_name: name.to_owned(),
                    ..v1::Incident::default()
                }));
            }
            let (name, span) = text.trim().split_once(' ')?;
            let (from, until) = span.split_once("..")?;
            let silence = Silence::new(v1::Silence {
                uid: name.to_owned(),
                starts_at: Some(stamp::timestamp(at(from.parse().ok()?))),
                ends_at: Some(stamp::timestamp(at(until.parse().ok()?))),
                ..v1::Silence::default()
            });
            Some(silence.cause())
        };
        text.split(',').filter_map(of).collect()
    }

    #[test]
    fn pages_go_now_later_or_never_as_the_table_says() {
        let mut rows = 0;
        for line in lines(include_str!("quiet/pages.txt")) {
            let [incident, silences, minute, expected] = columns(line);
            let now = at(minute.parse().unwrap());
            let said = match word(incident == "ended", causes(silences), now) {
                Word::Now => "now".to_owned(),
                Word::Never => "never".to_owned(),
                Word::Later { until, by: By::Silence(by) } => {
                    format!("until {} by {}", until.as_ns() / 60_000_000_000, by.uid)
                }
                Word::Later { until: OPEN_END, by: By::Parent(by) } => {
                    format!("behind {}", by.check_name)
                }
                other => panic!("{other:?}"),
            };
            assert_eq!(said, expected, "{line}");
            rows += 1;
        }
        assert_eq!(rows, 19);
    }

    #[test]
    fn a_silence_fits_by_what_every_incident_has_and_by_labels() {
        let incident = v1::Incident {
            namespace: "shop".into(),
            kind: v1::IncidentKind::Down.into(),
            check_name: "checkout".into(),
            labels: [("team", "payments"), ("check", "not this one")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            ..v1::Incident::default()
        };
        let mut rows = 0;
        for line in lines(include_str!("quiet/silences.txt")) {
            let [namespace, matchers, fits] = columns(line);
            let read = |text: &str| matcher_to(&Matcher::parse(text).unwrap());
            let wire = v1::Silence {
                namespace: namespace.to_owned(),
                matchers: matchers.split(", ").map(read).collect(),
                ..v1::Silence::default()
            };
            assert_eq!(Silence::new(wire).fits(&incident), yes(fits), "{line}");
            rows += 1;
        }
        assert_eq!(rows, 12, "all of them");
    }

    #[test]
    fn an_operator_of_a_newer_build_fits_nothing() {
        let matcher = v1::Matcher { key: "team".into(), operator: 99, value: String::new() };
        let silence =
            Silence::new(v1::Silence { matchers: vec![matcher], ..v1::Silence::default() });
        assert!(!silence.fits(&v1::Incident::default()));
    }
}
