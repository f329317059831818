//! What is known of a user beside the events.

use crate::engine::event::Value;
use crate::engine::plan::Plan;

/// Traits by name; most users have none.
#[derive(Clone, Debug, Default)]
pub struct Traits(Option<Box<Known>>);

#[derive(Clone, Debug)]
struct Known {
    /// Every trait set, sorted by name.
    by_name: Box<[(Box<str>, Value)]>,
    /// The traits the plan names, by its index.
    bound: Box<[Option<Value>]>,
}

impl Traits {
    /// `by_name` is sorted, each name once.
    pub fn new(plan: &Plan, by_name: Vec<(Box<str>, Value)>) -> Self {
        if by_name.is_empty() {
            return Self(None);
        }
        let bind = |name: &std::sync::Arc<str>| {
            let at = by_name.binary_search_by(|(other, _)| (**other).cmp(name)).ok()?;
            Some(by_name[at].1.clone())
        };
        let bound = plan.traits.iter().map(bind).collect();
        Self(Some(Box::new(Known { by_name: by_name.into(), bound })))
    }

    /// Every trait set, sorted by name.
    pub fn by_name(&self) -> &[(Box<str>, Value)] {
        self.0.as_ref().map_or(&[], |known| &known.by_name)
    }

    /// The traits the plan names, by its index; empty if none is set.
    pub fn bound(&self) -> &[Option<Value>] {
        self.0.as_ref().map_or(&[], |known| &known.bound)
    }

    /// The traits the plan names, without those of other names.
    pub fn bound_only(&self) -> Self {
        let bound = self.0.as_ref().filter(|known| known.bound.iter().any(Option::is_some));
        Self(bound.map(|known| Box::new(Known { by_name: Box::default(), bound: known.bound.clone() })))
    }

    /// How many there would be with these set.
    pub fn n_with(&self, traits: &[(Box<str>, Value)]) -> usize {
        let set = self.by_name();
        let is_new = |name: &str| set.binary_search_by(|(other, _)| (**other).cmp(name)).is_err();
        set.len() + traits.iter().filter(|(name, _)| is_new(name)).count()
    }

    pub fn set(&mut self, plan: &Plan, traits: &[(Box<str>, Value)]) {
        let mut by_name = self.by_name().to_vec();
        for (name, value) in traits {
            match by_name.binary_search_by(|(other, _)| other.cmp(name)) {
                Ok(at) => by_name[at].1 = value.clone(),
                Err(at) => by_name.insert(at, (name.clone(), value.clone())),
            }
        }
        *self = Self::new(plan, by_name);
    }
}
