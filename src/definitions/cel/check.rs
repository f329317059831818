//! Types and slots for every part of an expression.
//!
//! A feature and a score have a type. An event property and a trait do not:
//! it is inferred from what they are compared or computed with.

use std::fmt;

use cel::common::ast::{Expr, IdedExpr, LiteralValue};
use jiff::tz::TimeZone;

use super::Problem;
use super::functions::{self, Form};
use super::parse::Parsed;
use super::scope::{Leaf, Names, Place, Wrong};
use crate::definitions::names;
use crate::engine::calendar;
use crate::engine::expression::{Binary, BoolExpr, Comparison, Expression, NumberExpr, TextExpr, ZoneExpr};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::definitions) enum Type {
    Number,
    Text,
    Bool,
}

const EVENT_TYPE_USE: &str = "`event.type` can only be compared with a literal, by `==`, `!=` or `in`";

/// Compiles an expression of whatever type. `Err` without problems: it reads a broken definition.
pub(in crate::definitions) fn expression(
    parsed: &Parsed<'_>,
    place: Place,
    names: Names<'_>,
) -> Result<Expression, Vec<Problem>> {
    let mut checker = Checker { parsed, place, names, problems: Vec::new() };
    let expression = checker.any(&parsed.root);
    checker.finish(expression)
}

/// Compiles a condition.
pub(in crate::definitions) fn condition(
    parsed: &Parsed<'_>,
    place: Place,
    names: Names<'_>,
) -> Result<BoolExpr, Vec<Problem>> {
    let mut checker = Checker { parsed, place, names, problems: Vec::new() };
    let condition = checker.bool(&parsed.root);
    checker.finish(condition)
}

struct Checker<'a> {
    parsed: &'a Parsed<'a>,
    place: Place,
    names: Names<'a>,
    problems: Vec<Problem>,
}

