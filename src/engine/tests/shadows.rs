//! A version beside the one that serves: what would have fired.

use super::*;
use crate::engine::expression::{BoolExpr, Comparison as Compare, NumberExpr};
use crate::engine::model::Shadow;
use crate::engine::shadow::{Comparison, FiredBy, Shadowed, Shadowing};

/// A rig with a shadow of its one model.
struct Shaded {
    rig: Rig,
    shadow: Arc<model::Model>,
    shadowed: Option<Shadowed>,
    n_followed: usize,
}

impl Shaded {
    fn new(mut rig: Rig, shadow: Arc<model::Model>) -> Self {
        rig.models.shadows = vec![Some(Shadow { model: shadow.clone(), since: at(0) })];
        Self { rig, shadow, shadowed: None, n_followed: 0 }
    }

    fn begin(&mut self) {
        self.shadowed = Some(Shadowed::new(&self.rig.profile));
        self.n_followed = self.rig.steps.len() - 1;
    }

    /// Follows the steps that there are by now.
    fn follow(&mut self) -> Vec<(Comparison, &Step)> {
        let Self { rig, shadow, shadowed, n_followed } = self;
        let Some(shadowed) = shadowed else { return Vec::new() };
        let of = Shadowing { plan: &rig.plan, model: 0, shadow };
        let steps = &rig.steps[std::mem::replace(n_followed, rig.steps.len())..];
        let follow =
            |step| shadowed.follow(of, &rig.user, step, &rig.profile).map(|compared| (compared, step));
        steps.iter().filter_map(follow).collect()
    }

    /// By whom the first trigger fired at each score, and that the first score fires nobody.
    fn fired_by(&mut self, scores: &[f64]) -> Vec<&'static str> {
        let mut fired_by = Vec::new();
        for score in scores {
            actions(&mut self.rig, &[*score]);
            if self.shadowed.is_none() {
                self.begin();
            }
            let compared = self.follow();
            assert_eq!(compared.len(), 1);
            fired_by.push(match &*compared[0].0.firings {
                [] => "-",
                [(0, by)] => by.name(),
                _ => "several",
            });
        }
        fired_by
    }
}

#[test]
fn the_first_score_fires_nobody_and_then_both_follow_their_own() {
    let mut shaded = Shaded::new(crossing(Millis::ZERO, false), echo(4, 0.2));
    // By the shadow: 0.6, 0.8, 1.0, 0.3, 1.1, 0.4, 0.6.
    assert_eq!(
        shaded.fired_by(&[0.4, 0.6, 0.8, 0.1, 0.9, 0.2, 0.4]),
        ["-", "shadow", "serving", "-", "both", "-", "-"]
    );
    // Beyond the threshold at first: as after a swap.
    let mut shaded = Shaded::new(crossing(Millis::ZERO, false), echo(4, 0.2));
    assert_eq!(shaded.fired_by(&[0.6, 0.65, 0.1, 0.6]), ["-", "-", "-", "shadow"]);
    let mut shaded = Shaded::new(crossing(Millis::ZERO, true), echo(4, -0.2));
    assert_eq!(shaded.fired_by(&[0.9, 0.4, 0.2, 0.8, 0.1]), ["-", "shadow", "serving", "-", "both"]);
}

