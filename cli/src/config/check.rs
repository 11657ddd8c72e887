//! What a check may say, field by field.

use std::sync::Arc;

use parallax_common::check::StepKind;
use parallax_common::outcome::Reason;
use parallax_proto::convert::enums;
use parallax_proto::convert::resource::{normalise, validate};
use parallax_proto::v1;

use super::diagnostic::Diagnostic;
use super::reader::{Field, Reader, field, required};
use super::step::{Kinds, kind_twice, steps};
use super::talk::quoted;
use super::tree::{Entry, Node, Value};
use super::value::{self, at_least_one};
use super::want::{
    BOOLEAN, CONTACTS, Known, LABELS, LENGTH, NUMBER, Shape, TEXT, Want, known, mapping, names,
    shaped, text, texts, word,
};
use super::{Kind, Located, alert, place, plugin, step, talk};

/// A check while it is read.
#[derive(Default)]
pub(super) struct Draft {
    check: v1::Check,
    kinds: Kinds,
    steps: Option<Vec<v1::Step>>,
}

impl Draft {
    fn run(&mut self) -> &mut v1::Run {
        self.check.run.get_or_insert_default()
    }

    fn meta(&mut self) -> &mut v1::Meta {
        self.check.meta.get_or_insert_default()
    }
}

const NAMES: Want = texts("a list of names");
const EXPRESSIONS: Want = texts("a list of expressions");

pub(crate) const SOURCES: &[(&str, v1::Source)] = &[
    ("active", v1::Source::Active),
    ("heartbeat", v1::Source::Heartbeat),
    ("push", v1::Source::Push),
];

pub(crate) const MISSING: &[(&str, v1::MissingData)] = &[
    ("unknown", v1::MissingData::Unknown),
    ("ignore", v1::MissingData::Ignore),
    ("fail", v1::MissingData::Fail),
    ("pass", v1::MissingData::Pass),
];

pub(crate) const SEVERITIES: &[(&str, v1::Severity)] = &[
    ("critical", v1::Severity::Critical),
    ("warning", v1::Severity::Warning),
    ("info", v1::Severity::Info),
];

pub(crate) const FAMILIES: &[(&str, v1::IpFamily)] =
    &[("auto", v1::IpFamily::Auto), ("4", v1::IpFamily::V4), ("6", v1::IpFamily::V6)];

pub(crate) const QUORUMS: &[(&str, v1::Quorum)] =
    &[("majority", v1::Quorum::Majority), ("all", v1::Quorum::All), ("any", v1::Quorum::Any)];

/// What only a check itself may say.
const OWN: &[Field<Draft>] = &[
    required("name", text("a name such as `checkout`"), |draft, node, reader| {
        draft.meta().name = value::text(node, reader).unwrap_or_default();
    }),
    field("http", mapping("a mapping with `url`", || known(step::HTTP)), |draft, node, reader| {
        draft.kinds.read_http(node, reader);
    }),
    field(
        "tcp",
        mapping("a mapping with `address`", || known(step::TCP)),
        |draft, node, reader| {
            draft.kinds.read_tcp(node, reader);
        },
    ),
    field(
        "tls",
        mapping("a mapping with `address`", || known(step::TLS)),
        |draft, node, reader| {
            draft.kinds.read_tls(node, reader);
        },
    ),
    field("dns", mapping("a mapping with `name`", || known(step::DNS)), |draft, node, reader| {
        draft.kinds.read_dns(node, reader);
    }),
    field(
        "udp",
        mapping("a mapping with `address`", || known(talk::UDP)),
        |draft, node, reader| {
            draft.kinds.read_udp(node, reader);
        },
    ),
    field(
        "ssh",
        mapping("a mapping with `address`", || known(talk::SSH)),
        |draft, node, reader| {
            draft.kinds.read_ssh(node, reader);
        },
    ),
    field("icmp", mapping("a mapping with `host`", || known(step::ICMP)), |draft, node, reader| {
        draft.kinds.read_icmp(node, reader);
    }),
    field(
        "grpc",
        mapping("a mapping with `address`", || known(step::GRPC)),
        |draft, node, reader| {
            draft.kinds.read_grpc(node, reader);
        },
    ),
    field(
        "websocket",
        mapping("a mapping with `url`", || known(talk::WEBSOCKET)),
        |draft, node, reader| {
            draft.kinds.read_websocket(node, reader);
        },
    ),
    field(
        "plugin",
        mapping("a mapping with `command`", || known(plugin::PLUGIN)),
        |draft, node, reader| {
            draft.kinds.read_plugin(node, reader);
        },
    ),
    field(
        "steps",
        shaped("a list of steps", Shape::List(&Shape::Mapping(|| known(step::STEP)))),
        |draft, node, reader| {
            draft.steps = Some(steps(node, reader));
        },
    ),
    field("canary", mapping("a mapping with `expect`", || known(CANARY)), |draft, node, reader| {
        let mut canary = v1::Canary::default();
        reader.mapping(node, CANARY, &mut canary);
        draft.check.canary = Some(canary);
    }),
];

