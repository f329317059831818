//! What the names in an expression stand for, by where it stands.

use std::collections::BTreeMap;

use cel::common::ast::Expr;

use crate::definitions::names;
use crate::definitions::vocabulary::{UnknownColumn, Vocabulary};
use crate::engine::vector::Slot;

/// Where an expression stands, which decides what it may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::definitions) enum Place {
    /// A `where`: properties of the event, by their bare names.
    Filter,
    /// A feature's `expression`: features, traits and the as-of.
    Feature,
    /// A trigger's condition: the same, scores and, if one is at hand, the current event.
    Condition { has_event: bool },
}

/// What a feature's name stands for.
#[derive(Clone, Copy, Debug)]
pub(in crate::definitions) enum Feature {
    Known {
        slot: Slot,
        is_bool: bool,
    },
    /// Its own definition is wrong, and reported there.
    Broken,
}

/// What a model's name stands for.
#[derive(Clone, Copy, Debug)]
pub(in crate::definitions) struct Model {
    pub(in crate::definitions) index: usize,
    /// Whether events or time make it score; one that scores on request only has nothing to read.
    pub(in crate::definitions) is_scored: bool,
}

/// The names in reach.
pub(in crate::definitions) struct Names<'a> {
    pub(in crate::definitions) features: &'a BTreeMap<String, Feature>,
    pub(in crate::definitions) models: &'a BTreeMap<String, Model>,
    pub(in crate::definitions) vocabulary: &'a mut Vocabulary,
    /// Whether to seek what an unknown name was meant to be.
    pub(in crate::definitions) suggest: bool,
}

/// What a name stands for: by index, or by slot for features.
#[derive(Clone, Copy, Debug)]
pub(super) enum Leaf {
    Number(usize),
    Text(usize),
    Bool(usize),
    Score(usize),
    Property(usize),
    Trait(usize),
    EventType,
    EventTime,
    Now,
}

/// Why a name stands for nothing.
#[derive(Debug)]
pub(super) enum Wrong {
    /// The definition it names is wrong, and reported there.
    Elsewhere,
    Here {
        message: String,
        suggestion: Option<String>,
    },
}

impl Names<'_> {
    /// What a name or a member stands for; any other expression is no name.
    pub(super) fn lookup(&mut self, expr: &Expr, place: Place) -> Result<Leaf, Wrong> {
        match expr {
            Expr::Ident(name) => self.bare(name, place),
            Expr::Select(select) => match &select.operand.expr {
                Expr::Ident(root) => self.member(root, &select.field, place),
                Expr::Select(lookup)
                    if matches!(&lookup.operand.expr, Expr::Ident(root) if root == "event")
                        && self.vocabulary.lookups.contains_key(&lookup.field) =>
                {
                    self.member("event", &format!("{}.{}", lookup.field, select.field), place)
                }
                _ => Err(wrong("only event, traits and scores have members")),
            },
            _ => Err(Wrong::Elsewhere),
        }
    }

    fn bare(&mut self, name: &str, place: Place) -> Result<Leaf, Wrong> {
        if ["event", "traits", "scores", "math"].contains(&name) {
            return Err(wrong(format!("`{name}` is followed by `.` and a name")));
        }
        if name == "now" {
            return match place {
                Place::Filter => Err(wrong(
                    "a filter sees the event alone, not `now`: event.time is when the event happened",
                )),
                Place::Feature | Place::Condition { .. } => Ok(Leaf::Now),
            };
        }
        match (self.features.get(name), place) {
            (None, Place::Filter) => self.property(name),
            (Some(_), Place::Filter) => Err(wrong(format!(
                "`{name}` is a feature, and a filter sees the event alone: \
                 write event.{name} for a property of that name"
            ))),
            (Some(Feature::Known { slot: Slot::Number(slot), is_bool: false }), _) => Ok(Leaf::Number(*slot)),
            (Some(Feature::Known { slot: Slot::Number(slot), is_bool: true }), _) => Ok(Leaf::Bool(*slot)),
            (Some(Feature::Known { slot: Slot::Text(slot), .. }), _) => Ok(Leaf::Text(*slot)),
            (Some(Feature::Broken), _) => Err(Wrong::Elsewhere),
            (None, place) => {
                let hint = match place {
                    Place::Condition { has_event: true } => {
                        format!(" (a property of the current event is event.{name})")
                    }
                    _ => String::new(),
                };
                Err(self.unknown(format!("unknown feature `{name}`{hint}"), name, self.features.keys()))
            }
        }
    }

    fn member(&mut self, root: &str, member: &str, place: Place) -> Result<Leaf, Wrong> {
        match (root, place) {
            ("event", Place::Filter | Place::Condition { has_event: true }) => match member {
                "type" => Ok(Leaf::EventType),
                "time" => Ok(Leaf::EventTime),
                property => self.property(property),
            },
            ("event", Place::Condition { has_event: false }) => {
                Err(wrong("there is no current event when this trigger is evaluated"))
            }
            ("event", Place::Feature) => {
                Err(wrong("a feature does not read the current event, only features, traits and `now`"))
            }
            ("traits" | "scores", Place::Filter) => {
                Err(wrong(format!("a filter sees the event alone, not {root}")))
            }
            ("traits", _) => Ok(Leaf::Trait(self.vocabulary.traits.intern(member))),
            ("scores", Place::Feature) => {
                Err(wrong("a feature does not read scores: they are computed from features"))
            }
            ("scores", Place::Condition { .. }) => match self.models.get(member) {
                Some(model) if model.is_scored => Ok(Leaf::Score(model.index)),
                Some(_) => Err(wrong(format!(
                    "model `{member}` has neither `score_on` nor `rescore_every`: there is no score to read"
                ))),
                None => Err(self.unknown(format!("unknown model `{member}`"), member, self.models.keys())),
            },
            (lookup, place) if self.vocabulary.lookups.contains_key(lookup) => {
                self.member("event", &format!("{lookup}.{member}"), place)
            }
            (other, _) => {
                let message = format!("`{other}` has no members; only event, traits and scores have");
                let lookups = self.vocabulary.lookups.keys().map(String::as_str);
                Err(self.unknown(message, other, ["event", "traits", "scores"].into_iter().chain(lookups)))
            }
        }
    }

    fn property(&mut self, name: &str) -> Result<Leaf, Wrong> {
        let index = self.vocabulary.property_index(name, self.suggest);
        index
            .map(Leaf::Property)
            .map_err(|UnknownColumn { message, nearest }| Wrong::Here { message, suggestion: nearest })
    }

    fn unknown<S: AsRef<str>>(
        &self,
        message: String,
        name: &str,
        known: impl IntoIterator<Item = S>,
    ) -> Wrong {
        let suggestion = if self.suggest { names::nearest(name, known) } else { None };
        Wrong::Here { message, suggestion }
    }
}

fn wrong(message: impl Into<String>) -> Wrong {
    Wrong::Here { message: message.into(), suggestion: None }
}