#[test]
fn gates_go_by_what_the_shadow_would_have_done() {
    // The shadow fires first, and so is not over its cooldown of four minutes when both cross again.
    let mut shaded = Shaded::new(crossing(minutes(4), false), echo(4, 0.2));
    assert_eq!(
        shaded.fired_by(&[0.2, 0.6, 0.8, 0.1, 0.2, 0.8, 0.2, 0.2, 0.2, 0.8]),
        ["-", "shadow", "serving", "-", "-", "shadow", "-", "-", "-", "both"]
    );
    // A condition on the score reads the shadow's own.
    let mut rig = crossing(Millis::ZERO, false);
    let least = Box::new((NumberExpr::Score(0), NumberExpr::Literal(0.95)));
    rig.plan.triggers[0].when = Some(BoolExpr::CompareNumbers(Compare::GreaterOrEqual, least));
    let mut shaded = Shaded::new(rig, echo(4, 0.2));
    assert_eq!(shaded.fired_by(&[0.2, 0.8, 0.9, 0.99]), ["-", "shadow", "-", "serving"]);
    // And one on a trait what is known of the user by then.
    let mut rig = crossing(Millis::ZERO, false);
    rig.plan.traits.intern("vip");
    rig.plan.triggers[0].when = Some(BoolExpr::Trait(0));
    let mut shaded = Shaded::new(rig, echo(4, 0.2));
    assert_eq!(shaded.fired_by(&[0.2, 0.8]), ["-", "-"]);
    let rig = &mut shaded.rig;
    let (engine, vip) = (Engine { plan: &rig.plan, models: &rig.models }, ("vip".into(), Value::Bool(true)));
    let input = Input::Traits(vec![vip]);
    engine.identify(&rig.user, &mut rig.profile, input, at(90_000), &mut rig.sequence, &mut rig.steps);
    // Minutes are counted by steps.
    assert_eq!(shaded.fired_by(&[0.8]), ["both"]);
    // Of two that cross at once a cap of one lets the first fire.
    let mut rig = crossing(Millis::ZERO, false);
    let kind = TriggerKind::Score { model: 0, fire_at: 0.7, rearm_at: 0.5, falling: false };
    let second = TriggerPlan { name: text("second"), kind, ..absence(Millis::ZERO, None, OnRepeat::Reset) };
    rig.plan.triggers.push(second);
    rig.plan.caps.push(CapPlan { name: text("all"), at_most: 1, per: minutes(30), triggers: vec![0, 1] });
    rig.profile = Profile::new(&rig.plan);
    assert_eq!(Shaded::new(rig, echo(4, 0.0)).fired_by(&[0.2, 0.8]), ["-", "both"]);
    // A cap counts what other triggers really did, and what this one would have done.
    let mut rig = crossing(Millis::ZERO, false);
    rig.plan.triggers.push(absence(minutes(2), None, OnRepeat::Reset));
    rig.plan.caps.push(CapPlan { name: text("all"), at_most: 1, per: minutes(30), triggers: vec![0, 1] });
    rig.profile = Profile::new(&rig.plan);
    let mut shaded = Shaded::new(rig, echo(4, 0.2));
    assert_eq!(shaded.fired_by(&[0.2, 0.2]), ["-", "-"]);
    shaded.rig.run_due(at(0).after(minutes(4)));
    assert_eq!(shaded.rig.firings(), [(None, at(0).after(minutes(3)).as_millis())], "of the absence");
    shaded.follow();
    assert_eq!(shaded.fired_by(&[0.6, 0.9]), ["-", "-"]);
}

#[test]
fn a_shadow_without_a_score_decides_nothing() {
    let mut shadow = echo(4, 0.2);
    Arc::get_mut(&mut shadow).expect("not shared yet").outputs[0].kind = model::OutputKind::Probability;
    let mut shaded = Shaded::new(crossing(Millis::ZERO, false), shadow);
    assert_eq!(shaded.fired_by(&[0.2, 0.9, 0.2, 0.8]), ["-", "serving", "-", "both"], "1.1 is none");
    actions(&mut shaded.rig, &[0.9]);
    let compared = shaded.follow().remove(0).0;
    assert_eq!((compared.serving, compared.shadow.map_err(|none| none.value)), (0.9, Err(1.1)));
}

/// Two triggers on the model, one on another, and a cap; scored on events, ends of
/// sessions and in between.
fn rig_of_three(cooldown: Millis, falling: bool, capped: Vec<usize>) -> Rig {
    let Rig { mut plan, mut models, .. } = crossing(cooldown, falling);
    plan.models[0].score_on_session_end = true;
    plan.models[0].rescore_every = Some(minutes(70));
    plan.models.push(ModelPlan {
        name: text("other"),
        label: None,
        features: vec![0],
        score_on: vec![EventSelector::Type(0)],
        score_on_session_end: false,
        rescore_every: None,
    });
    models.serving.push(Some(echo(9, 0.1)));
    for (name, model) in [("second", 0), ("third", 1)] {
        let kind = TriggerKind::Score { model, fire_at: 0.6, rearm_at: 0.4, falling: false };
        let of = absence(Millis::ZERO, None, OnRepeat::Reset);
        plan.triggers.push(TriggerPlan { name: text(name), kind, holdout: 0.5, cooldown, ..of });
    }
    plan.caps.push(CapPlan { name: text("all"), at_most: 2, per: minutes(40), triggers: capped });
    Rig { models, ..Rig::new(plan) }
}

fn stream() -> impl Strategy<Value = Vec<(f64, i64)>> {
    prop::collection::vec((0.0..1.0_f64, prop_oneof![4 => 0..5_i64, 1 => 0..200_i64]), 2..60)
}

fn accept(rig: &mut Rig, id: usize, x: f64, now: Timestamp) {
    rig.accept(event("a", id as u32, now, Some(x)), now);
}

