//! Typed expressions bound to slots: conditions, filters and derived features.
//!
//! Compiled from CEL by `definitions/`; evaluation looks nothing up by name
//! and does not allocate. What the values mean:
//!
//! - All numbers are `f64`. A number may be missing (NaN), a text and a truth
//!   value too (`None`).
//! - Arithmetic on something missing is missing, and so is every result that
//!   is not finite: a division by zero, a logarithm of a negative number, an
//!   overflow.
//! - Comparing something missing is unknown. `&&`, `||` and `!` are Kleene's
//!   three-valued logic: `false && unknown` is false, `true || unknown` is
//!   true. A choice on an unknown condition is missing.
//! - A value of another type than the expression reads is missing. As numbers,
//!   truth values are 0 and 1, and times are milliseconds since 1970.
//! - A condition holds only if it is known to be true ([`BoolExpr::holds`]).

use std::sync::Arc;

use jiff::tz::TimeZone;

use super::calendar::{CalendarPart, time_zone};
use super::event::Value;
use super::plan::Scope;

/// A compiled expression of a known type.
#[derive(Clone, Debug, PartialEq)]
pub enum Expression {
    Number(NumberExpr),
    Text(TextExpr),
    Bool(BoolExpr),
}

#[derive(Clone, Debug, PartialEq)]
pub enum NumberExpr {
    Literal(f64),
    /// A number slot of the vector.
    Feature(usize),
    /// A property of the current event, by index into the plan's properties.
    Property(usize),
    /// A trait of the user, by index into the plan's traits.
    Trait(usize),
    /// A score, by index into the plan's models.
    Score(usize),
    /// The as-of, in milliseconds since 1970.
    Now,
    /// When the current event happened, in milliseconds since 1970.
    EventTime,
    /// A part of an instant, which is in milliseconds since 1970.
    Calendar(CalendarPart, Box<(Self, ZoneExpr)>),
    /// 0 or 1.
    FromBool(Box<BoolExpr>),
    /// The text's length in Unicode code points.
    Size(Box<TextExpr>),
    Unary(Unary, Box<Self>),
    Binary(Binary, Box<(Self, Self)>),
    If(Box<(BoolExpr, Self, Self)>),
    /// The first if it is present, else the second.
    OrValue(Box<(Self, Self)>),
}

#[derive(Clone, Debug, PartialEq)]
pub enum TextExpr {
    Literal(Arc<str>),
    /// A text slot of the vector.
    Feature(usize),
    Property(usize),
    Trait(usize),
    If(Box<(BoolExpr, Self, Self)>),
    OrValue(Box<(Self, Self)>),
}

/// A time zone.
#[derive(Clone, Debug, PartialEq)]
pub enum ZoneExpr {
    /// Looked up when the definitions were compiled.
    Known(TimeZone),
    /// Looked up by its name; missing if no time zone has it.
    Named(TextExpr),
    If(Box<(BoolExpr, Self, Self)>),
    OrValue(Box<(Self, Self)>),
}

