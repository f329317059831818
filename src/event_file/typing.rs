//! The types of CSV cells.
//!
//! A CSV cell has no type, so its spelling decides, each cell for itself:
//! - `true` and `false` are booleans;
//! - whole decimal numbers without a leading zero or plus sign that fit 64
//!   bits are integers;
//! - decimal numbers with a point, or with a signed exponent as programs
//!   write it (`1e-05`), are numbers, provided that they are finite and a
//!   64-bit float keeps their digits;
//! - everything else is text: `00123`, `+5`, `1e5`, `.5`, `NaN`, numbers of
//!   too many digits, dates.
//!
//! So an identifier keeps its digits, whatever it looks like. A column that
//! must be of one type, such as product codes of which some are all digits,
//! says so behind its name, `product:text`, or is told so by a mapping. The
//! types are those of [`Type`], in lower case.

use crate::engine::event::Value;

use super::draft::{Scalar, time};
use super::{MAX_MAGNITUDE, MAX_TEXT_BYTES, MIN_PROPERTY_TIME, Problem};

/// The digits that a 64-bit float keeps in any decimal number.
const SAFE_DIGITS: usize = 15;

/// A type that a mapping gives to a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Text,
    Number,
    Integer,
    Bool,
    /// RFC 3339 or integer milliseconds since 1970.
    Time,
}

/// The value of a cell, by its spelling.
pub fn of_cell(cell: &str) -> Value {
    infer(cell).into_value()
}

/// The cell as what it is spelled like.
pub(super) fn infer(cell: &str) -> Scalar<'_> {
    match cell {
        "true" => return Scalar::Bool(true),
        "false" => return Scalar::Bool(false),
        _ => {}
    }
    let Some(shape) = Shape::of(cell) else { return Scalar::Text(cell) };
    if shape.is_whole {
        return cell.parse().map_or(Scalar::Text(cell), Scalar::Integer);
    }
    match cell.parse::<f64>() {
        Ok(number) if number.is_finite() && shape.keeps_digits(cell, number) => Scalar::Number(number),
        _ => Scalar::Text(cell),
    }
}

/// The scalar as a property of the given type, or as it is, within the limits.
pub(crate) fn property(scalar: Scalar<'_>, fixed: Option<Type>) -> Result<Value, Problem> {
    if let Scalar::Text(text) = scalar
        && text.len() > MAX_TEXT_BYTES
    {
        return Err(Problem::TooLong { bytes: text.len(), limit: MAX_TEXT_BYTES });
    }
    match value(scalar, fixed)? {
        Value::Number(number) if number.abs() > MAX_MAGNITUDE => {
            Err(Problem::TooLarge { found: scalar.to_string(), limit: MAX_MAGNITUDE })
        }
        value => Ok(value),
    }
}

/// The cell of a column as a property.
pub(crate) fn of_column(cell: &str, fixed: Option<Type>) -> Result<Value, Problem> {
    let scalar = if fixed.is_some() { Scalar::Text(cell) } else { infer(cell) };
    property(scalar, fixed)
}

fn value(scalar: Scalar<'_>, fixed: Option<Type>) -> Result<Value, Problem> {
    let Some(fixed) = fixed else { return Ok(scalar.into_value()) };
    let wrong = |expected| Problem::WrongType { found: scalar.to_string(), expected };
    match fixed {
        Type::Text => Ok(Value::Text(scalar.to_string().into())),
        Type::Time => time(scalar, MIN_PROPERTY_TIME).map(Value::Time),
        Type::Bool => match scalar {
            Scalar::Bool(bool) => Ok(Value::Bool(bool)),
            Scalar::Text("true" | "True" | "TRUE" | "1") | Scalar::Integer(1) => Ok(Value::Bool(true)),
            Scalar::Text("false" | "False" | "FALSE" | "0") | Scalar::Integer(0) => Ok(Value::Bool(false)),
            _ => Err(wrong("a boolean")),
        },
        Type::Integer => match scalar {
            Scalar::Integer(integer) => Ok(Value::Integer(integer)),
            Scalar::Text(text) => text.trim().parse().map(Value::Integer).map_err(|_| wrong("an integer")),
            _ => Err(wrong("an integer")),
        },
        Type::Number => {
            let number = match scalar {
                Scalar::Number(number) => Some(number),
                Scalar::Integer(integer) => Some(integer as f64),
                Scalar::Unsigned(integer) => Some(integer as f64),
                Scalar::Text(text) => text.trim().parse().ok(),
                Scalar::Bool(_) => None,
            };
            number
                .filter(|number| number.is_finite())
                .map(Value::Number)
                .ok_or_else(|| wrong("a finite number"))
        }
    }
}

/// What a cell spelled as a decimal number looks like.
struct Shape {
    is_whole: bool,
    has_exponent: bool,
    n_significant: usize,
}

