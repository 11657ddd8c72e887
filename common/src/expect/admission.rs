//! What an expression may be: a walk over its syntax tree, before it is ever evaluated.

use std::collections::BTreeSet;

use cel::IdedExpr;
use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue};

use super::{Refusal, Variable};
use crate::limits::{COMPREHENSION_DEPTH_MAX, EXPRESSION_SUMS_MAX};
use crate::rule::{self, Rule};
use crate::text::nearest;

/// What `phases` may have.
const PHASES: [&str; 6] = ["dns", "connect", "tls", "first_byte", "transfer", "total"];
/// What `redirects` has.
const REDIRECTS: [&str; 2] = ["count", "url"];
/// What `cert` has.
const CERT: [&str; 10] = [
    "days_left",
    "names",
    "issuer",
    "subject",
    "serial",
    "signature",
    "key_type",
    "key_bits",
    "chain",
    "chain_days_left",
];
/// What each of `cert.chain` has.
const CHAIN: &[&str] = CERT.split_at(8).0;
/// What `flags` has.
const FLAGS: [&str; 6] = ["aa", "tc", "rd", "ra", "ad", "cd"];
/// What each of `answers`, `authority` and `additional` has.
const RECORD: &[&str] = &["name", "type", "ttl", "data"];
/// Names of types, for `type(x) == string`.
const TYPES: [&str; 10] =
    ["bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type", "type"];
/// Functions of CEL's standard library that make sense here.
const FUNCTIONS: [&str; 27] = [
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "duration",
    "timestamp",
    "string",
    "int",
    "uint",
    "double",
    "bool",
    "bytes",
    "type",
    "dyn",
    "getFullYear",
    "getMonth",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getHours",
    "getMinutes",
    "getSeconds",
    "getMilliseconds",
    "orValue",
    "hasValue",
];
/// Calls that look at what they are given and keep nothing of it.
const LOOKS: [&str; 12] = [
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "@in",
    "_==_",
    "_!=_",
    "_<_",
    "_<=_",
    "_>_",
    "_>=_",
];
/// Macros, offered as the nearest name although the parser has expanded them.
const MACROS: [&str; 6] = ["has", "all", "exists", "exists_one", "map", "filter"];