/// What `defaults:` may say too.
pub(super) const COMMON: &[Field<Draft>] = &[
    field("title", TEXT, |draft, node, reader| {
        draft.check.title = value::text(node, reader).unwrap_or_default();
    }),
    field("description", TEXT, |draft, node, reader| {
        draft.check.description = value::text(node, reader).unwrap_or_default();
    }),
    field("group", TEXT, |draft, node, reader| {
        draft.check.group = value::text(node, reader).unwrap_or_default();
    }),
    field("public", BOOLEAN, |draft, node, reader| {
        draft.check.public = value::boolean(node, reader).unwrap_or_default();
    }),
    field("enabled", BOOLEAN, |draft, node, reader| {
        draft.check.enabled = value::boolean(node, reader);
    }),
    field("labels", LABELS, |draft, node, reader| {
        draft.meta().labels = value::labels(node, reader).unwrap_or_default();
    }),
    field("interval", LENGTH, |draft, node, reader| {
        draft.check.interval = value::duration(node, reader);
    }),
    field("timeout", LENGTH, |draft, node, reader| {
        draft.run().timeout = value::duration(node, reader);
    }),
    field("regions", NAMES, |draft, node, reader| {
        draft.check.regions = value::texts(node, reader).unwrap_or_default();
    }),
    field("advisory_regions", NAMES, |draft, node, reader| {
        draft.check.advisory_regions = value::texts(node, reader).unwrap_or_default();
    }),
    field("probes_per_region", NUMBER, |draft, node, reader| {
        draft.check.probes_per_region = at_least_one(node, reader);
    }),
    field(
        "missing",
        word("one of unknown, ignore, fail, pass", || names(MISSING)),
        |draft, node, reader| {
            let missing = value::word(node, MISSING, reader);
            draft.check.missing = missing.unwrap_or_default().into();
        },
    ),
    field(
        "source",
        word("one of active, heartbeat, push", || names(SOURCES)),
        |draft, node, reader| {
            let source = value::word(node, SOURCES, reader);
            draft.check.source = source.unwrap_or_default().into();
        },
    ),
    field("expect", EXPRESSIONS, |draft, node, reader| {
        draft.run().expect = value::texts(node, reader).unwrap_or_default();
    }),
    field("warn", EXPRESSIONS, |draft, node, reader| {
        draft.run().warn = value::texts(node, reader).unwrap_or_default();
    }),
    field("invert", BOOLEAN, |draft, node, reader| {
        draft.run().invert = value::boolean(node, reader).unwrap_or_default();
    }),
    field("samples", NUMBER, |draft, node, reader| {
        draft.run().samples = at_least_one(node, reader);
    }),
    field("ip", word("one of auto, 4, 6", || names(FAMILIES)), |draft, node, reader| {
        let family = value::word(node, FAMILIES, reader);
        draft.run().ip = family.unwrap_or_default().into();
    }),
    field("source_address", text("an IP address"), |draft, node, reader| {
        draft.run().source_address = value::text(node, reader).unwrap_or_default();
    }),
    field("resolver", text("the address and port of a DNS server"), |draft, node, reader| {
        draft.run().resolver = value::text(node, reader).unwrap_or_default();
    }),
    field(
        "down",
        mapping("a mapping with `regions`, `failures` or `of`", || known(DOWN)),
        |draft, node, reader| {
            let mut down = v1::Down::default();
            reader.mapping(node, DOWN, &mut down);
            draft.check.down = Some(down);
        },
    ),
    field(
        "up",
        mapping("a mapping with `successes` or `of`", || known(UP)),
        |draft, node, reader| {
            let mut up = v1::Up::default();
            reader.mapping(node, UP, &mut up);
            draft.check.up = Some(up);
        },
    ),
    field(
        "regional",
        mapping("a mapping with `after`, `alert` or `severity`", || known(LASTING)),
        |draft, node, reader| {
            let mut lasting = v1::Lasting::default();
            reader.mapping(node, LASTING, &mut lasting);
            draft.check.regional = Some(lasting);
        },
    ),
    field(
        "warning",
        mapping("a mapping with `after`, `alert` or `severity`", || known(LASTING)),
        |draft, node, reader| {
            let mut lasting = v1::Lasting::default();
            reader.mapping(node, LASTING, &mut lasting);
            draft.check.warning = Some(lasting);
        },
    ),
    field("confirm_spacing", LENGTH, |draft, node, reader| {
        draft.check.confirm_spacing = value::duration(node, reader);
    }),
    field("alert", CONTACTS, |draft, node, reader| {
        draft.check.alert = value::texts(node, reader).unwrap_or_default();
    }),
    field(
        "severity",
        word("one of critical, warning, info", || names(SEVERITIES)),
        |draft, node, reader| {
            let severity = value::word(node, SEVERITIES, reader);
            draft.check.severity = severity.unwrap_or_default().into();
        },
    ),
    field("min_open", LENGTH, |draft, node, reader| {
        draft.check.min_open = value::duration(node, reader);
    }),
    field(
        "flap",
        mapping("a mapping with `opens`, `within` or `calm`", || known(FLAP)),
        |draft, node, reader| {
            let mut flap = v1::Flap::default();
            reader.mapping(node, FLAP, &mut flap);
            draft.check.flap = Some(flap);
        },
    ),
    field("depends_on", texts("a list of checks"), |draft, node, reader| {
        draft.check.depends_on = value::texts(node, reader).unwrap_or_default();
    }),
    field(
        "alerts",
        shaped(
            "a list of mappings with `name` and `when`",
            Shape::List(&Shape::Mapping(|| known(alert::ALERT))),
        ),
        |draft, node, reader| {
            draft.check.alerts = alert::alerts(node, reader);
        },
    ),
    field(
        "slo",
        mapping("a mapping with `target`", || known(alert::SLO)),
        |draft, node, reader| {
            draft.check.slo = Some(alert::slo(node, reader));
        },
    ),
    field("runbook", text("a link"), |draft, node, reader| {
        draft.check.runbook = value::text(node, reader).unwrap_or_default();
    }),
];

