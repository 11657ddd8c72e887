//! Text to [`tree`](super::tree): events of the parser under serde-saphyr, folded with a stack.
//!
//! The events carry a span for every node and every key, which serde's data model does not; that
//! is why this reads events and not through `Deserialize`. No budget of nodes is needed: aliases
//! share the node they name, so a tree is never larger than its file.

use std::collections::HashMap;
use std::sync::Arc;

use parallax_common::limits;
use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, options};

use super::diagnostic::Diagnostic;
use super::tree::{Entry, Node, Place, Value};

/// What one source holds.
#[derive(Debug, Default)]
pub struct Parsed {
    /// The root of every document that could be read; empty documents are left out.
    pub documents: Vec<Arc<Node>>,
    /// Why reading ended early.
    pub error: Option<Diagnostic>,
}

/// Parses all documents of one source. The first syntax error ends the source, as what follows it
/// would only be guessed; documents before it are kept.
pub fn parse(source: u32, text: &str) -> Parsed {
    let options = options! {
        emit_comments: false,
        flow_nesting_limit: limits::YAML_DEPTH_MAX,
        block_nesting_limit: limits::YAML_DEPTH_MAX,
    };
    let mut builder = Builder { source, ..Builder::default() };
    for event in Parser::new_from_str_with_options(text, options) {
        let result = match event {
            Ok((event, span)) => builder.take(event, &span),
            Err(error) => Err(builder.scan_error(&error)),
        };
        if let Err(error) = result {
            return Parsed { documents: builder.documents, error: Some(*error) };
        }
    }
    Parsed { documents: builder.documents, error: None }
}

#[derive(Default)]
struct Builder {
    source: u32,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Arc<Node>>,
    documents: Vec<Arc<Node>>,
}

struct Frame {
    place: Place,
    anchor: usize,
    depth: usize,
    shape: Shape,
}