/// Each method returns `None` once the reason stands in `problems`, or is reported elsewhere.
impl Checker<'_> {
    fn finish<T>(self, result: Option<T>) -> Result<T, Vec<Problem>> {
        match result {
            Some(result) if self.problems.is_empty() => Ok(result),
            _ => Err(self.problems),
        }
    }

    fn any(&mut self, expr: &IdedExpr) -> Option<Expression> {
        Some(match self.type_of_either(expr, expr)? {
            Type::Number => Expression::Number(self.number(expr)?),
            Type::Text => Expression::Text(self.text(expr)?),
            Type::Bool => Expression::Bool(self.bool(expr)?),
        })
    }

    fn number(&mut self, expr: &IdedExpr) -> Option<NumberExpr> {
        match &expr.expr {
            Expr::Literal(literal) => match number_literal(literal) {
                Some(number) if number.is_finite() => Some(NumberExpr::Literal(number)),
                Some(_) => self.problem(expr, "the number is out of range"),
                None => self.mismatch(expr, Type::Number),
            },
            Expr::Ident(_) | Expr::Select(_) => match self.leaf(expr)? {
                Leaf::Number(slot) => Some(NumberExpr::Feature(slot)),
                Leaf::Score(model) => Some(NumberExpr::Score(model)),
                Leaf::Property(index) => Some(NumberExpr::Property(index)),
                Leaf::Trait(index) => Some(NumberExpr::Trait(index)),
                Leaf::Now => Some(NumberExpr::Now),
                Leaf::EventTime => Some(NumberExpr::EventTime),
                Leaf::Text(_) | Leaf::Bool(_) | Leaf::EventType => self.mismatch(expr, Type::Number),
            },
            _ => match self.form(expr)? {
                Form::Arithmetic(Binary::Add, a, b) if self.type_if_any(a, b) == Some(Type::Text) => {
                    self.problem(expr, "texts cannot be joined: `+` adds numbers")
                }
                Form::Arithmetic(binary, a, b) => {
                    let (a, b) = (self.number(a), self.number(b));
                    Some(NumberExpr::Binary(binary, Box::new((a?, b?))))
                }
                Form::Unary(unary, x) => Some(NumberExpr::Unary(unary, Box::new(self.number(x)?))),
                Form::Extreme(binary, args) => {
                    let args: Vec<_> = args.iter().map(|arg| self.number(arg)).collect();
                    let args: Option<Vec<_>> = args.into_iter().collect();
                    args?.into_iter().reduce(|a, b| NumberExpr::Binary(binary, Box::new((a, b))))
                }
                Form::Calendar(part, instant, zone) => {
                    let zone = match zone {
                        Some(zone) => self.zone(zone),
                        None => Some(ZoneExpr::Known(TimeZone::UTC)),
                    };
                    let instant = self.number(instant);
                    Some(NumberExpr::Calendar(part, Box::new((instant?, zone?))))
                }
                Form::Size(text) => Some(NumberExpr::Size(Box::new(self.text(text)?))),
                Form::Convert(Type::Number, x) => match self.infer(x) {
                    Some(Type::Bool) => Some(NumberExpr::FromBool(Box::new(self.bool(x)?))),
                    _ => self.number(x),
                },
                Form::If(condition, a, b) => {
                    let parts = (self.bool(condition), self.number(a), self.number(b));
                    Some(NumberExpr::If(Box::new((parts.0?, parts.1?, parts.2?))))
                }
                Form::OrValue(a, b) => {
                    let (a, b) = (self.number(a), self.number(b));
                    Some(NumberExpr::OrValue(Box::new((a?, b?))))
                }
                _ => self.mismatch(expr, Type::Number),
            },
        }
    }

    fn text(&mut self, expr: &IdedExpr) -> Option<TextExpr> {
        match &expr.expr {
            Expr::Literal(LiteralValue::String(text)) => Some(TextExpr::Literal(text.inner().into())),
            Expr::Literal(_) => self.mismatch(expr, Type::Text),
            Expr::Ident(_) | Expr::Select(_) => match self.leaf(expr)? {
                Leaf::Text(slot) => Some(TextExpr::Feature(slot)),
                Leaf::Property(index) => Some(TextExpr::Property(index)),
                Leaf::Trait(index) => Some(TextExpr::Trait(index)),
                Leaf::EventType => self.problem(expr, EVENT_TYPE_USE),
                Leaf::Number(_) | Leaf::Bool(_) | Leaf::Score(_) | Leaf::EventTime | Leaf::Now => {
                    self.mismatch(expr, Type::Text)
                }
            },
            _ => match self.form(expr)? {
                Form::Convert(Type::Text, x) => self.text(x),
                Form::If(condition, a, b) => {
                    let parts = (self.bool(condition), self.text(a), self.text(b));
                    Some(TextExpr::If(Box::new((parts.0?, parts.1?, parts.2?))))
                }
                Form::OrValue(a, b) => {
                    let (a, b) = (self.text(a), self.text(b));
                    Some(TextExpr::OrValue(Box::new((a?, b?))))
                }
                _ => self.mismatch(expr, Type::Text),
            },
        }
    }

    /// A time zone: what of it is a literal is looked up here.
    fn zone(&mut self, expr: &IdedExpr) -> Option<ZoneExpr> {
        match &expr.expr {
            Expr::Literal(LiteralValue::String(name)) => self.known_zone(expr, name.inner()),
            Expr::Call(_) => match self.form(expr)? {
                Form::If(condition, a, b) => {
                    let parts = (self.bool(condition), self.zone(a), self.zone(b));
                    Some(ZoneExpr::If(Box::new((parts.0?, parts.1?, parts.2?))))
                }
                Form::OrValue(a, b) => {
                    let (a, b) = (self.zone(a), self.zone(b));
                    Some(ZoneExpr::OrValue(Box::new((a?, b?))))
                }
                _ => self.text(expr).map(ZoneExpr::Named),
            },
            _ => self.text(expr).map(ZoneExpr::Named),
        }
    }

    fn known_zone(&mut self, expr: &IdedExpr, name: &str) -> Option<ZoneExpr> {
        let zone = calendar::time_zone(name);
        if zone.is_none() {
            let message =
                format!("unknown time zone `{name}`: expected a name such as Europe/Berlin, or UTC");
            let suggests = self.names.suggest;
            let suggestion = if suggests { names::nearest(name, calendar::time_zone_names()) } else { None };
            self.problems.push(Problem { span: self.parsed.span(expr), message, suggestion });
        }
        zone.map(ZoneExpr::Known)
    }

    fn bool(&mut self, expr: &IdedExpr) -> Option<BoolExpr> {
        match &expr.expr {
            Expr::Literal(LiteralValue::Boolean(bool)) => Some(BoolExpr::Literal(*bool.inner())),
            Expr::Literal(_) => self.mismatch(expr, Type::Bool),
            Expr::Ident(_) | Expr::Select(_) => match self.leaf(expr)? {
                Leaf::Bool(slot) => Some(BoolExpr::Feature(slot)),
                Leaf::Property(index) => Some(BoolExpr::Property(index)),
                Leaf::Trait(index) => Some(BoolExpr::Trait(index)),
                Leaf::Number(_)
                | Leaf::Text(_)
                | Leaf::Score(_)
                | Leaf::EventType
                | Leaf::EventTime
                | Leaf::Now => self.mismatch(expr, Type::Bool),
            },
            _ => match self.form(expr)? {
                Form::And(a, b) => {
                    let (a, b) = (self.bool(a), self.bool(b));
                    Some(BoolExpr::And(Box::new((a?, b?))))
                }
                Form::Or(a, b) => {
                    let (a, b) = (self.bool(a), self.bool(b));
                    Some(BoolExpr::Or(Box::new((a?, b?))))
                }
                Form::Not(x) => Some(BoolExpr::Not(Box::new(self.bool(x)?))),
                Form::Compare(comparison, a, b) => self.compare(expr, comparison, a, b),
                Form::In(x, list) => self.is_in(x, list),
                Form::Search(search, a, b) => {
                    let (a, b) = (self.text(a), self.text(b));
                    Some(BoolExpr::Search(search, Box::new((a?, b?))))
                }
                Form::Has(x) => self.has(x),
                Form::Convert(Type::Bool, x) => self.bool(x),
                Form::If(condition, a, b) => {
                    let parts = (self.bool(condition), self.bool(a), self.bool(b));
                    Some(BoolExpr::If(Box::new((parts.0?, parts.1?, parts.2?))))
                }
                Form::OrValue(a, b) => {
                    let (a, b) = (self.bool(a), self.bool(b));
                    Some(BoolExpr::OrValue(Box::new((a?, b?))))
                }
                _ => self.mismatch(expr, Type::Bool),
            },
        }
    }

    fn compare(
        &mut self,
        whole: &IdedExpr,
        comparison: Comparison,
        a: &IdedExpr,
        b: &IdedExpr,
    ) -> Option<BoolExpr> {
        for (event_type, other) in [(a, b), (b, a)] {
            if matches!(self.lookup(event_type), Ok(Leaf::EventType)) {
                return self.compare_event_type(event_type, comparison, other);
            }
        }
        match self.type_of_either(a, b)? {
            Type::Number => {
                let (a, b) = (self.number(a), self.number(b));
                Some(BoolExpr::CompareNumbers(comparison, Box::new((a?, b?))))
            }
            Type::Text => {
                let (a, b) = (self.text(a), self.text(b));
                Some(BoolExpr::CompareTexts(comparison, Box::new((a?, b?))))
            }
            Type::Bool => {
                let (a, b) = (self.bool(a), self.bool(b));
                let same = BoolExpr::Same(Box::new((a?, b?)));
                match comparison {
                    Comparison::Equal => Some(same),
                    Comparison::NotEqual => Some(BoolExpr::Not(Box::new(same))),
                    _ => self.problem(whole, "truth values have no order: compare them by `==` or `!=`"),
                }
            }
        }
    }

    fn compare_event_type(
        &mut self,
        leaf: &IdedExpr,
        comparison: Comparison,
        other: &IdedExpr,
    ) -> Option<BoolExpr> {
        let negated = match comparison {
            Comparison::Equal => false,
            Comparison::NotEqual => true,
            _ => return self.problem(leaf, EVENT_TYPE_USE),
        };
        let Expr::Literal(LiteralValue::String(name)) = &other.expr else {
            return self.problem(leaf, EVENT_TYPE_USE);
        };
        let is = BoolExpr::EventIs([self.names.vocabulary.event_types.intern(name.inner())].into());
        Some(if negated { BoolExpr::Not(Box::new(is)) } else { is })
    }

    fn is_in(&mut self, x: &IdedExpr, list: &IdedExpr) -> Option<BoolExpr> {
        let Expr::List(elements) = &list.expr else {
            return self.problem(list, "`in` takes a list of literals, such as [\"a\", \"b\"]");
        };
        let elements = &elements.elements;
        let Some(first) = elements.first() else {
            return self.problem(list, "the list is empty: nothing is in it");
        };
        match self.infer(first) {
            Some(Type::Number) => {
                let numbers = self.literals(elements, |checker, element| match checker.number(element)? {
                    NumberExpr::Literal(number) => Some(number),
                    _ => checker.problem(element, "a list holds literals only"),
                });
                Some(BoolExpr::NumberIn(Box::new(self.number(x)?), numbers?))
            }
            Some(Type::Text) => {
                let texts = self.literals(elements, |checker, element| match checker.text(element)? {
                    TextExpr::Literal(text) => Some(text),
                    _ => checker.problem(element, "a list holds literals only"),
                })?;
                if matches!(self.lookup(x), Ok(Leaf::EventType)) {
                    let types = texts.iter().map(|name| self.names.vocabulary.event_types.intern(name));
                    return Some(BoolExpr::EventIs(types.collect()));
                }
                Some(BoolExpr::TextIn(Box::new(self.text(x)?), texts))
            }
            Some(Type::Bool) | None => self.problem(first, "a list holds numbers or texts"),
        }
    }

    fn literals<T>(
        &mut self,
        elements: &[IdedExpr],
        mut read: impl FnMut(&mut Self, &IdedExpr) -> Option<T>,
    ) -> Option<Box<[T]>> {
        let literals: Vec<Option<T>> = elements.iter().map(|element| read(self, element)).collect();
        literals.into_iter().collect()
    }

    fn has(&mut self, x: &IdedExpr) -> Option<BoolExpr> {
        match self.lookup(x) {
            Ok(Leaf::Property(index)) => return Some(BoolExpr::HasProperty(index)),
            Ok(Leaf::Trait(index)) => return Some(BoolExpr::HasTrait(index)),
            _ => {}
        }
        Some(match self.any(x)? {
            Expression::Number(number) => BoolExpr::HasNumber(Box::new(number)),
            Expression::Text(text) => BoolExpr::HasText(Box::new(text)),
            Expression::Bool(bool) => BoolExpr::HasBool(Box::new(bool)),
        })
    }

    /// The type of two operands that must agree, as far as either tells it.
    fn type_of_either(&mut self, a: &IdedExpr, b: &IdedExpr) -> Option<Type> {
        if let Some(found) = self.type_if_any(a, b) {
            return Some(found);
        }
        // Neither tells: because something in it is wrong, or because all of it is untyped.
        let operands = if std::ptr::eq(a, b) { vec![a] } else { vec![a, b] };
        if operands.iter().all(|operand| self.is_sound(operand)) {
            let name = &self.parsed.source()[self.parsed.span(a)];
            let message = format!(
                "the type of `{name}` is not known: say double({name}), string({name}) or bool({name})"
            );
            return self.problem(a, message);
        }
        None
    }

    fn type_if_any(&mut self, a: &IdedExpr, b: &IdedExpr) -> Option<Type> {
        self.infer(a).or_else(|| self.infer(b))
    }

    /// Whether an operand without a type of its own is right; reports what is not.
    fn is_sound(&mut self, expr: &IdedExpr) -> bool {
        match &expr.expr {
            Expr::Ident(_) | Expr::Select(_) => self.leaf(expr).is_some(),
            _ => match self.form(expr) {
                Some(Form::If(condition, a, b)) => {
                    let sound = (self.bool(condition).is_some(), self.is_sound(a), self.is_sound(b));
                    sound.0 && sound.1 && sound.2
                }
                Some(Form::OrValue(a, b)) => {
                    let sound = (self.is_sound(a), self.is_sound(b));
                    sound.0 && sound.1
                }
                Some(_) => true,
                None => false,
            },
        }
    }

    /// The type that an expression has whatever stands around it; reports nothing.
    fn infer(&mut self, expr: &IdedExpr) -> Option<Type> {
        match &expr.expr {
            Expr::Literal(LiteralValue::String(_)) => Some(Type::Text),
            Expr::Literal(LiteralValue::Boolean(_)) => Some(Type::Bool),
            Expr::Literal(literal) => number_literal(literal).map(|_| Type::Number),
            Expr::Ident(_) | Expr::Select(_) => match self.lookup(expr).ok()? {
                Leaf::Number(_) | Leaf::Score(_) | Leaf::EventTime | Leaf::Now => Some(Type::Number),
                Leaf::Text(_) | Leaf::EventType => Some(Type::Text),
                Leaf::Bool(_) => Some(Type::Bool),
                Leaf::Property(_) | Leaf::Trait(_) => None,
            },
            Expr::Call(call) => match functions::form(call).ok()? {
                Form::Arithmetic(..)
                | Form::Unary(..)
                | Form::Extreme(..)
                | Form::Size(_)
                | Form::Calendar(..) => Some(Type::Number),
                Form::Compare(..)
                | Form::And(..)
                | Form::Or(..)
                | Form::Not(_)
                | Form::In(..)
                | Form::Has(_)
                | Form::Search(..) => Some(Type::Bool),
                Form::Convert(to, _) => Some(to),
                Form::If(_, a, b) | Form::OrValue(a, b) => self.type_if_any(a, b),
            },
            _ => None,
        }
    }

    /// The meaning of a call; whatever is no call is refused.
    fn form<'e>(&mut self, expr: &'e IdedExpr) -> Option<Form<'e>> {
        let refused = match &expr.expr {
            Expr::Call(call) => match functions::form(call) {
                Ok(form) => return Some(form),
                Err(refusal) => {
                    let span = self.parsed.span(expr);
                    let (message, suggestion) = (refusal.message, refusal.suggestion);
                    self.problems.push(Problem { span, message, suggestion });
                    return None;
                }
            },
            Expr::List(_) => "a list stands only to the right of `in`",
            _ => "maps and messages are not available",
        };
        self.problem(expr, refused)
    }

    fn lookup(&mut self, expr: &IdedExpr) -> Result<Leaf, Wrong> {
        self.names.lookup(&expr.expr, self.place)
    }

    fn leaf(&mut self, expr: &IdedExpr) -> Option<Leaf> {
        match self.lookup(expr) {
            Ok(leaf) => Some(leaf),
            Err(Wrong::Elsewhere) => None,
            Err(Wrong::Here { message, suggestion }) => {
                self.problems.push(Problem { span: self.parsed.span(expr), message, suggestion });
                None
            }
        }
    }

    fn mismatch<T>(&mut self, expr: &IdedExpr, wanted: Type) -> Option<T> {
        let found = match self.infer(expr) {
            Some(found) => found.to_string(),
            None => "something else".to_owned(),
        };
        let hint = match (self.infer(expr), wanted) {
            (Some(Type::Bool), Type::Number) => ": double(…) makes 1 or 0 of it",
            _ => "",
        };
        self.problem(expr, format!("expected {wanted}, found {found}{hint}"))
    }

    fn problem<T>(&mut self, expr: &IdedExpr, message: impl Into<String>) -> Option<T> {
        self.problems.push(Problem::new(self.parsed.span(expr), message));
        None
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Number => "a number",
            Self::Text => "a text",
            Self::Bool => "a condition",
        })
    }
}

fn number_literal(literal: &LiteralValue) -> Option<f64> {
    match literal {
        LiteralValue::Double(double) => Some(*double.inner()),
        LiteralValue::Int(int) => Some(*int.inner() as f64),
        LiteralValue::UInt(uint) => Some(*uint.inner() as f64),
        _ => None,
    }
}