proptest! {
    /// One that scores the same decides the same, whenever it begins, and stands
    /// where the user really does. Having a shadow changes no step and no profile.
    #[test]
    fn a_shadow_that_scores_the_same_agrees(
        stream in stream(), begin in any::<prop::sample::Index>(), cooldown in 0..9_i64, falling: bool,
    ) {
        let begin = begin.index(stream.len());
        let mut alone = rig_of_three(minutes(cooldown), falling, vec![0, 1, 2]);
        let mut shaded = Shaded::new(rig_of_three(minutes(cooldown), falling, vec![0, 1, 2]), echo(4, 0.0));
        let (mut now, mut n_fired) = (at(0), 0);
        for (id, (x, wait)) in stream.into_iter().enumerate() {
            now = now.after(minutes(wait));
            accept(&mut alone, id, x, now);
            accept(&mut shaded.rig, id, x, now);
            if id == begin {
                shaded.begin();
            }
            for (compared, step) in shaded.follow() {
                let decision = step.decision.as_ref().expect("it was compared");
                prop_assert_eq!(compared.shadow, Ok(decision.scores[0].value()));
                prop_assert!(compared.firings.iter().all(|(_, by)| *by == FiredBy::Both));
                n_fired += compared.firings.len();
            }
        }
        let shadowed = shaded.shadowed.expect("it has begun");
        prop_assert_eq!(&shadowed.standing.triggers, &shaded.rig.profile.triggers);
        prop_assert_eq!(&shadowed.standing.firings, &shaded.rig.profile.firings);
        prop_assert!(n_fired <= shaded.rig.firings().len());
        let bytes = |rig: &Rig| {
            let mut bytes = encode_profile(&rig.plan, &rig.profile);
            rig.steps.iter().for_each(|step| encode_step(&rig.plan, &rig.user, step, &mut bytes));
            bytes
        };
        prop_assert_eq!(bytes(&alone), bytes(&shaded.rig));
    }

    /// What a shadow would have fired is what it does fire where it is swapped in.
    #[test]
    fn a_shadow_fires_what_it_would_after_a_swap(
        stream in stream(), begin in any::<prop::sample::Index>(), shift in -0.4..0.4_f64,
        cooldown in 0..9_i64, falling: bool,
    ) {
        let begin = begin.index(stream.len());
        let mut shaded = Shaded::new(rig_of_three(minutes(cooldown), falling, vec![0, 1]), echo(4, shift));
        let mut swapped = rig_of_three(minutes(cooldown), falling, vec![0, 1]);
        let mut now = at(0);
        for (id, (x, wait)) in stream.into_iter().enumerate() {
            now = now.after(minutes(wait));
            accept(&mut shaded.rig, id, x, now);
            accept(&mut swapped, id, x, now);
            if id == begin {
                shaded.begin();
                shaded.follow();
                // Decides once more on the same event, by the other version.
                swapped.models.serving[0] = Some(echo(4, shift));
                let step = swapped.steps.last().expect("one");
                let engine = Engine { plan: &swapped.plan, models: &swapped.models };
                let decision = engine.decide(&swapped.user, &swapped.profile, &step.input, step.arrival);
                fold_decision(&swapped.plan, &mut swapped.profile, &decision.expect("it is scored"));
                swapped.steps.clear();
            } else if id > begin {
                let fired = |step: &Step| {
                    let outcomes = step.decision.iter().flat_map(|decision| &decision.outcomes);
                    let firing = outcomes.filter(|outcome| outcome.action.is_firing());
                    let firing = firing.filter(|outcome| &*outcome.trigger != "third");
                    firing.map(|outcome| outcome.trigger.clone()).collect::<Vec<_>>()
                };
                let expected: Vec<_> =
                    swapped.steps.drain(..).filter(|step| step.decision.is_some()).map(|step| fired(&step)).collect();
                let triggers: Vec<Arc<str>> =
                    shaded.rig.plan.triggers.iter().map(|trigger| trigger.name.clone()).collect();
                let by = |compared: &Comparison, other: FiredBy| {
                    let firings = compared.firings.iter().filter(|(_, by)| *by != other);
                    firings.map(|(trigger, _)| triggers[*trigger].clone()).collect::<Vec<_>>()
                };
                let compared = shaded.follow();
                prop_assert_eq!(compared.len(), expected.len());
                for ((compared, step), expected) in compared.iter().zip(expected) {
                    prop_assert_eq!(by(compared, FiredBy::Serving), expected);
                    prop_assert_eq!(by(compared, FiredBy::Shadow), fired(step));
                }
            }
        }
    }
}
