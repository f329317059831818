//! Typed expressions bound to slots: conditions, filters and derived features.
//!
//! Compiled from CEL by `definitions/`; evaluation looks nothing up by name
//! and does not allocate.

use std::sync::Arc;

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
}

#[derive(Clone, Debug, PartialEq)]
pub enum TextExpr {
    Literal(Arc<str>),
}

#[derive(Clone, Debug, PartialEq)]
pub enum BoolExpr {
    Literal(bool),
}

impl NumberExpr {
    /// NaN is missing.
    pub fn eval(&self, _scope: &Scope<'_>) -> f64 {
        match self {
            Self::Literal(number) => *number,
        }
    }
}

impl TextExpr {
    pub fn eval<'a>(&'a self, _scope: &Scope<'a>) -> Option<&'a Arc<str>> {
        match self {
            Self::Literal(text) => Some(text),
        }
    }
}

impl BoolExpr {
    /// `None` is unknown: something it depends on is missing.
    pub fn eval(&self, _scope: &Scope<'_>) -> Option<bool> {
        match self {
            Self::Literal(bool) => Some(*bool),
        }
    }

    /// Whether the condition is known to hold.
    pub fn holds(&self, scope: &Scope<'_>) -> bool {
        self.eval(scope) == Some(true)
    }
}