enum Shape {
    List(Vec<Arc<Node>>),
    Map { entries: Vec<Arc<Entry>>, key: Option<(String, Place)> },
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: &Span) -> Result<(), Box<Diagnostic>> {
        let place = self.place(span);
        match event {
            Event::DocumentStart(..) => self.anchors.clear(),
            Event::Alias(id) => {
                let Some(node) = self.anchors.get(&id).cloned() else {
                    return Err(syntax(place, "an alias cannot stand inside what it names"));
                };
                self.add(node, place)?;
            }
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                let value = match tag {
                    None if plain && is_null(&text) => Value::Null,
                    None if plain => Value::Plain(text.into_owned()),
                    None => Value::Quoted(text.into_owned()),
                    Some(tag) if tag.is_yaml_core_schema_tag("str") => {
                        Value::Quoted(text.into_owned())
                    }
                    Some(_) => return Err(syntax(place, TAGS)),
                };
                self.finish(Node { place, value, depth: 0 }, anchor)?;
            }
            Event::SequenceStart(_, anchor, tag) => {
                if tag.is_some() {
                    return Err(syntax(place, TAGS));
                }
                let shape = Shape::List(Vec::new());
                self.stack.push(Frame { place, anchor, depth: 0, shape });
            }
            Event::MappingStart(_, anchor, tag) => {
                if tag.is_some() {
                    return Err(syntax(place, TAGS));
                }
                let shape = Shape::Map { entries: Vec::new(), key: None };
                self.stack.push(Frame { place, anchor, depth: 0, shape });
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(frame) = self.stack.pop() {
                    let value = match frame.shape {
                        Shape::List(items) => Value::List(items),
                        Shape::Map { entries, .. } => Value::Map(entries),
                    };
                    let node = Node { place: frame.place, value, depth: frame.depth };
                    self.finish(node, frame.anchor)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self, node: Node, anchor: usize) -> Result<(), Box<Diagnostic>> {
        let place = node.place;
        let node = Arc::new(node);
        if anchor != 0 {
            self.anchors.insert(anchor, Arc::clone(&node));
        }
        self.add(node, place)
    }

    /// Puts a node where the stack says; `place` is where it is written, which for an alias is not
    /// where its node stands.
    fn add(&mut self, node: Arc<Node>, place: Place) -> Result<(), Box<Diagnostic>> {
        let Some(frame) = self.stack.last_mut() else {
            if !matches!(node.value, Value::Null) {
                self.documents.push(node);
            }
            return Ok(());
        };
        frame.depth = frame.depth.max(node.depth + 1);
        if frame.depth > limits::YAML_DEPTH_MAX {
            let most = limits::YAML_DEPTH_MAX;
            return Err(syntax(place, &format!("nested deeper than {most} levels")));
        }
        match &mut frame.shape {
            Shape::List(items) => items.push(node),
            Shape::Map { entries, key } => match key.take() {
                Some((key, key_place)) => {
                    entries.push(Arc::new(Entry { key, place: key_place, value: node }));
                }
                None => match &node.value {
                    Value::Plain(text) | Value::Quoted(text) => *key = Some((text.clone(), place)),
                    Value::Null => *key = Some(("null".to_owned(), place)),
                    Value::List(_) | Value::Map(_) => {
                        return Err(syntax(place, "a key must be a plain text"));
                    }
                },
            },
        }
        Ok(())
    }

    fn place(&self, span: &Span) -> Place {
        let length = if span.end.line() == span.start.line() {
            span.end.col().saturating_sub(span.start.col())
        } else {
            1
        };
        Place {
            source: self.source,
            line: small(span.start.line().max(1)),
            column: small(span.start.col() + 1),
            length: small(length.max(1)),
        }
    }

    fn scan_error(&self, error: &ScanError) -> Box<Diagnostic> {
        let mark = error.marker();
        let place = Place {
            source: self.source,
            line: small(mark.line().max(1)),
            column: small(mark.col() + 1),
            length: 1,
        };
        syntax(place, &error.info())
    }
}

const TAGS: &str = "tags such as `!this` mean nothing here";

fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

fn syntax(place: Place, message: &str) -> Box<Diagnostic> {
    Box::new(Diagnostic::error("yaml_syntax", Some(place), message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Arc<Node> {
        let mut parsed = parse(0, text);
        assert!(parsed.error.is_none(), "{:?}", parsed.error);
        assert_eq!(parsed.documents.len(), 1);
        parsed.documents.remove(0)
    }

    #[test]
    fn every_key_and_value_knows_its_line_and_column() {
        let root = one("a: 1\nb:\n  - {c: \"x y\"}\n");
        let entries = root.entries().unwrap();
        assert_eq!((entries[0].place.line, entries[0].place.column), (1, 1));
        assert_eq!((entries[0].value.place.line, entries[0].value.place.column), (1, 4));
        let Value::List(items) = &entries[1].value.value else { panic!("b is a list") };
        let c = &items[0].entries().unwrap()[0];
        assert_eq!((c.place.line, c.place.column), (3, 6));
        let value = c.value.place;
        assert_eq!((value.line, value.column, value.length), (3, 9, 5));
    }

    #[test]
    fn an_alias_points_at_the_node_it_names() {
        let root = one("a: &x [1]\nb: *x\n");
        assert_eq!(root.get("b").unwrap().place.line, 1);
    }

    #[test]
    fn a_billion_laughs_costs_what_its_file_costs_and_is_cut_by_depth() {
        let mut text = String::from("a0: &a0 x\n");
        for level in 1..40 {
            let below = level - 1;
            text.push_str(&format!("a{level}: &a{level} [*a{below}, *a{below}, *a{below}]\n"));
        }
        assert!(parse(0, &text).error.is_none());
        for level in 40..400 {
            let below = level - 1;
            text.push_str(&format!("a{level}: &a{level} [*a{below}]\n"));
        }
        let error = parse(0, &text).error.unwrap();
        assert_eq!(error.rule, "yaml_syntax");
        assert!(error.message.contains("deeper"), "{}", error.message);
    }

    #[test]
    fn a_syntax_error_keeps_the_documents_before_it() {
        let parsed = parse(0, "a: 1\n---\nb: [1\n");
        assert_eq!(parsed.documents.len(), 1);
        assert_eq!(parsed.error.unwrap().rule, "yaml_syntax");
    }

    #[test]
    fn tags_and_keys_that_are_not_text_are_refused() {
        assert!(parse(0, "a: !secret x\n").error.is_some());
        assert!(parse(0, "? [a]\n: x\n").error.is_some());
        assert!(parse(0, "a: !!str 12\n").error.is_none());
    }
}