#[derive(Clone, Debug, PartialEq)]
pub enum BoolExpr {
    Literal(bool),
    /// A number slot of the vector that holds a truth value.
    Feature(usize),
    Property(usize),
    Trait(usize),
    HasNumber(Box<NumberExpr>),
    HasText(Box<TextExpr>),
    HasBool(Box<Self>),
    /// Whether the current event has the property, of whatever type.
    HasProperty(usize),
    /// Whether the user has the trait, of whatever type.
    HasTrait(usize),
    /// Whether the current event is of one of these types.
    EventIs(Box<[usize]>),
    Not(Box<Self>),
    And(Box<(Self, Self)>),
    Or(Box<(Self, Self)>),
    /// Both true or both false.
    Same(Box<(Self, Self)>),
    CompareNumbers(Comparison, Box<(NumberExpr, NumberExpr)>),
    /// By Unicode code points.
    CompareTexts(Comparison, Box<(TextExpr, TextExpr)>),
    NumberIn(Box<NumberExpr>, Box<[f64]>),
    TextIn(Box<TextExpr>, Box<[Arc<str>]>),
    Search(Search, Box<(TextExpr, TextExpr)>),
    If(Box<(Self, Self, Self)>),
    OrValue(Box<(Self, Self)>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unary {
    Negate,
    Abs,
    Sqrt,
    Floor,
    Ceil,
    /// Halves away from zero.
    Round,
    Ln,
    /// `ln(1 + x)`
    Log1p,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
    Least,
    Greatest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    StartsWith,
    EndsWith,
    Contains,
}

impl NumberExpr {
    /// NaN is missing; never infinite.
    pub fn eval(&self, scope: &Scope<'_>) -> f64 {
        let number = match self {
            Self::Literal(number) => *number,
            Self::Feature(slot) => scope.vector.numbers[*slot],
            Self::Property(index) => property(scope, *index).and_then(Value::as_number).unwrap_or(f64::NAN),
            Self::Trait(index) => trait_value(scope, *index).and_then(Value::as_number).unwrap_or(f64::NAN),
            Self::Score(model) => scope.scores.get(*model).copied().unwrap_or(f64::NAN),
            Self::Now => scope.now.as_millis() as f64,
            Self::EventTime => scope.event.map_or(f64::NAN, |event| event.event.time.as_millis() as f64),
            Self::Calendar(part, operands) => match operands.1.eval(scope) {
                Some(zone) => part.of(operands.0.eval(scope), &zone),
                None => f64::NAN,
            },
            Self::FromBool(bool) => bool.eval(scope).map_or(f64::NAN, |bool| f64::from(u8::from(bool))),
            Self::Size(text) => text.eval(scope).map_or(f64::NAN, |text| text.chars().count() as f64),
            Self::Unary(unary, operand) => unary.apply(operand.eval(scope)),
            Self::Binary(binary, operands) => binary.apply(operands.0.eval(scope), operands.1.eval(scope)),
            Self::If(parts) => match parts.0.eval(scope) {
                Some(true) => parts.1.eval(scope),
                Some(false) => parts.2.eval(scope),
                None => f64::NAN,
            },
            Self::OrValue(operands) => match operands.0.eval(scope) {
                missing if missing.is_nan() => operands.1.eval(scope),
                number => number,
            },
        };
        // One NaN and one zero (adding 0.0 takes the sign off): results are compared bit for bit.
        if number.is_finite() { number + 0.0 } else { f64::NAN }
    }
}

impl TextExpr {
    /// `None` is missing.
    pub fn eval<'a>(&'a self, scope: &Scope<'a>) -> Option<&'a Arc<str>> {
        match self {
            Self::Literal(text) => Some(text),
            Self::Feature(slot) => scope.vector.texts[*slot].as_ref(),
            Self::Property(index) => property(scope, *index).and_then(Value::as_text),
            Self::Trait(index) => trait_value(scope, *index).and_then(Value::as_text),
            Self::If(parts) => match parts.0.eval(scope)? {
                true => parts.1.eval(scope),
                false => parts.2.eval(scope),
            },
            Self::OrValue(operands) => operands.0.eval(scope).or_else(|| operands.1.eval(scope)),
        }
    }
}

impl ZoneExpr {
    /// `None` is missing.
    fn eval(&self, scope: &Scope<'_>) -> Option<TimeZone> {
        match self {
            Self::Known(zone) => Some(zone.clone()),
            Self::Named(name) => time_zone(name.eval(scope)?),
            Self::If(parts) => match parts.0.eval(scope)? {
                true => parts.1.eval(scope),
                false => parts.2.eval(scope),
            },
            Self::OrValue(operands) => operands.0.eval(scope).or_else(|| operands.1.eval(scope)),
        }
    }
}

impl BoolExpr {
    /// `None` is unknown: something it depends on is missing.
    pub fn eval(&self, scope: &Scope<'_>) -> Option<bool> {
        match self {
            Self::Literal(bool) => Some(*bool),
            Self::Feature(slot) => {
                let number = scope.vector.numbers[*slot];
                (!number.is_nan()).then_some(number != 0.0)
            }
            Self::Property(index) => property(scope, *index).and_then(as_bool),
            Self::Trait(index) => trait_value(scope, *index).and_then(as_bool),
            Self::HasNumber(number) => Some(!number.eval(scope).is_nan()),
            Self::HasText(text) => Some(text.eval(scope).is_some()),
            Self::HasBool(bool) => Some(bool.eval(scope).is_some()),
            Self::HasProperty(index) => Some(property(scope, *index).is_some()),
            Self::HasTrait(index) => Some(trait_value(scope, *index).is_some()),
            Self::EventIs(types) => {
                scope.event.map(|event| event.kind.is_some_and(|kind| types.contains(&kind)))
            }
            Self::Not(operand) => operand.eval(scope).map(|bool| !bool),
            Self::And(operands) => match operands.0.eval(scope) {
                Some(false) => Some(false),
                Some(true) => operands.1.eval(scope),
                None => operands.1.eval(scope).filter(|bool| !bool),
            },
            Self::Or(operands) => match operands.0.eval(scope) {
                Some(true) => Some(true),
                Some(false) => operands.1.eval(scope),
                None => operands.1.eval(scope).filter(|bool| *bool),
            },
            Self::Same(operands) => Some(operands.0.eval(scope)? == operands.1.eval(scope)?),
            Self::CompareNumbers(comparison, operands) => {
                comparison.apply(&operands.0.eval(scope), &operands.1.eval(scope))
            }
            Self::CompareTexts(comparison, operands) => {
                comparison.apply(operands.0.eval(scope)?, operands.1.eval(scope)?)
            }
            Self::NumberIn(number, list) => {
                let number = number.eval(scope);
                (!number.is_nan()).then(|| list.contains(&number))
            }
            Self::TextIn(text, list) => text.eval(scope).map(|text| list.contains(text)),
            Self::Search(search, operands) => {
                Some(search.apply(operands.0.eval(scope)?, operands.1.eval(scope)?))
            }
            Self::If(parts) => match parts.0.eval(scope)? {
                true => parts.1.eval(scope),
                false => parts.2.eval(scope),
            },
            Self::OrValue(operands) => operands.0.eval(scope).or_else(|| operands.1.eval(scope)),
        }
    }

    /// Whether the condition is known to hold.
    pub fn holds(&self, scope: &Scope<'_>) -> bool {
        self.eval(scope) == Some(true)
    }
}

impl Unary {
    fn apply(self, x: f64) -> f64 {
        match self {
            Self::Negate => -x,
            Self::Abs => x.abs(),
            Self::Sqrt => x.sqrt(),
            Self::Floor => x.floor(),
            Self::Ceil => x.ceil(),
            Self::Round => x.round(),
            Self::Ln => x.ln(),
            Self::Log1p => x.ln_1p(),
        }
    }
}

impl Binary {
    fn apply(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Add => a + b,
            Self::Subtract => a - b,
            Self::Multiply => a * b,
            Self::Divide => a / b,
            // `f64::min` would prefer the present one; missing has to stay missing.
            Self::Least | Self::Greatest if a.is_nan() || b.is_nan() => f64::NAN,
            Self::Least => a.min(b),
            Self::Greatest => a.max(b),
        }
    }
}

impl Comparison {
    /// `None` if the two have no order, which for numbers means that one is missing.
    fn apply<T: PartialOrd>(self, a: &T, b: &T) -> Option<bool> {
        let order = a.partial_cmp(b)?;
        Some(match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        })
    }
}

impl Search {
    fn apply(self, text: &str, pattern: &str) -> bool {
        match self {
            Self::StartsWith => text.starts_with(pattern),
            Self::EndsWith => text.ends_with(pattern),
            Self::Contains => text.contains(pattern),
        }
    }
}

fn property<'a>(scope: &Scope<'a>, index: usize) -> Option<&'a Value> {
    scope.event.and_then(|event| event.property(index))
}

fn trait_value<'a>(scope: &Scope<'a>, index: usize) -> Option<&'a Value> {
    scope.traits.get(index).and_then(Option::as_ref)
}

fn as_bool(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(bool) => Some(*bool),
        _ => None,
    }
}
