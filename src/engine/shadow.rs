//! The shadow of a model: another version that scores the same vectors and
//! decides by the same code, from a state of its own, and never acts.
//!
//! A user comes under the shadow as by a swap of versions: from where the user
//! stands under the serving one, and the first score fires nobody. From then on
//! the shadow's score triggers follow its own scores; all else that gates read
//! is what really happened.

use super::decision::{Decision, Outcome};
use super::event::{EventUid, UserId};
use super::input::{Input, Step};
use super::model::{Model, Models, Score, Unscored};
use super::plan::{Plan, Scope, TriggerKind, TriggerPlan};
use super::profile::{Profile, Traits};
use super::trigger;
use super::vector::Vector;

/// What is compared: the shadow of one model of the plan.
#[derive(Clone, Copy, Debug)]
pub struct Shadowing<'a> {
    pub plan: &'a Plan,
    /// Index into [`Plan::models`].
    pub model: usize,
    pub shadow: &'a Model,
}

/// One user's state under the shadow.
#[derive(Clone, Debug)]
pub struct Shadowed {
    /// Where the user stands, as [`Profile::standing`] gives it, by the shadow's decisions.
    pub(super) standing: Profile,
}

/// A decision on a score, as it was and as the shadow would have made it.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The score that was decided on.
    pub serving: f64,
    /// The shadow's, or why it gives none; then it decides nothing.
    pub shadow: Result<f64, Unscored>,
    /// By index into [`Plan::triggers`]: the triggers of the model that fired, or
    /// would have; held out counts as fired. None at the user's first score.
    pub firings: Vec<(usize, FiredBy)>,
}

/// By which version a trigger fired in a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FiredBy {
    Both,
    Serving,
    Shadow,
}

impl FiredBy {
    pub const ALL: [Self; 3] = [Self::Both, Self::Serving, Self::Shadow];

    /// The name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::Serving => "serving",
            Self::Shadow => "shadow",
        }
    }
}

/// Whether the trigger compares scores of the model, an index into [`Plan::models`].
pub fn is_on(trigger: &TriggerPlan, model: usize) -> bool {
    matches!(trigger.kind, TriggerKind::Score { model: of, .. } if of == model)
}

impl Shadowing<'_> {
    /// The score that was decided on and the shadow's, or why it gives none; none
    /// if the model was not scored.
    pub fn score(&self, decision: &Decision) -> Option<(f64, Result<Score, Unscored>)> {
        let serving = decision.score_of(self.model)?;
        Some((serving.value(), self.shadow.score(self.model, &decision.vector)))
    }
}

impl Shadowed {
    /// Begins where the user stands after a step, which is to be followed first.
    pub fn new(after: &Profile) -> Self {
        Self { standing: Profile { traits: Traits::default(), ..after.standing() } }
    }

    /// Whether the shadow has given the user a score.
    pub fn has_begun(&self, of: Shadowing<'_>) -> bool {
        self.standing.models[of.model].version == of.shadow.version
    }

    /// Decides on a step's vector what the serving version decided on it; `after`
    /// is where the user really stands. None if the step did not score the model.
    ///
    /// From the first on every step of the user with a decision is to be followed,
    /// in order, also those without a score of this model: gates count all firings.
    pub fn follow(
        &mut self,
        of: Shadowing<'_>,
        user: &UserId,
        step: &Step,
        after: &Profile,
    ) -> Option<Comparison> {
        let Shadowing { plan, model, .. } = of;
        let decision = step.decision.as_ref()?;
        let scored = of.score(decision);
        let own = scored.as_ref().and_then(|(_, score)| score.clone().ok());
        let others = decision.scores.iter().filter(|score| score.model != model).cloned();
        let scores: Vec<Score> = others.chain(own).collect();

        // Where the user stands at first has what the others decided in this step.
        let is_first = !self.has_begun(of);
        let others = if is_first { &[] } else { &*decision.outcomes };
        let outcomes = self.decide(of, user, (&step.input, decision), after, &scores, others);
        let firings = if is_first { Vec::new() } else { compare(of, &decision.outcomes, &outcomes) };
        let decided = Decision {
            as_of: decision.as_of,
            cause: decision.cause,
            vector: Vector::default(),
            scores,
            unscored: Vec::new(),
            outcomes,
        };
        super::fold_decision(plan, &mut self.standing, &decided);
        let (serving, shadow) = scored?;
        Some(Comparison { serving, shadow: shadow.map(|score| score.value()), firings })
    }

    /// What the model's triggers would do at the shadow's score, beside what the
    /// others did.
    fn decide(
        &self,
        of: Shadowing<'_>,
        user: &UserId,
        (input, decision): (&Input, &Decision),
        after: &Profile,
        scores: &[Score],
        others: &[Outcome],
    ) -> Vec<Outcome> {
        let Shadowing { plan, model, .. } = of;
        let bound = match input {
            Input::Event(event) => Some(plan.bind(event)),
            Input::Timers | Input::Traits(_) | Input::Link { .. } => None,
        };
        let mut known = self.standing.last_scores();
        scores.iter().for_each(|score| known[score.model] = score.value());
        let scope = Scope {
            event: bound.as_ref(),
            vector: &decision.vector,
            traits: after.traits.bound(),
            scores: &known,
            now: decision.as_of.time,
        };
        // Nobody reads the reasons and the ids of these firings: no model gives
        // reasons, and any occurrence will do.
        let models = Models::default();
        let context = trigger::Context { plan, models: &models, scope, fired_now: Vec::new() };
        let own = scores.iter().find(|score| score.model == model);
        trigger::decide_each(context, |index, trigger, context, outcomes| {
            if is_on(trigger, model) {
                outcomes.extend(own.and_then(|score| {
                    let (standing, occurrence) = (&self.standing, EventUid::UNMINTED);
                    trigger::decide_score(trigger, index, standing, user, score, occurrence, context)
                }));
            } else {
                outcomes.extend(others.iter().filter(|outcome| outcome.trigger == trigger.name).cloned());
            }
        })
    }
}

/// The model's triggers that fired by one of the versions.
fn compare(of: Shadowing<'_>, serving: &[Outcome], shadow: &[Outcome]) -> Vec<(usize, FiredBy)> {
    let mut firings = Vec::new();
    for (index, trigger) in of.plan.triggers.iter().enumerate().filter(|(_, t)| is_on(t, of.model)) {
        let fires = |outcome: &Outcome| outcome.trigger == trigger.name && outcome.action.is_firing();
        match (serving.iter().any(fires), shadow.iter().any(fires)) {
            (true, true) => firings.push((index, FiredBy::Both)),
            (true, false) => firings.push((index, FiredBy::Serving)),
            (false, true) => firings.push((index, FiredBy::Shadow)),
            (false, false) => {}
        }
    }
    firings
}