pub(crate) const ANSWERS: &[(&str, v1::CanaryAnswer)] =
    &[("pass", v1::CanaryAnswer::Pass), ("fail", v1::CanaryAnswer::Fail)];

const CANARY: &[Field<v1::Canary>] = &[
    required("expect", word("one of pass, fail", || names(ANSWERS)), |canary, node, reader| {
        let answer = value::word(node, ANSWERS, reader);
        canary.expect = answer.unwrap_or_default().into();
    }),
    field(
        "reason",
        word("a reason such as dns_nxdomain", || Reason::ALL.iter().map(|it| it.word()).collect()),
        |canary, node, reader| {
            let reasons: Vec<(&str, i32)> =
                Reason::ALL.iter().map(|it| (it.word(), enums::reason_to(*it))).collect();
            canary.reason = value::word(node, &reasons, reader).unwrap_or_default();
        },
    ),
];

const FLAP: &[Field<v1::Flap>] = &[
    field("opens", NUMBER, |flap, node, reader| flap.opens = at_least_one(node, reader)),
    field("within", LENGTH, |flap, node, reader| flap.within = value::duration(node, reader)),
    field("calm", LENGTH, |flap, node, reader| flap.calm = value::duration(node, reader)),
];

const DOWN: &[Field<v1::Down>] = &[
    field(
        "regions",
        shaped(
            "majority, all, any or a number",
            Shape::OneOf(&[Shape::Word(|| names(QUORUMS)), Shape::Whole(1)]),
        ),
        |down, node, reader| {
            if let Some(count) = node.plain().and_then(value::decimal) {
                match u32::try_from(count) {
                    Ok(count) => {
                        down.regions = v1::Quorum::Count.into();
                        down.count = count;
                    }
                    Err(_) => reader.wrong_type(node),
                }
            } else if let Some(quorum) = value::word(node, QUORUMS, reader) {
                down.regions = quorum.into();
            }
        },
    ),
    field("failures", NUMBER, |down, node, reader| {
        down.failures = at_least_one(node, reader);
    }),
    field("of", NUMBER, |down, node, reader| {
        down.of = at_least_one(node, reader);
    }),
];

