//! What an expression may build, as a bound taken before it runs: an evaluation cannot be stopped,
//! and loops multiply what they collect.
//!
//! The size of each value is bounded by a sum over the loops around it: so many bytes for every
//! item, and so many times the item itself. Over a whole loop the items together are as large as
//! the list it runs over, so what a `map` collects stays linear in the body unless the expression
//! says otherwise. What all builders give together is the bound.

use cel::IdedExpr;
use cel::common::ast::{ComprehensionExpr, EntryExpr, Expr, LiteralValue};

use super::built::VALUE_BYTES;
use super::{Facts, Variable};
use crate::limits::COMPREHENSION_DEPTH_MAX;

/// Bytes of the variables that are small: numbers, durations, an address.
const SMALL_BYTES: u64 = 1_024;
/// Loops around an expression.
const LOOPS: usize = COMPREHENSION_DEPTH_MAX as usize;

/// Bytes that evaluating `expression` on these facts keeps at the most.
pub(super) fn built(expression: &IdedExpr, facts: &Facts) -> u64 {
    let mut walk = Walk { facts, loops: Vec::new(), built: 0 };
    walk.bound(expression);
    walk.built
}

/// A size that depends on the items of the loops around: `constant + sum of times[k] * item[k]`.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    constant: u64,
    times: [u64; LOOPS],
}

impl Size {
    fn of(constant: u64) -> Self {
        Self { constant, times: [0; LOOPS] }
    }

    fn plus(self, other: Self) -> Self {
        let mut sum = self;
        sum.constant = sum.constant.saturating_add(other.constant);
        for (mine, theirs) in sum.times.iter_mut().zip(other.times) {
            *mine = mine.saturating_add(theirs);
        }
        sum
    }

    fn by(self, factor: u64) -> Self {
        Self {
            constant: self.constant.saturating_mul(factor),
            times: self.times.map(|times| times.saturating_mul(factor)),
        }
    }
}

/// What is known of a value.
#[derive(Debug, Clone, Copy, Default)]
struct Bound {
    size: Size,
    /// Items of the largest list or map that it is or holds.
    items: u64,
}

impl Bound {
    fn of(bytes: u64, items: u64) -> Self {
        Self { size: Size::of(bytes), items }
    }

    /// Both together, in one list or as a sum.
    fn with(self, other: Self) -> Self {
        let items = self.items.saturating_add(other.items);
        Self { size: self.size.plus(other.size), items }
    }
}

struct Loop<'e> {
    of: &'e ComprehensionExpr,
    /// One item is not larger than all of them.
    item_max: u64,
    items: u64,
}

struct Walk<'e> {
    facts: &'e Facts,
    loops: Vec<Loop<'e>>,
    built: u64,
}

impl<'e> Walk<'e> {
    fn bound(&mut self, expression: &'e IdedExpr) -> Bound {
        match &expression.expr {
            Expr::Unspecified | Expr::Struct(_) => Bound::of(VALUE_BYTES, 0),
            Expr::Literal(LiteralValue::String(text)) => {
                Bound::of(VALUE_BYTES + text.inner().len() as u64, 0)
            }
            Expr::Literal(_) => Bound::of(VALUE_BYTES, 0),
            Expr::Ident(name) => self.name(name),
            Expr::Select(select) => {
                let operand = self.bound(&select.operand);
                if select.test { Bound::of(VALUE_BYTES, 0) } else { operand }
            }
            Expr::Call(call) => {
                let parts: Vec<Bound> = call
                    .target
                    .as_deref()
                    .into_iter()
                    .chain(&call.args)
                    .map(|e| self.bound(e))
                    .collect();
                let all = || parts.iter().fold(Bound::default(), |sum, part| sum.with(*part));
                match call.func_name.as_str() {
                    // A part of what is there.
                    "_[_]" | "_[?_]" | "_?._" => parts.first().copied().unwrap_or_default(),
                    "_?_:_" => all(),
                    "_+_" | "string" | "bytes" | "dyn" | "orValue" => self.builds(all()),
                    _ => Bound::of(VALUE_BYTES, 0),
                }
            }
            Expr::List(list) => {
                let mut whole = Bound::of(VALUE_BYTES, list.elements.len() as u64);
                for element in &list.elements {
                    whole = whole.with(self.bound(element)).with(Bound::of(VALUE_BYTES, 0));
                }
                self.builds(whole)
            }
            Expr::Map(map) => {
                let mut whole = Bound::of(VALUE_BYTES, map.entries.len() as u64);
                for entry in &map.entries {
                    let part = match &entry.expr {
                        EntryExpr::MapEntry(entry) => {
                            self.bound(&entry.key).with(self.bound(&entry.value))
                        }
                        EntryExpr::StructField(field) => self.bound(&field.value),
                    };
                    whole = whole.with(part).with(Bound::of(VALUE_BYTES, 0));
                }
                self.builds(whole)
            }
            Expr::Comprehension(of) => self.comprehension(of),
        }
    }

