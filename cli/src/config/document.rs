//! The top level of a document, and what holds across documents: names are unique, and there is
//! one namespace.

use std::collections::HashMap;
use std::sync::Arc;

use super::diagnostic::Diagnostic;
use super::reader::{Field, Reader, field};
use super::source::Sources;
use super::tree::{Entry, Node, Place, Value};
use super::want::{Shape, known, mapping, shaped, text};
use super::{Kind, Located, check, contact, maintenance, route, value};

/// What all documents say together.
#[derive(Debug, Default)]
pub struct Read {
    /// In the order in which they can be created: what is referred to comes first.
    pub resources: Vec<Located>,
    /// The namespace, when a document names one.
    pub namespace: Option<String>,
    /// Everything that is wrong.
    pub diagnostics: Vec<Diagnostic>,
}

/// One document while it is read: its parts are kept until all are known, as `defaults` may stand
/// after `checks`.
#[derive(Default)]
pub(super) struct Draft {
    namespace: Option<(String, Place)>,
    regions: Vec<Arc<Node>>,
    contacts: Vec<Arc<Node>>,
    checks: Vec<Arc<Node>>,
    defaults: Option<Arc<Node>>,
    settings: Vec<Arc<Entry>>,
    maintenance: Vec<Arc<Node>>,
}

/// Fields of a document.
pub(super) const DOCUMENT: &[Field<Draft>] = &[
    field("namespace", text("a name"), |draft, node, reader| {
        draft.namespace = value::text(node, reader).map(|name| (name, node.place));
    }),
    field(
        "regions",
        shaped(
            "a list of regions such as `{name: eu-west}`",
            Shape::List(&Shape::Mapping(|| known(contact::REGION))),
        ),
        |draft, node, reader| {
            draft.regions = items(node, reader);
        },
    ),
    field(
        "defaults",
        mapping("a mapping of fields of a check", || known(check::COMMON)),
        |draft, node, _| {
            draft.defaults = Some(shared(node));
        },
    ),
    field(
        "contacts",
        shaped("a list of contacts", Shape::List(&Shape::Mapping(|| known(contact::CONTACT)))),
        |draft, node, reader| {
            draft.contacts = items(node, reader);
        },
    ),
    // Settings of the namespace, which `route` reads together.
    field("mesh", mapping("a mapping with `alert`", || known(route::MESH)), |_, _, _| {}),
    field(
        "routes",
        shaped("a list of routes", Shape::List(&Shape::Mapping(|| known(route::ROUTE)))),
        |_, _, _| {},
    ),
    field(
        "maintenance",
        shaped("a list of windows", Shape::List(&Shape::Mapping(|| known(maintenance::WINDOW)))),
        |draft, node, reader| {
            draft.maintenance = items(node, reader);
        },
    ),
    field(
        "checks",
        shaped("a list of checks", Shape::List(&Shape::Mapping(check::fields))),
        |draft, node, reader| {
            draft.checks = items(node, reader);
        },
    ),
];

/// A node of its own that shares everything below it.
fn shared(node: &Node) -> Arc<Node> {
    let value = match &node.value {
        Value::Null => Value::Null,
        Value::Plain(text) => Value::Plain(text.clone()),
        Value::Quoted(text) => Value::Quoted(text.clone()),
        Value::List(items) => Value::List(items.clone()),
        Value::Map(entries) => Value::Map(entries.clone()),
    };
    Arc::new(Node { place: node.place, depth: node.depth, value })
}

/// The items of a list. `checks:` with nothing behind it is an empty list, as everybody comments
/// out the last item once.
fn items(node: &Node, reader: &mut Reader<'_>) -> Vec<Arc<Node>> {
    match &node.value {
        Value::List(items) => items.clone(),
        Value::Null => Vec::new(),
        _ => {
            reader.wrong_type(node);
            Vec::new()
        }
    }
}

/// Reads all documents.
pub fn read(sources: &Sources, documents: &[Arc<Node>]) -> Read {
    let mut reader = Reader::new(sources);
    let mut resources = Vec::new();
    let mut namespace: Option<(String, Place)> = None;
    for document in documents {
        reader.leave();
        let Some(entries) = document.entries() else {
            let message = format!(
                "a document must be a mapping with `checks`, `regions` and the like, found {}",
                document.describe()
            );
            reader.error("wrong_type", document.place, message);
            continue;
        };
        let mut draft = Draft::default();
        reader.map(entries, document.place, &[DOCUMENT], &mut draft);
        for entry in entries.iter().filter(|entry| route::is_setting(&entry.key)) {
            if !draft.settings.iter().any(|first| first.key == entry.key) {
                draft.settings.push(Arc::clone(entry));
            }
        }
        one_namespace(&mut namespace, draft.namespace.take(), &mut reader);
        read_document(&draft, &mut reader, &mut resources);
    }
    resources.sort_by_key(|located| located.kind);
    route::join(&mut resources);
    unique_names(&resources, &mut reader);
    Read { resources, namespace: namespace.map(|(name, _)| name), diagnostics: reader.diagnostics }
}

fn read_document(draft: &Draft, reader: &mut Reader<'_>, resources: &mut Vec<Located>) {
    for node in &draft.regions {
        resources.extend(contact::region(node, reader));
    }
    for node in &draft.contacts {
        resources.extend(contact::contact(node, reader));
    }
    resources.extend(route::settings(&draft.settings, reader));
    for node in &draft.maintenance {
        resources.extend(maintenance::window(node, reader));
    }
    let defaults = match &draft.defaults {
        Some(node) => {
            check::defaults(node, reader);
            node.entries().unwrap_or_default()
        }
        None => &[],
    };
    for node in &draft.checks {
        resources.extend(check::check(node, defaults, reader));
    }
}

/// One apply writes into one namespace.
fn one_namespace(
    known: &mut Option<(String, Place)>,
    new: Option<(String, Place)>,
    reader: &mut Reader<'_>,
) {
    let Some((name, place)) = new else { return };
    if !parallax_common::name::is_name(&name) {
        let message = format!("`{name}` cannot be the name of a namespace: {NAME_RULE}");
        reader.within("namespace", |reader| {
            reader.error("name_format", place, message);
        });
        return;
    }
    match known {
        Some((first, at)) if *first != name => {
            let message = format!(
                "another namespace than `{first}` of {}:{}: one apply writes into one namespace",
                reader.sources.name(at.source),
                at.line
            );
            reader.within("namespace", |reader| {
                reader.error("namespace_mismatch", place, message);
            });
        }
        Some(_) => {}
        None => *known = Some((name, place)),
    }
}

const NAME_RULE: &str = "1 to 63 of a-z, 0-9, `-` and `.`, a letter or a digit at both ends";

fn unique_names(resources: &[Located], reader: &mut Reader<'_>) {
    let mut first: HashMap<(Kind, &str), Place> = HashMap::new();
    for located in resources.iter().filter(|located| !located.name.is_empty()) {
        let Some(before) = first.get(&(located.kind, located.name.as_str())) else {
            first.insert((located.kind, &located.name), located.place);
            continue;
        };
        let message = match located.kind {
            Kind::Settings => {
                "`mesh` or `routes` is given twice: they are of the whole namespace".to_owned()
            }
            kind => format!("there is another {} named `{}`", kind.word(), located.name),
        };
        let file = reader.sources.name(before.source).to_owned();
        reader.enter(located.kind.word(), &located.name);
        let help = format!("the first is at {file}:{}", before.line);
        reader.error("duplicate_name", located.place, message).help = Some(help);
    }
    reader.leave();
}
