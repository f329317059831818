//! The operators and functions that expressions may use.

use cel::common::ast::{CallExpr, Expr, IdedExpr, operators as op};

use super::check::Type;
use crate::definitions::names;
use crate::engine::calendar::CalendarPart;
use crate::engine::expression::{Binary, Comparison, Search, Unary};

/// A call with its meaning and its operands.
pub(super) enum Form<'e> {
    Arithmetic(Binary, &'e IdedExpr, &'e IdedExpr),
    Unary(Unary, &'e IdedExpr),
    /// `math.least` and `math.greatest`, of two or more.
    Extreme(Binary, &'e [IdedExpr]),
    Compare(Comparison, &'e IdedExpr, &'e IdedExpr),
    And(&'e IdedExpr, &'e IdedExpr),
    Or(&'e IdedExpr, &'e IdedExpr),
    Not(&'e IdedExpr),
    If(&'e IdedExpr, &'e IdedExpr, &'e IdedExpr),
    In(&'e IdedExpr, &'e IdedExpr),
    Size(&'e IdedExpr),
    /// `instant.getHours()`, or with a time zone.
    Calendar(CalendarPart, &'e IdedExpr, Option<&'e IdedExpr>),
    Has(&'e IdedExpr),
    OrValue(&'e IdedExpr, &'e IdedExpr),
    /// `double(x)`, `string(x)`, `bool(x)`
    Convert(Type, &'e IdedExpr),
    Search(Search, &'e IdedExpr, &'e IdedExpr),
}

/// A call that has no meaning here.
pub(super) struct Refusal {
    pub(super) message: String,
    pub(super) suggestion: Option<String>,
}

/// How each function is written.
const USAGES: [(&str, &str); 25] = [
    ("bool", "bool(x)"),
    ("contains", "text.contains(part)"),
    ("double", "double(x)"),
    ("endsWith", "text.endsWith(part)"),
    ("getDate", "now.getDate(time_zone)"),
    ("getDayOfMonth", "now.getDayOfMonth(time_zone)"),
    ("getDayOfWeek", "now.getDayOfWeek(time_zone)"),
    ("getDayOfYear", "now.getDayOfYear(time_zone)"),
    ("getFullYear", "now.getFullYear(time_zone)"),
    ("getHours", "now.getHours(time_zone)"),
    ("getMinutes", "now.getMinutes(time_zone)"),
    ("getMonth", "now.getMonth(time_zone)"),
    ("has", "has(x)"),
    ("math.abs", "math.abs(x)"),
    ("math.ceil", "math.ceil(x)"),
    ("math.floor", "math.floor(x)"),
    ("math.greatest", "math.greatest(x, y)"),
    ("math.least", "math.least(x, y)"),
    ("math.ln", "math.ln(x)"),
    ("math.log1p", "math.log1p(x)"),
    ("math.round", "math.round(x)"),
    ("math.sqrt", "math.sqrt(x)"),
    ("orValue", "x.orValue(otherwise)"),
    ("size", "size(text)"),
    ("startsWith", "text.startsWith(part)"),
];

/// What people write who know another language.
const ALIASES: [(&str, &str); 17] = [
    ("abs", "math.abs"),
    ("ceil", "math.ceil"),
    ("coalesce", "orValue"),
    ("dayOfWeek", "getDayOfWeek"),
    ("floor", "math.floor"),
    ("getDay", "getDayOfWeek"),
    ("getYear", "getFullYear"),
    ("hour", "getHours"),
    ("length", "size"),
    ("ln", "math.ln"),
    ("log", "math.ln"),
    ("max", "math.greatest"),
    ("min", "math.least"),
    ("number", "double"),
    ("round", "math.round"),
    ("sqrt", "math.sqrt"),
    ("weekday", "getDayOfWeek"),
];

pub(super) fn form(call: &CallExpr) -> Result<Form<'_>, Refusal> {
    let name = call.func_name.as_str();
    match (&call.target, call.args.as_slice()) {
        (None, args) => operator(name, args).or_else(|| global(name, args)),
        (Some(target), args) if matches!(&target.expr, Expr::Ident(root) if root == "math") => {
            return math(name, args).ok_or_else(|| refusal(&format!("math.{name}")));
        }
        (Some(target), args) => method(name, target, args),
    }
    .ok_or_else(|| refusal(name))
}

fn operator<'e>(name: &str, args: &'e [IdedExpr]) -> Option<Form<'e>> {
    Some(match (name, args) {
        (op::ADD, [a, b]) => Form::Arithmetic(Binary::Add, a, b),
        (op::SUBSTRACT, [a, b]) => Form::Arithmetic(Binary::Subtract, a, b),
        (op::MULTIPLY, [a, b]) => Form::Arithmetic(Binary::Multiply, a, b),
        (op::DIVIDE, [a, b]) => Form::Arithmetic(Binary::Divide, a, b),
        (op::NEGATE, [a]) => Form::Unary(Unary::Negate, a),
        (op::EQUALS, [a, b]) => Form::Compare(Comparison::Equal, a, b),
        (op::NOT_EQUALS, [a, b]) => Form::Compare(Comparison::NotEqual, a, b),
        (op::LESS, [a, b]) => Form::Compare(Comparison::Less, a, b),
        (op::LESS_EQUALS, [a, b]) => Form::Compare(Comparison::LessOrEqual, a, b),
        (op::GREATER, [a, b]) => Form::Compare(Comparison::Greater, a, b),
        (op::GREATER_EQUALS, [a, b]) => Form::Compare(Comparison::GreaterOrEqual, a, b),
        (op::LOGICAL_AND, [a, b]) => Form::And(a, b),
        (op::LOGICAL_OR, [a, b]) => Form::Or(a, b),
        (op::LOGICAL_NOT, [a]) => Form::Not(a),
        (op::CONDITIONAL, [condition, a, b]) => Form::If(condition, a, b),
        (op::IN, [a, list]) => Form::In(a, list),
        _ => return None,
    })
}

fn global<'e>(name: &str, args: &'e [IdedExpr]) -> Option<Form<'e>> {
    let [x] = args else { return None };
    Some(match name {
        "size" => Form::Size(x),
        "has" => Form::Has(x),
        "double" => Form::Convert(Type::Number, x),
        "string" => Form::Convert(Type::Text, x),
        "bool" => Form::Convert(Type::Bool, x),
        _ => return None,
    })
}

fn method<'e>(name: &str, target: &'e IdedExpr, args: &'e [IdedExpr]) -> Option<Form<'e>> {
    Some(match (name, args) {
        ("size", []) => Form::Size(target),
        ("startsWith", [part]) => Form::Search(Search::StartsWith, target, part),
        ("endsWith", [part]) => Form::Search(Search::EndsWith, target, part),
        ("contains", [part]) => Form::Search(Search::Contains, target, part),
        ("orValue", [otherwise]) => Form::OrValue(target, otherwise),
        (_, []) => Form::Calendar(calendar_part(name)?, target, None),
        (_, [zone]) => Form::Calendar(calendar_part(name)?, target, Some(zone)),
        _ => return None,
    })
}

fn calendar_part(name: &str) -> Option<CalendarPart> {
    Some(match name {
        "getDate" => CalendarPart::Date,
        "getDayOfMonth" => CalendarPart::DayOfMonth,
        "getDayOfWeek" => CalendarPart::DayOfWeek,
        "getDayOfYear" => CalendarPart::DayOfYear,
        "getFullYear" => CalendarPart::FullYear,
        "getHours" => CalendarPart::Hours,
        "getMinutes" => CalendarPart::Minutes,
        "getMonth" => CalendarPart::Month,
        _ => return None,
    })
}

fn math<'e>(name: &str, args: &'e [IdedExpr]) -> Option<Form<'e>> {
    let unary = match (name, args) {
        ("least", [_, _, ..]) => return Some(Form::Extreme(Binary::Least, args)),
        ("greatest", [_, _, ..]) => return Some(Form::Extreme(Binary::Greatest, args)),
        ("abs", [_]) => Unary::Abs,
        ("sqrt", [_]) => Unary::Sqrt,
        ("floor", [_]) => Unary::Floor,
        ("ceil", [_]) => Unary::Ceil,
        ("round", [_]) => Unary::Round,
        ("ln", [_]) => Unary::Ln,
        ("log1p", [_]) => Unary::Log1p,
        _ => return None,
    };
    args.first().map(|x| Form::Unary(unary, x))
}

fn refusal(name: &str) -> Refusal {
    let usage = |name: &str| USAGES.iter().find(|(known, _)| *known == name).map(|(_, usage)| *usage);
    if let Some(usage) = usage(name) {
        return Refusal { message: format!("`{name}` is written {usage}"), suggestion: None };
    }
    let message = match name {
        "all" | "exists" | "exists_one" | "existsOne" | "filter" | "map" => {
            format!("`{name}` is not available: conditions do not loop over lists")
        }
        op::MODULO => "`%` is not available: all numbers are floating-point".to_owned(),
        op::INDEX | op::OPT_INDEX | op::OPT_SELECT => {
            "values have no elements; a property whose name is not a word is written event.`its name`"
                .to_owned()
        }
        _ => format!("unknown function `{name}`"),
    };
    let alias = ALIASES.iter().find(|(alias, _)| *alias == name).map(|(_, meant)| (*meant).to_owned());
    let nearest = || names::nearest(name, USAGES.map(|(known, _)| known));
    let suggestion = alias.or_else(nearest).and_then(|name| usage(&name)).map(str::to_owned);
    Refusal { message, suggestion }
}