/// What the items of a list are called, and their fields.
type Items = (&'static str, &'static [&'static str]);

/// What admission finds out.
pub(super) struct Admitted {
    /// Used by it.
    pub(super) variables: BTreeSet<Variable>,
    /// Loops inside one another.
    pub(super) depth: u32,
    /// Whether it matches patterns.
    pub(super) patterns: bool,
    /// It collects or adds, so that what it builds may be large.
    pub(super) builds: bool,
}

/// What an expression is to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gives {
    /// True or false.
    Truth,
    /// A text or a number.
    Value,
}

/// Checks an expression.
pub(super) fn admit(expression: &IdedExpr, gives: Gives) -> Result<Admitted, Refusal> {
    let mut walk = Walk {
        scope: Vec::new(),
        variables: BTreeSet::new(),
        depth: 0,
        deepest: 0,
        patterns: false,
        sums: 0,
        looks: false,
    };
    walk.expression(expression)?;
    match (gives, kind(&expression.expr)) {
        (Gives::Truth, Kind::Other(what)) => {
            let message = format!("the expression gives {what}; it must say true or false");
            return Err(refuse(rule::EXPRESSION_NOT_BOOLEAN, message, None));
        }
        (Gives::Value, Kind::Boolean) => {
            let message = "the expression says true or false; it must give a text or a number";
            return Err(refuse(rule::CAPTURE_VALUE, message.to_owned(), None));
        }
        // Of the others some are known to be nothing that can be sent.
        (Gives::Value, Kind::Other(what))
            if !matches!(what, "a string" | "a number" | "a sum" | "no bool") =>
        {
            let message = format!("the expression gives {what}; it must give a text or a number");
            return Err(refuse(rule::CAPTURE_VALUE, message, None));
        }
        (Gives::Truth | Gives::Value, _) => {}
    }
    let builds = walk.deepest > 0 || walk.sums > 0;
    let Walk { variables, deepest: depth, patterns, .. } = walk;
    Ok(Admitted { variables, depth, patterns, builds })
}

fn refuse(rule: Rule, message: String, nearest: Option<&str>) -> Refusal {
    Refusal { rule, message, nearest: nearest.map(str::to_owned) }
}

struct Walk<'e> {
    /// Names bound by the loops around, and what the items have that they stand for, when it is
    /// known.
    scope: Vec<(&'e str, Option<Items>)>,
    variables: BTreeSet<Variable>,
    depth: u32,
    deepest: u32,
    patterns: bool,
    /// Additions so far.
    sums: u32,
    /// What is walked is only looked at by the call around it.
    looks: bool,
}

impl<'e> Walk<'e> {
    fn expression(&mut self, expression: &'e IdedExpr) -> Result<(), Refusal> {
        match &expression.expr {
            Expr::Unspecified | Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.name(name),
            Expr::Select(select) => {
                self.field(&select.operand, &select.field)?;
                self.within(self.looks || select.test, |walk| walk.expression(&select.operand))
            }
            Expr::Call(call) => self.call(call),
            Expr::Comprehension(of) => self.within(false, |walk| walk.comprehension(of)),
            Expr::List(list) => self.within(false, |walk| {
                list.elements.iter().try_for_each(|item| walk.expression(item))
            }),
            Expr::Map(map) => self.within(false, |this| {
                map.entries.iter().try_for_each(|entry| match &entry.expr {
                    EntryExpr::MapEntry(entry) => {
                        this.expression(&entry.key)?;
                        this.expression(&entry.value)
                    }
                    EntryExpr::StructField(field) => this.expression(&field.value),
                })
            }),
            Expr::Struct(of) => {
                let message = format!("`{}` is not a type that can be made here", of.type_name);
                Err(refuse(rule::EXPRESSION_UNKNOWN_NAME, message, None))
            }
        }
    }

    /// Walks something that is only looked at, or that is kept.
    fn within(
        &mut self,
        looks: bool,
        walk: impl FnOnce(&mut Self) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let around = std::mem::replace(&mut self.looks, looks);
        let walked = walk(self);
        self.looks = around;
        walked
    }

    fn name(&mut self, name: &'e str) -> Result<(), Refusal> {
        // Names with an @ are the macros' own.
        if name.starts_with('@') || self.bound(name).is_some() || TYPES.contains(&name) {
            return Ok(());
        }
        if let Some(variable) = Variable::from_word(name) {
            if self.depth > 0
                && !self.looks
                && matches!(
                    variable,
                    Variable::Body
                        | Variable::Headers
                        | Variable::Received
                        | Variable::Captures
                        | Variable::Output
                        | Variable::Perf
                )
            {
                let message = format!(
                    "inside a loop `{name}` is only searched, compared and measured: \
                     each turn would keep a copy"
                );
                return Err(refuse(rule::EXPRESSION_UNBOUNDED, message, None));
            }
            self.variables.insert(variable);
            return Ok(());
        }
        let known = Variable::ALL.iter().map(|variable| variable.word());
        let near = nearest(name, known.chain(self.scope.iter().map(|(name, _)| *name)));
        let message = format!(
            "`{name}` is not known; there are {}",
            Variable::ALL.iter().map(|v| v.word()).collect::<Vec<_>>().join(", ")
        );
        Err(refuse(rule::EXPRESSION_UNKNOWN_NAME, message, near))
    }

    /// What the innermost loop variable of this name stands for.
    fn bound(&self, name: &str) -> Option<Option<Items>> {
        self.scope.iter().rev().find(|(bound, _)| *bound == name).map(|(_, items)| *items)
    }

    /// What an expression is a list of, when its items have known fields.
    fn items(&self, list: &IdedExpr) -> Option<Items> {
        match &list.expr {
            Expr::Ident(name) if self.bound(name).is_none() => match Variable::from_word(name)? {
                Variable::Answers | Variable::Authority | Variable::Additional => {
                    Some(("a record", RECORD))
                }
                _ => None,
            },
            Expr::Select(select) if select.field == "chain" => match &select.operand.expr {
                Expr::Ident(name) if name == "cert" && self.bound(name).is_none() => {
                    Some(("a certificate of the chain", CHAIN))
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// `operand.field` or `operand["field"]`: what cannot be there is a typing error, not a fact.
    fn field(&self, operand: &IdedExpr, field: &str) -> Result<(), Refusal> {
        let item = match &operand.expr {
            Expr::Ident(name) => self.bound(name),
            // One of a list, by its place.
            Expr::Call(call) => match (call.func_name.as_str(), call.args.as_slice()) {
                ("_[_]" | "_[?_]", [list, _]) => Some(self.items(list)),
                _ => Some(None),
            },
            _ => Some(None),
        };
        if let Some(item) = item {
            let Some((what, known)) = item.filter(|(_, known)| !known.contains(&field)) else {
                return Ok(());
            };
            let message = format!("{what} has no `{field}`; it has {}", known.join(", "));
            let near = nearest(field, known.iter().copied());
            return Err(refuse(rule::EXPRESSION_UNKNOWN_FIELD, message, near));
        }
        let Expr::Ident(name) = &operand.expr else { return Ok(()) };
        let known: &[&str] = match Variable::from_word(name) {
            Some(Variable::Phases) => &PHASES,
            Some(Variable::Cert) => &CERT,
            Some(Variable::Redirects) => &REDIRECTS,
            Some(Variable::Flags) => &FLAGS,
            Some(Variable::Headers) if field.bytes().any(|b| b.is_ascii_uppercase()) => {
                let lower = field.to_ascii_lowercase();
                let message = format!("header names are lower case here, so `{field}` never is");
                return Err(refuse(rule::EXPRESSION_UNKNOWN_FIELD, message, Some(&lower)));
            }
            _ => return Ok(()),
        };
        if known.contains(&field) {
            return Ok(());
        }
        let message = format!("`{name}` has no `{field}`; it has {}", known.join(", "));
        let near = nearest(field, known.iter().copied());
        Err(refuse(rule::EXPRESSION_UNKNOWN_FIELD, message, near))
    }

    fn call(&mut self, call: &'e CallExpr) -> Result<(), Refusal> {
        let name = call.func_name.as_str();
        // Operators are spelled with _, -, ! or @.
        let operator = !name.starts_with(|c: char| c.is_ascii_alphabetic());
        if !operator && !FUNCTIONS.contains(&name) {
            let near = nearest(name, FUNCTIONS.into_iter().chain(MACROS));
            let message = format!("there is no function `{name}` for this");
            return Err(refuse(rule::EXPRESSION_UNKNOWN_FUNCTION, message, near));
        }
        if let ("_[_]" | "_[?_]" | "_?._", [operand, index]) = (name, call.args.as_slice())
            && let Expr::Literal(LiteralValue::String(field)) = &index.expr
        {
            self.field(operand, field.inner())?;
        }
        self.patterns |= name == "matches";
        // The macros' own additions are their loops.
        let own = |of: &IdedExpr| matches!(&of.expr, Expr::Ident(name) if name.starts_with('@'));
        if name == "_+_" && !call.args.first().is_some_and(own) {
            self.sums += 1;
            if self.sums > EXPRESSION_SUMS_MAX {
                let message = format!("at most {EXPRESSION_SUMS_MAX} additions are allowed");
                return Err(refuse(rule::EXPRESSION_SUMS, message, None));
            }
        }
        let looks = match name {
            "_[_]" | "_[?_]" | "_?._" => self.looks,
            name => LOOKS.contains(&name),
        };
        self.within(looks, |walk| {
            call.target.iter().try_for_each(|target| walk.expression(target))?;
            call.args.iter().try_for_each(|argument| walk.expression(argument))
        })
    }

    fn comprehension(&mut self, of: &'e ComprehensionExpr) -> Result<(), Refusal> {
        // The range and the start are evaluated once: they do not multiply.
        self.expression(&of.iter_range)?;
        self.expression(&of.accu_init)?;
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
        if self.depth > COMPREHENSION_DEPTH_MAX {
            let message = format!(
                "{} loops are nested; at most {COMPREHENSION_DEPTH_MAX} are allowed",
                self.depth
            );
            return Err(refuse(rule::EXPRESSION_TOO_DEEP, message, None));
        }
        let outer = self.scope.len();
        // With two variables the first is the place.
        let items = self.items(&of.iter_range);
        self.scope.push((&of.iter_var, items.filter(|_| of.iter_var2.is_none())));
        self.scope.extend(of.iter_var2.as_deref().map(|name| (name, items)));
        self.scope.push((&of.accu_var, None));
        self.expression(&of.loop_cond)?;
        self.expression(&of.loop_step)?;
        self.expression(&of.result)?;
        self.scope.truncate(outer);
        self.depth -= 1;
        Ok(())
    }
}

/// What an expression gives, as far as its syntax tells.
enum Kind {
    Boolean,
    Unknown,
    Other(&'static str),
}

fn kind(expression: &Expr) -> Kind {
    match expression {
        Expr::Literal(LiteralValue::Boolean(_)) => Kind::Boolean,
        Expr::Literal(LiteralValue::String(_)) => Kind::Other("a string"),
        Expr::Literal(LiteralValue::Bytes(_)) => Kind::Other("bytes"),
        Expr::Literal(LiteralValue::Null) => Kind::Other("null"),
        Expr::Literal(_) => Kind::Other("a number"),
        Expr::List(_) => Kind::Other("a list"),
        Expr::Map(_) | Expr::Struct(_) => Kind::Other("a map"),
        Expr::Ident(name) => match Variable::from_word(name) {
            Some(
                Variable::Status
                | Variable::Sent
                | Variable::Answered
                | Variable::Loss
                | Variable::GrpcStatus
                | Variable::CloseCode
                | Variable::ExitCode,
            ) => Kind::Other("a number"),
            Some(
                Variable::Body
                | Variable::Ip
                | Variable::HttpVersion
                | Variable::TlsVersion
                | Variable::Cipher
                | Variable::Rcode
                | Variable::Transport
                | Variable::Serving
                | Variable::Message
                | Variable::Output
                | Variable::Banner
                | Variable::Received
                | Variable::Software
                | Variable::Subprotocol,
            ) => Kind::Other("a string"),
            Some(Variable::Answers | Variable::Authority | Variable::Additional) => {
                Kind::Other("a list")
            }
            Some(
                Variable::Kex | Variable::HostKeyAlgorithms | Variable::Ciphers | Variable::Macs,
            ) => Kind::Other("a list"),
            Some(Variable::Flags | Variable::Captures | Variable::Exchanges | Variable::Perf) => {
                Kind::Other("a map")
            }
            Some(Variable::Latency | Variable::RttMin | Variable::RttAvg | Variable::RttMax) => {
                Kind::Other("a duration")
            }
            Some(Variable::Headers | Variable::Phases | Variable::Cert | Variable::Redirects) => {
                Kind::Other("a map")
            }
            Some(Variable::Reused) => Kind::Boolean,
            Some(Variable::Json) | None => Kind::Unknown,
        },
        Expr::Select(select) if select.test => Kind::Boolean,
        Expr::Select(select) => match &select.operand.expr {
            Expr::Ident(name) if name == "phases" || name == "exchanges" => {
                Kind::Other("a duration")
            }
            Expr::Ident(name) if name == "headers" || name == "captures" => Kind::Other("a string"),
            Expr::Ident(name) if name == "cert" || name == "redirects" => Kind::Other("no bool"),
            _ => Kind::Unknown,
        },
        Expr::Comprehension(of) => match &of.result.expr {
            Expr::Ident(name) if *name == of.accu_var => kind(&of.accu_init.expr),
            result => kind(result),
        },
        Expr::Call(call) => match (call.func_name.as_str(), call.args.as_slice()) {
            ("_?_:_", [_, yes, no]) => match (kind(&yes.expr), kind(&no.expr)) {
                (Kind::Other(what), _) | (_, Kind::Other(what)) => Kind::Other(what),
                (Kind::Boolean, Kind::Boolean) => Kind::Boolean,
                _ => Kind::Unknown,
            },
            ("_-_" | "_*_" | "_/_" | "_%_" | "-_", _) => Kind::Other("a number"),
            ("_+_", _) => Kind::Other("a sum"),
            ("size" | "int" | "uint" | "double", _) => Kind::Other("a number"),
            ("string", _) => Kind::Other("a string"),
            ("bytes", _) => Kind::Other("bytes"),
            ("duration", _) => Kind::Other("a duration"),
            ("timestamp", _) => Kind::Other("a time"),
            ("type", _) => Kind::Other("a type"),
            (name, _) if name.starts_with("get") => Kind::Other("a number"),
            (
                "_==_" | "_!=_" | "_<_" | "_<=_" | "_>_" | "_>=_" | "_&&_" | "_||_" | "!_" | "@in"
                | "contains" | "startsWith" | "endsWith" | "matches" | "bool" | "hasValue",
                _,
            ) => Kind::Boolean,
            _ => Kind::Unknown,
        },
        Expr::Unspecified => Kind::Unknown,
    }
}