const LASTING: &[Field<v1::Lasting>] = &[
    field("after", LENGTH, |lasting, node, reader| {
        lasting.after = value::duration(node, reader);
    }),
    field("alert", CONTACTS, |lasting, node, reader| {
        lasting.alert = value::texts(node, reader).unwrap_or_default();
    }),
    field(
        "severity",
        word("one of critical, warning, info", || names(SEVERITIES)),
        |lasting, node, reader| {
            let severity = value::word(node, SEVERITIES, reader);
            lasting.severity = severity.unwrap_or_default().into();
        },
    ),
];

const UP: &[Field<v1::Up>] = &[
    field("successes", NUMBER, |up, node, reader| {
        up.successes = at_least_one(node, reader);
    }),
    field("of", NUMBER, |up, node, reader| {
        up.of = at_least_one(node, reader);
    }),
];

/// All that a check may say.
pub(super) fn fields() -> Vec<Known> {
    let mut fields = known(OWN);
    fields.extend(known(COMMON));
    fields
}

/// Reads `defaults:` once for itself, so that what is wrong in it is said even when no check uses
/// it.
pub(super) fn defaults(node: &Node, reader: &mut Reader<'_>) {
    reader.enter("defaults", "");
    match node.entries() {
        Some(entries) => reader.map(entries, node.place, &[COMMON], &mut Draft::default()),
        None => {
            let message =
                format!("must be a mapping of fields of a check, found {}", node.describe());
            reader.error("wrong_type", node.place, message);
        }
    }
    reader.leave();
}

