//! Bodies that a contact words itself: Jinja templates over a page, within bounds.
//!
//! [`check`] is asked when a contact is applied, [`render`] when a page goes out. What a template may
//! use is a part of the language that can only grow what it is given by so much: conditions, loops,
//! and a list of filters. Nothing can be set, included or multiplied, no list can be written down, and what
//! a filter takes or makes is bounded (`text`), for a template of three lines that doubles a text a
//! hundred times costs hardly any steps and all memory there is.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use minijinja::value::{Enumerator, Object, Serde, ValueKind};
use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, Value, escape_formatter, filters,
};

use crate::limits::{
    TEMPLATE_BYTES_MAX, TEMPLATE_FUEL_MAX, TEMPLATE_OUTPUT_BYTES_MAX, TEMPLATE_TEXT_BYTES_MAX,
};
use crate::text::nearest;

/// Pages as templates see them: one that opens with all that there can be, one about a region that ends,
/// and one about many checks. Texts in them hold what breaks a careless template.
const SAMPLES: &str = include_str!("page_template/samples.json");

/// What a tag may begin with.
const TAGS: [&str; 6] = ["if", "elif", "else", "endif", "for", "endfor"];

/// What keeps a template from being used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// More source than is taken.
    #[error("the template has {0} bytes, at most {TEMPLATE_BYTES_MAX} are taken")]
    TooLong(usize),
    /// A tag that could grow without end, or that has nothing to refer to.
    #[error("`{0}` cannot be used here: only if, elif, else, endif, for and endfor")]
    Tag(String),
    /// The same of a sign.
    #[error("line {line}: `{sign}` cannot be used within a tag or an expression")]
    Sign {
        /// From 1.
        line: usize,
        /// Which.
        sign: char,
    },
    /// No Jinja.
    #[error("line {line}: {what}")]
    Syntax {
        /// From 1.
        line: usize,
        /// What the parser says.
        what: String,
    },
    /// A name that no page has.
    #[error("a page has no `{name}`")]
    Unknown {
        /// As it is written.
        name: String,
        /// One that is written much like it.
        nearest: Option<String>,
    },
    /// It stopped in the middle.
    #[error("line {line}: {what}")]
    Render {
        /// From 1; 0 when nobody can say.
        line: usize,
        /// Why.
        what: String,
    },
    /// More steps than it may take.
    #[error("it takes more than {TEMPLATE_FUEL_MAX} steps")]
    Fuel,
    /// More than may be sent.
    #[error("it becomes more than {TEMPLATE_OUTPUT_BYTES_MAX} bytes")]
    Output,
    /// The content type says JSON, and what comes out is none.
    #[error("what it becomes is no JSON ({0}); texts need `|tojson`")]
    NotJson(String),
}

/// Whether a content type says that a body is JSON.
pub fn is_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || kind.ends_with("+json")
}

/// The names at the top of a page.
fn known(samples: &[serde_json::Value]) -> BTreeSet<String> {
    samples
        .iter()
        .filter_map(serde_json::Value::as_object)
        .flat_map(|page| page.keys().cloned())
        .collect()
}

fn samples() -> Vec<serde_json::Value> {
    serde_json::from_str(SAMPLES).unwrap_or_default()
}

/// Checks a template against pages of every kind, which the source of this file has as examples.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn check(source: &str, json: bool) -> Result<(), TemplateError> {
    if source.len() > TEMPLATE_BYTES_MAX {
        return Err(TemplateError::TooLong(source.len()));
    }
    tame(source)?;
    let samples = samples();
    let known = known(&samples);
    let environment = environment(UndefinedBehavior::Strict);
    let template = environment.template_from_str(source).map_err(|error| {
        let what = error.detail().unwrap_or("it cannot be read").to_owned();
        TemplateError::Syntax { line: error.line().unwrap_or_default(), what }
    })?;
    let used: BTreeSet<String> = template.undeclared_variables(false).into_iter().collect();
    if let Some(name) = used.into_iter().find(|name| !known.contains(name)) {
        let nearest = nearest(&name, known.iter().map(String::as_str)).map(str::to_owned);
        return Err(TemplateError::Unknown { name, nearest });
    }
    for page in &samples {
        // Which labels a check has is its own business: any of them may be asked for.
        let page = Value::from(Serde(page));
        let page = minijinja::value::merge_maps([
            page,
            Value::from(BTreeMap::from([("labels", Value::from_object(AnyLabel))])),
        ]);
        let rendered = run(&template, page)?;
        if json && let Err(error) = serde_json::from_str::<serde_json::Value>(&rendered) {
            return Err(TemplateError::NotJson(error.to_string()));
        }
    }
    Ok(())
}