    fn name(&self, name: &str) -> Bound {
        for (depth, around) in self.loops.iter().enumerate().rev() {
            if name == around.of.accu_var {
                // What was collected before is counted where the loop is.
                return Bound::default();
            }
            if name == around.of.iter_var || around.of.iter_var2.as_deref() == Some(name) {
                let mut size = Size::default();
                size.times[depth] = 1;
                return Bound { size, items: around.items };
            }
        }
        let text = |text: &str| VALUE_BYTES + text.len() as u64;
        match Variable::from_word(name) {
            // What is not UTF-8 is replaced, by three bytes for one.
            Some(Variable::Body) => {
                Bound::of(VALUE_BYTES + 3 * self.facts.seen_body().len() as u64, 0)
            }
            Some(Variable::Received) => {
                let received = self.facts.talk.as_ref().map_or(0, |talk| talk.received.len());
                Bound::of(VALUE_BYTES + 3 * received as u64, 0)
            }
            Some(Variable::Captures) => {
                let captures = self.facts.talk.iter().flat_map(|talk| &talk.captures);
                let (bytes, items) = captures.fold((SMALL_BYTES, 0), |(bytes, items), of| {
                    (bytes + text(of.0) + text(of.1), items + 1)
                });
                Bound::of(bytes, items)
            }
            Some(Variable::Exchanges) => {
                let exchanges = self.facts.talk.as_ref().map_or(0, |talk| talk.exchanges.len());
                Bound::of(SMALL_BYTES * (1 + exchanges as u64), exchanges as u64)
            }
            Some(Variable::Banner) => {
                let said = self.facts.talk.as_ref().map_or("", |talk| talk.banner.as_str());
                Bound::of(SMALL_BYTES + text(said), 0)
            }
            Some(Variable::Output) => {
                let said = self.facts.plugin.as_ref().map_or("", |plugin| plugin.output.as_str());
                Bound::of(SMALL_BYTES + text(said), 0)
            }
            Some(Variable::Perf) => {
                let perf = self.facts.plugin.iter().flat_map(|plugin| plugin.perf.keys());
                let (bytes, items) = perf.fold((SMALL_BYTES, 0), |(bytes, items), label| {
                    (bytes + text(label) + VALUE_BYTES, items + 1)
                });
                Bound::of(bytes, items)
            }
            Some(Variable::Headers) => {
                let headers = &self.facts.headers;
                let bytes = headers.iter().map(|(name, value)| text(name) + text(value)).sum();
                Bound::of(bytes, headers.len() as u64)
            }
            Some(Variable::Redirects) => {
                Bound::of(SMALL_BYTES + text(&self.facts.redirects.url), 2)
            }
            Some(
                variable @ (Variable::Json
                | Variable::Cert
                | Variable::Answers
                | Variable::Authority
                | Variable::Additional
                | Variable::Kex
                | Variable::HostKeyAlgorithms
                | Variable::Ciphers
                | Variable::Macs),
            ) => {
                let built = self.facts.built(variable);
                built.map_or(Bound::default(), |built| Bound::of(built.bytes, built.largest))
            }
            _ => Bound::of(SMALL_BYTES, 6),
        }
    }

    fn comprehension(&mut self, of: &'e ComprehensionExpr) -> Bound {
        let range = self.bound(&of.iter_range);
        self.bound(&of.accu_init);
        let depth = self.loops.len();
        if depth == LOOPS {
            // Admission has refused it.
            return Bound::of(u64::MAX, u64::MAX);
        }
        self.loops.push(Loop { of, item_max: self.max(range.size), items: range.items });
        self.bound(&of.loop_cond);
        let step = self.bound(&of.loop_step);
        self.bound(&of.result);
        self.loops.pop();
        if !matches!(of.accu_init.expr, Expr::List(_) | Expr::Map(_)) {
            return Bound::of(VALUE_BYTES, 0);
        }
        let mut each = step.size;
        let own = std::mem::take(&mut each.times[depth]);
        let size = each.by(range.items).plus(range.size.by(own));
        self.builds(Bound { size, items: range.items.max(step.items) })
    }

    /// Counts a value that is made anew.
    fn builds(&mut self, bound: Bound) -> Bound {
        self.built = self.built.saturating_add(self.max(bound.size));
        bound
    }

    fn max(&self, size: Size) -> u64 {
        let items = self.loops.iter().zip(size.times);
        items.fold(size.constant, |sum, (around, times)| {
            sum.saturating_add(times.saturating_mul(around.item_max))
        })
    }
}