impl Shape {
    /// `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-] [0-9]+)?`
    fn of(cell: &str) -> Option<Self> {
        let unsigned = cell.strip_prefix('-').unwrap_or(cell);
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, Some(exponent)),
            None => (unsigned, None),
        };
        if let Some(exponent) = exponent {
            digits(exponent.strip_prefix(['+', '-'])?)?;
        }
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((whole, fraction)) => (whole, Some(digits(fraction)?)),
            None => (mantissa, None),
        };
        digits(whole)?;
        if whole.len() > 1 && whole.starts_with('0') {
            return None;
        }
        let n_digits = mantissa.bytes().filter(u8::is_ascii_digit);
        let n_significant = n_digits.skip_while(|digit| *digit == b'0').count();
        Some(Self {
            is_whole: fraction.is_none() && exponent.is_none() && cell != "-0",
            has_exponent: exponent.is_some(),
            n_significant,
        })
    }

    fn keeps_digits(&self, cell: &str, number: f64) -> bool {
        self.n_significant <= SAFE_DIGITS
            || if self.has_exponent {
                // Written by a program from a float: 17 digits name one float.
                self.n_significant <= 17
            } else {
                // Digits but for the zeros at the end of a fraction.
                number.to_string() == cell.trim_end_matches('0').trim_end_matches('.')
            }
    }
}

fn digits(text: &str) -> Option<&str> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn cells_are_what_they_are_spelled_like() {
        for (cell, expected) in [
            ("0", Scalar::Integer(0)),
            ("-12", Scalar::Integer(-12)),
            ("9223372036854775807", Scalar::Integer(i64::MAX)),
            ("9223372036854775808", Scalar::Text("9223372036854775808")),
            ("2.50", Scalar::Number(2.5)),
            ("-0.5", Scalar::Number(-0.5)),
            ("-0", Scalar::Number(-0.0)),
            ("0.30000000000000004", Scalar::Number(0.300_000_000_000_000_04)),
            ("0.300000000000000041", Scalar::Text("0.300000000000000041")),
            ("1e-05", Scalar::Number(1e-5)),
            ("1.5E+20", Scalar::Number(1.5e20)),
            ("1e+999", Scalar::Text("1e+999")),
            ("true", Scalar::Bool(true)),
            ("false", Scalar::Bool(false)),
        ] {
            assert_eq!(infer(cell), expected, "{cell}");
        }
    }

    #[test]
    fn what_may_be_an_identifier_is_text() {
        for cell in [
            "00123", "1e5", "1E5", "+5", ".5", "5.", "1_000", "1,000", "0x1f", "NaN", "inf", "-", "", " 1",
            "1 ", "True", "1.2.3", "e-5", "1e-", "--1", "٣",
        ] {
            assert_eq!(infer(cell), Scalar::Text(cell), "{cell:?}");
        }
    }

    #[test]
    fn a_mapping_fixes_the_type() {
        let text = |cell| value(infer(cell), Some(Type::Text));
        assert_eq!(text("12"), Ok(Value::Text("12".into())));
        assert_eq!(value(infer("1e5"), Some(Type::Number)), Ok(Value::Number(1e5)));
        assert_eq!(value(infer("007"), Some(Type::Integer)), Ok(Value::Integer(7)));
        assert_eq!(value(infer("True"), Some(Type::Bool)), Ok(Value::Bool(true)));
        assert!(value(infer("NaN"), Some(Type::Number)).is_err());
        assert!(value(infer("yes"), Some(Type::Bool)).is_err());
        assert!(value(infer("1.5"), Some(Type::Integer)).is_err());
        assert!(value(infer("soon"), Some(Type::Time)).is_err());
    }

    proptest! {
        #[test]
        fn printed_numbers_come_back(number in proptest::num::f64::NORMAL, integer: i64) {
            let printed = format!("{number:?}");
            if printed.contains('e') && !printed.contains("e-") {
                prop_assert_eq!(infer(&printed), Scalar::Text(&printed));
            } else {
                prop_assert_eq!(infer(&printed), Scalar::Number(number));
            }
            let printed = integer.to_string();
            prop_assert_eq!(infer(&printed), Scalar::Integer(integer));
        }

        #[test]
        fn a_number_never_loses_a_digit(cell in "-?[0-9]{1,20}(\\.[0-9]{1,20})?") {
            match infer(&cell) {
                Scalar::Integer(integer) => prop_assert_eq!(integer.to_string(), cell),
                // The shortest digits that name the float.
                Scalar::Number(number) => {
                    let trimmed = cell.trim_end_matches('0').trim_end_matches('.');
                    prop_assert_eq!(number.to_string(), if cell == "-0" { &cell } else { trimmed });
                }
                other => prop_assert_eq!(other, Scalar::Text(&cell)),
            }
        }
    }
}