/// Reads one item of `checks:`, with the defaults of its document.
pub(super) fn check(
    node: &Node,
    defaults: &[Arc<Entry>],
    reader: &mut Reader<'_>,
) -> Option<Located> {
    let Some(own) = node.entries() else {
        reader.enter("check", "");
        let message = format!("must be a mapping with `name`, found {}", node.describe());
        reader.error("wrong_type", node.place, message);
        reader.leave();
        return None;
    };
    let name_node = node.get("name");
    let name = name_node.and_then(|node| node.text()).unwrap_or_default().to_owned();
    let whole = name_node.map_or(node.place, |node| node.place);
    let merged = merge(own, defaults);
    reader.enter("check", &name);
    let mut draft = Draft::default();
    reader.map(&merged, whole, &[OWN, COMMON], &mut draft);
    let body = Node { place: node.place, depth: node.depth, value: Value::Map(merged) };
    let run = draft.check.run.get_or_insert_default();
    let mut given = draft.kinds.given();
    match (given.len(), draft.steps) {
        (0, None) => {
            // A passive check tests nothing itself; that it is not built yet is another rule.
            if matches!(draft.check.source(), v1::Source::Unspecified | v1::Source::Active) {
                let kinds = quoted(&StepKind::WORDS);
                let message = format!("a check needs one of {kinds} and `steps`");
                reader.error("kind_missing", whole, message);
            }
            reader.settle("http");
        }
        (1, None) => run.steps = vec![step(given.swap_remove(0))],
        (0, Some(steps)) => {
            if steps.is_empty() && !reader.is_broken("steps") {
                let place = place::find(&body, "steps").unwrap_or(whole);
                reader.within("steps", |reader| {
                    reader.error("step_missing", place, "a check needs at least one step");
                });
            }
            if steps.is_empty() {
                reader.settle("http");
            }
            run.steps = steps;
        }
        _ => {
            kind_twice(&body, reader);
            reader.settle("http");
        }
    }
    let resource = v1::Resource { kind: Some(v1::resource::Kind::Check(draft.check)) };
    judge(&resource, &body, whole, reader);
    reader.leave();
    Some(Located { kind: Kind::Check, name, resource, place: whole, body: Arc::new(body) })
}

fn step(kind: v1::step::Kind) -> v1::Step {
    v1::Step { kind: Some(kind), ..v1::Step::default() }
}

/// A check's own fields and, for those that it does not have, the defaults. `labels`, `down` and
/// `up` are merged field by field; anything else is replaced whole.
fn merge(own: &[Arc<Entry>], defaults: &[Arc<Entry>]) -> Vec<Arc<Entry>> {
    let mut merged = own.to_vec();
    for default in defaults {
        // A default that is no field of a check was reported where it stands.
        if !COMMON.iter().any(|field| field.name == default.key) {
            continue;
        }
        let Some(at) = merged.iter().position(|entry| entry.key == default.key) else {
            merged.push(Arc::clone(default));
            continue;
        };
        let deep = matches!(default.key.as_str(), "labels" | "down" | "up");
        let own = Arc::clone(&merged[at]);
        if let (true, Some(mine), Some(theirs)) =
            (deep, own.value.entries(), default.value.entries())
        {
            let mut entries = mine.to_vec();
            let new = theirs.iter().filter(|entry| own.value.get(&entry.key).is_none());
            entries.extend(new.cloned());
            merged[at] = Arc::new(Entry {
                key: own.key.clone(),
                place: own.place,
                value: Arc::new(Node {
                    place: own.value.place,
                    depth: own.value.depth.max(default.value.depth),
                    value: Value::Map(entries),
                }),
            });
        }
    }
    merged
}

/// Judges a resource by the rules that every part of Parallax shares, and says what it breaks at the
/// line that breaks it. What could not be read is not judged a second time.
pub(super) fn judge(
    resource: &v1::Resource,
    body: &Node,
    whole: super::Place,
    reader: &mut Reader<'_>,
) {
    for violation in validate(&normalise(resource.clone())) {
        let field = place::as_written(body, &violation.field).into_owned();
        if reader.is_broken(&field) || reader.is_broken(&violation.field) {
            continue;
        }
        let at = place::of_rule(body, &field, violation.rule.id).unwrap_or(whole);
        reader.diagnostics.push(Diagnostic {
            field,
            nearest: violation.nearest,
            resource: violation.resource.to_owned(),
            name: violation.name,
            ..Diagnostic::error(violation.rule.id, Some(at), violation.message)
        });
    }
}
