//! What a node asks, and where a missing value goes.

use super::malformed;
use crate::engine::forest::{Condition, Node, Ranges, Side, Split};
use crate::model_file::Error;

/// What sends a row to the true child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    LessOrEqual,
    Less,
    GreaterOrEqual,
    Greater,
    Equal,
    NotEqual,
    Member,
}

#[derive(Clone, Copy, Debug)]
pub struct Children {
    pub of_true: u32,
    pub of_false: u32,
    pub missing_is_true: bool,
}

impl Mode {
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "BRANCH_LEQ" => Self::LessOrEqual,
            "BRANCH_LT" => Self::Less,
            "BRANCH_GTE" => Self::GreaterOrEqual,
            "BRANCH_GT" => Self::Greater,
            "BRANCH_EQ" => Self::Equal,
            "BRANCH_NEQ" => Self::NotEqual,
            _ => return None,
        })
    }

    /// As `TreeEnsemble` numbers them.
    pub fn numbered(number: f64) -> Option<Self> {
        let all = [
            Self::LessOrEqual,
            Self::Less,
            Self::GreaterOrEqual,
            Self::Greater,
            Self::Equal,
            Self::NotEqual,
            Self::Member,
        ];
        (0..all.len()).find(|&index| index as f64 == number).map(|index| all[index])
    }
}

/// The node at `index`; `members` are those of a set.
pub fn split(
    index: usize,
    input: i64,
    mode: Mode,
    threshold: f64,
    members: &[f64],
    children: Children,
) -> Result<Node, Error> {
    let Ok(input) = u32::try_from(input) else {
        return Err(malformed(format!("nodes_featureids[{index}]"), format!("the input {input}")));
    };
    if members.iter().any(|member| member.is_infinite()) {
        return Err(malformed(format!("node {index}"), "an infinite member of a set"));
    }
    // Whether the condition holds for the rows that go to the true child.
    let (condition, as_asked) = match mode {
        Mode::LessOrEqual => (Condition::LessOrEqual(threshold), true),
        Mode::Less => (Condition::Less(threshold), true),
        Mode::GreaterOrEqual => (Condition::Less(threshold), false),
        Mode::Greater => (Condition::LessOrEqual(threshold), false),
        Mode::Equal => equal(threshold),
        Mode::NotEqual => {
            let (condition, as_asked) = equal(threshold);
            (condition, !as_asked)
        }
        Mode::Member => {
            let members = members.iter().map(|&member| (member, member.next_up()));
            (Condition::OneOf(Ranges::of(members)), true)
        }
    };
    // What is no number is not equal to any.
    let missing_is_true = children.missing_is_true || mode == Mode::NotEqual;
    let (left, right) = match as_asked {
        true => (children.of_true, children.of_false),
        false => (children.of_false, children.of_true),
    };
    Ok(Node::Split(Split {
        input,
        condition,
        missing: if missing_is_true == as_asked { Side::Left } else { Side::Right },
        zero_is_missing: false,
        left,
        right,
        cover: 0.0,
    }))
}

fn equal(threshold: f64) -> (Condition, bool) {
    match threshold {
        // Nothing is next to them.
        f64::INFINITY => (Condition::Less(threshold), false),
        f64::NEG_INFINITY => (Condition::LessOrEqual(threshold), true),
        // Refused where thresholds are checked.
        _ if threshold.is_nan() => (Condition::LessOrEqual(threshold), true),
        _ => (Condition::OneOf(Ranges::exactly(threshold)), true),
    }
}
