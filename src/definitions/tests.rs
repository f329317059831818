//! Definitions as users write them: what compiles, what is refused and how.

mod expressions;
mod hostile;
mod local_time;
mod logic;
mod lookups;
mod mistakes;
mod plans;

use super::*;
use crate::engine::event::{Event, EventUid, Value};
use crate::engine::expression::Expression;
use crate::engine::plan::{FeatureKind, Scope};
use crate::engine::time::Timestamp;

fn compiled(source: &str) -> Plan {
    compile(source).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

/// An event with these properties, which have to be sorted by name.
fn event(kind: &str, properties: &[(&str, Value)]) -> Event {
    Event {
        uid: EventUid::default(),
        id: None,
        kind: kind.into(),
        time: Timestamp::default(),
        anonymous_id: None,
        properties: properties.iter().map(|(name, value)| ((*name).into(), value.clone())).collect(),
    }
}

fn expression<'p>(plan: &'p Plan, feature: &str) -> &'p Expression {
    match &plan.feature(feature).expect("a feature of the plan").kind {
        FeatureKind::Expression(expression) => expression,
        _ => panic!("{feature} is an aggregate"),
    }
}