/// What a page becomes. What it lacks, such as a label, is nothing; what else goes wrong is an error,
/// and the caller has another form to send.
///
/// # Errors
/// The template cannot be used, for this page or at all.
pub fn render(source: &str, page: &serde_json::Value) -> Result<String, TemplateError> {
    render_with(source, page, str::to_owned)
}

/// The same within a text that has marks of its own: what comes from the page is written as `escape`
/// makes it, and what stands in the template as it is.
///
/// # Errors
/// As [`render`].
pub fn render_with(
    source: &str,
    page: &serde_json::Value,
    escape: fn(&str) -> String,
) -> Result<String, TemplateError> {
    tame(source)?;
    let mut environment = environment(UndefinedBehavior::Chainable);
    environment.set_formatter(move |out, _, value| {
        match value.as_str() {
            // What a page lacks is nothing.
            None if value.is_none() => {}
            Some(text) => out.write_str(&escape(text))?,
            // An undefined value is an empty text.
            None => out.write_str(&escape(&value.to_string()))?,
        }
        Ok(())
    });
    let template = environment.template_from_str(source).map_err(|error| {
        let what = error.detail().unwrap_or("it cannot be read").to_owned();
        TemplateError::Syntax { line: error.line().unwrap_or_default(), what }
    })?;
    run(&template, Value::from(Serde(page)))
}

fn run(template: &minijinja::Template<'_, '_>, page: Value) -> Result<String, TemplateError> {
    let mut out = Bounded { bytes: Vec::new(), most: TEMPLATE_OUTPUT_BYTES_MAX, over: false };
    let rendered = template.render_captured_to(page, &mut out).map(drop);
    match rendered {
        _ if out.over => Err(TemplateError::Output),
        Ok(()) => Ok(String::from_utf8_lossy(&out.bytes).into_owned()),
        Err(error) if error.kind() == ErrorKind::OutOfFuel => Err(TemplateError::Fuel),
        Err(error) => {
            let kind = error.kind().to_string();
            let what = error.detail().map_or(kind, str::to_owned);
            Err(TemplateError::Render { line: error.line().unwrap_or_default(), what })
        }
    }
}

/// Refuses what could grow without end, before anything of it runs.
fn tame(source: &str) -> Result<(), TemplateError> {
    let (mut rest, mut line) = (source, 1);
    while let Some(at) = ["{{", "{%", "{#"].iter().filter_map(|open| rest.find(open)).min() {
        line += newlines(&rest[..at]);
        let (open, inside) = rest[at..].split_at(2);
        let body = match open {
            // What has no end the parser complains of.
            "{#" => inside.find("#}").map_or(inside, |end| &inside[..end]),
            "{{" => expression(inside, "}}", false, line)?,
            _ => expression(inside, "%}", true, line)?,
        };
        let word = body.trim_start_matches(['-', '+']).split_whitespace().next();
        let word = word.unwrap_or_default().trim_end_matches(['-', '+']);
        if open == "{%" && !TAGS.contains(&word) {
            return Err(TemplateError::Tag(word.to_owned()));
        }
        line += newlines(body);
        rest = inside.get(body.len() + 2..).unwrap_or_default();
    }
    Ok(())
}

fn newlines(text: &str) -> usize {
    text.matches('\n').count()
}

/// What stands before `close`, which may also stand within a text and means nothing there. Braces of
/// their own are refused, so that no other place can be taken for the end; and lists, which a loop could
/// bind and double: brackets that index nothing, and commas but those between the arguments of a filter
/// and the names of a loop.
fn expression<'s>(
    inside: &'s str,
    close: &str,
    is_tag: bool,
    line: usize,
) -> Result<&'s str, TemplateError> {
    let (mut quote, mut escaped) = (None, false);
    let (mut within, mut before) = (Vec::new(), ' ');
    for (at, c) in inside.char_indices() {
        let follows_name =
            before.is_alphanumeric() || matches!(before, '_' | ')' | ']' | '"' | '\'');
        before = c;
        let refused = || TemplateError::Sign { line: line + newlines(&inside[..at]), sign: c };
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if inside[at..].starts_with(close) => return Ok(&inside[..at]),
            None if matches!(c, '"' | '\'') => quote = Some(c),
            None if matches!(c, '*' | '{' | '}') => return Err(refused()),
            None if c == '[' && !follows_name => return Err(refused()),
            None if matches!(c, '(' | '[') => within.push((c, follows_name)),
            None if matches!(c, ')' | ']') => drop(within.pop()),
            None if c == ',' => {
                let separates = match within.last() {
                    Some(opened) => *opened == ('(', true),
                    None => is_tag && !inside[..at].contains(" in "),
                };
                if !separates {
                    return Err(refused());
                }
            }
            None => {}
        }
    }
    Ok(inside)
}

fn environment(undefined: UndefinedBehavior) -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(undefined);
    environment.set_fuel(Some(TEMPLATE_FUEL_MAX));
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_formatter(|out, state, value| match value.is_none() {
        // As a label that is not there.
        true => Ok(()),
        false => escape_formatter(out, state, value),
    });
    environment.add_filter("default", filters::default);
    environment.add_filter("e", |value: &Value| escaped(&text(value)?));
    environment.add_filter("escape", |value: &Value| escaped(&text(value)?));
    environment.add_filter("first", filters::first);
    environment.add_filter("items", filters::items);
    environment.add_filter("join", join);
    environment.add_filter("last", filters::last);
    environment.add_filter("length", filters::length);
    environment.add_filter("lower", |value: &Value| bounded(text(value)?.to_lowercase()));
    environment.add_filter("title", |value: &Value| bounded(filters::title(text(value)?.into())));
    environment.add_filter("tojson", to_json);
    environment.add_filter("trim", |value: &Value| bounded(text(value)?.trim().to_owned()));
    environment.add_filter("upper", |value: &Value| bounded(text(value)?.to_uppercase()));
    environment.add_test("defined", minijinja::tests::is_defined);
    environment.add_test("none", minijinja::tests::is_none);
    environment
}

/// What a filter takes as a text: no list, and not too long.
fn text(value: &Value) -> Result<String, Error> {
    if matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable) {
        let what = "a list is no text: join it, or use tojson";
        return Err(Error::new(ErrorKind::InvalidOperation, what));
    }
    bounded(value.to_string())
}

fn bounded(text: String) -> Result<String, Error> {
    match text.len() <= TEMPLATE_TEXT_BYTES_MAX {
        true => Ok(text),
        false => Err(too_long()),
    }
}

fn too_long() -> Error {
    let what = format!("a text becomes more than {TEMPLATE_TEXT_BYTES_MAX} bytes");
    Error::new(ErrorKind::InvalidOperation, what)
}

/// As HTML takes it, in text and in quotes.
fn escaped(text: &str) -> Result<String, Error> {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#x27;"),
            c => out.push(c),
        }
    }
    bounded(out)
}

fn join(list: &Value, between: Option<&str>) -> Result<String, Error> {
    let mut out = String::new();
    for (place, item) in list.try_iter()?.enumerate() {
        if place > 0 {
            out.push_str(between.unwrap_or_default());
        }
        out.push_str(&text(&item)?);
        if out.len() > TEMPLATE_TEXT_BYTES_MAX {
            return Err(too_long());
        }
    }
    Ok(out)
}

fn to_json(value: &Value) -> Result<String, Error> {
    let mut out = Bounded { bytes: Vec::new(), most: TEMPLATE_TEXT_BYTES_MAX, over: false };
    let written = serde_json::to_writer(&mut out, value);
    match written {
        _ if out.over => Err(too_long()),
        Ok(()) => Ok(String::from_utf8_lossy(&out.bytes).into_owned()),
        Err(error) => Err(Error::new(ErrorKind::InvalidOperation, error.to_string())),
    }
}

/// Labels of which each is there.
#[derive(Debug)]
struct AnyLabel;

impl Object for AnyLabel {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        key.as_str().map(|_| Value::from("a \"label\""))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(&["team"])
    }
}

/// A text that grows up to a bound.
struct Bounded {
    bytes: Vec<u8>,
    most: usize,
    over: bool,
}

impl io::Write for &mut Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.most {
            self.over = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The example pages, for those who make pages to compare with theirs.
pub fn example_pages() -> Vec<serde_json::Value> {
    samples()
}

#[cfg(test)]
mod tests;
