//! What right definitions compile to.

use std::path::Path;

use super::*;
use crate::engine::plan::{Aggregate, EventSelector, OnRepeat, SessionPlan, TriggerKind, Window};
use crate::engine::time::Millis;
use crate::engine::vector::Slot;

fn example(name: &str) -> Plan {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
    load(&path).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

fn days(n: i64) -> Millis {
    Millis::new(n * Millis::DAY.as_millis())
}

#[test]
fn the_examples_compile() {
    for (name, n_models, n_triggers) in [("shop.toml", 2, 4), ("online-retail.toml", 2, 3)] {
        let plan = example(name);
        assert!(plan.features.len() >= 25, "{name} has {} features", plan.features.len());
        assert_eq!((plan.models.len(), plan.triggers.len()), (n_models, n_triggers), "{name}");
    }
}

#[test]
fn the_reference_compiles() {
    let reference = include_str!("../../../docs/definitions.md");
    let blocks = reference.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let folder = tempfile::tempdir().expect("a folder");
    let products = "sku,category,price,eco_friendly\n";
    std::fs::write(folder.path().join("products.csv"), products).expect("written");
    std::fs::write(folder.path().join("a.toml"), blocks.collect::<String>()).expect("written");
    let plan = load(folder.path()).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert_eq!(plan.lookups.len(), 1);
    assert_eq!((plan.features.len(), plan.models.len(), plan.triggers.len()), (13, 2, 3));
}

#[test]
fn windows_over_the_same_entries_share_a_series() {
    let plan = compiled(
        r#"
        [features.spent_7d]
        aggregate = "sum"
        of = "purchase.value"
        where = 'category == "shoes"'
        window = "7d"
        [features.max_30d]
        aggregate = "max"
        of = { event = "purchase", property = "value" }
        where = '''(category=="shoes")'''
        window = "30d"
        [features.distinct]
        aggregate = "distinct"
        of = "purchase.value"
        window = "lifetime"
        [features.last]
        aggregate = "last"
        of = "purchase.value"
        [features.purchases]
        aggregate = "count"
        of = "purchase"
        window = "1h"
        "#,
    );
    assert_eq!(plan.series.len(), 2);
    let series = |feature: &str| match plan.feature(feature).unwrap().kind {
        FeatureKind::Aggregate { series, .. } => &plan.series[series],
        _ => unreachable!("{feature} is an aggregate"),
    };
    let shared = series("spent_7d");
    assert_eq!(shared.digest, series("max_30d").digest);
    assert_eq!((shared.longest_window, shared.lifetimes.len()), (days(30), 0));
    assert_eq!((shared.columns.len(), shared.columns[0].squares, shared.is_ordered), (1, false, false));
    // The property is read as a key and as a number.
    let unfiltered = series("distinct");
    assert_eq!(unfiltered.digest, series("last").digest);
    assert_eq!(unfiltered.digest, series("purchases").digest, "a series has all that is read of its events");
    assert_eq!((unfiltered.longest_window, unfiltered.lifetimes.len()), (Millis::HOUR, 2));
    assert_eq!((unfiltered.columns.len(), unfiltered.of_events, unfiltered.is_ordered), (2, true, true));
}

#[test]
fn expressions_come_after_what_they_read() {
    let plan = compiled(
        r#"
        [features.a]
        expression = "b + 1"
        [features.b]
        expression = "c > 2 ? c : z"
        [features.c]
        expression = "z * 2"
        [features.big]
        expression = "a > 10"
        [features.z]
        aggregate = "count"
        of = "*"
        window = "1d"
        "#,
    );
    let order: Vec<&str> = plan.features.iter().map(|feature| &*feature.name).collect();
    assert_eq!(order, ["z", "c", "b", "a", "big"]);
    assert_eq!((plan.n_numbers, plan.n_texts), (5, 0));
    assert!(plan.feature("big").unwrap().is_bool);
}

#[test]
fn everything_a_file_says_is_in_the_plan() {
    let plan = compiled(
        r#"
        [time]
        lateness = "2d"
        [features.views]
        aggregate = "count"
        of = "page_view"
        window = "30m"
        [features.country]
        aggregate = "last"
        of = "page_view.country"
        type = "text"
        [labels.buys]
        event = "purchase"
        within = "24h"
        where = "value > 10"
        [labels.leaves]
        no_event = "*"
        for = "30d"
        [models.buys_soon]
        label = "buys"
        score_on = ["page_view"]
        [models.leaves_soon]
        label = "leaves"
        features = ["views"]
        rescore_every = "6h"
        [triggers.cart]
        after = "add_to_cart"
        without = ["checkout", "purchase"]
        for = "30m"
        key = "cart_id"
        on_repeat = "keep"
        unless = "scores.buys_soon > 0.9 || country == 'XX'"
        [triggers.likely]
        score = "buys_soon"
        fire_at = 0.75
        rearm_at = 0.6
        when = "event.price > 50 && event.type == 'page_view'"
        cooldown = "24h"
        holdout = 0.1
        variants = { b = 1, a = 2.5 }
        time_to_live = "1h"
        enabled = false
        [triggers.unlikely]
        score = "leaves_soon"
        fire_at = 0.1
        rearm_at = 0.2
        falling = true
        [caps.all]
        at_most = 3
        per = "1d"
        [caps.some]
        at_most = 1
        per = "1h"
        triggers = ["unlikely", "likely"]
        "#,
    );
    assert_eq!(plan.bounds.lateness, days(2));
    assert_eq!(plan.bounds.skew, Millis::new(300_000));
    assert_eq!(plan.feature("country").unwrap().slot, Slot::Text(0));
    let FeatureKind::Aggregate { aggregate, window, .. } = plan.feature("views").unwrap().kind else {
        unreachable!("views is an aggregate")
    };
    assert_eq!((aggregate, window), (Aggregate::Count, Window::Sliding(Millis::new(1_800_000))));

    let [buys, leaves] = plan.labels.as_slice() else { panic!("{:?}", plan.labels) };
    assert!(buys.happens && buys.filter.is_some() && buys.horizon == Millis::DAY);
    assert!(!leaves.happens && leaves.event == EventSelector::Any && leaves.horizon == days(30));

    let [buys_soon, leaves_soon] = plan.models.as_slice() else { panic!("{:?}", plan.models) };
    let views = plan.features.iter().position(|feature| &*feature.name == "views").unwrap();
    assert_eq!((buys_soon.label, buys_soon.features.as_slice()), (Some(0), [views].as_slice()));
    assert_eq!(leaves_soon.rescore_every, Some(Millis::new(6 * 3_600_000)));
    assert!(leaves_soon.score_on.is_empty());

    let [cart, likely, unlikely] = plan.triggers.as_slice() else { panic!("{:?}", plan.triggers) };
    let TriggerKind::Absence { after, filter: None, without, wait, key, on_repeat } = &cart.kind else {
        panic!("{cart:?}")
    };
    let named = |name: &str| EventSelector::Type(plan.event_types.index_of(name).unwrap());
    assert_eq!(
        (*after, without.as_slice()),
        (named("add_to_cart"), &[named("checkout"), named("purchase")][..])
    );
    assert_eq!((*wait, *on_repeat), (Millis::new(1_800_000), OnRepeat::Keep));
    assert_eq!(*key, plan.properties.index_of("cart_id"));
    assert_eq!((cart.cooldown, cart.holdout, cart.time_to_live), (Millis::ZERO, 0.0, Millis::DAY));
    let variants: Vec<(&str, f64)> =
        likely.variants.iter().map(|(name, weight)| (&**name, *weight)).collect();
    assert_eq!(variants, [("a", 2.5), ("b", 1.0)]);
    assert!(!likely.enabled && likely.holdout == 0.1 && likely.cooldown == Millis::DAY);
    let TriggerKind::Score { model, fire_at, rearm_at, falling } = unlikely.kind else {
        panic!("{unlikely:?}")
    };
    assert_eq!((model, fire_at, rearm_at, falling), (1, 0.1, 0.2, true));

    let [all, some] = plan.caps.as_slice() else { panic!("{:?}", plan.caps) };
    assert_eq!((all.at_most, all.triggers.as_slice()), (3, [0, 1, 2].as_slice()));
    assert_eq!((some.per, some.triggers.as_slice()), (Millis::HOUR, [1, 2].as_slice()));
}

#[test]
fn sessions_are_counted_and_their_ends_scored() {
    let source = r#"
        [series]
        exact_rows = 500
        [features.sessions_7d]
        aggregate = "sessions"
        window = "7d"
        [features.sessions_90d]
        aggregate = "sessions"
        window = "90d"
        [features.sessions_ever]
        aggregate = "sessions"
        window = "lifetime"
        [features.events_before]
        aggregate = "count"
        of = "*"
        window = "previous_session"
        [labels.returns]
        event = "*"
        within = "7d"
        [models.returns]
        label = "returns"
        score_on = ["purchase", "session_end"]
        [triggers.stays_away]
        score = "returns"
        fire_at = 0.1
        rearm_at = 0.2
        falling = true
        [triggers.undecided]
        after = "page_view"
        where = "product_id != ''"
        without = ["*"]
        for = "5m"
        "#;
    let plan = compiled(source);
    let windows: Vec<Option<Millis>> = ["sessions_7d", "sessions_90d", "sessions_ever"]
        .into_iter()
        .map(|name| match plan.feature(name).unwrap().kind {
            FeatureKind::Sessions { window } => window,
            _ => panic!("{name} counts sessions"),
        })
        .collect();
    assert_eq!(windows, [Some(days(7)), Some(days(90)), None]);
    assert_eq!(plan.sessions, SessionPlan { longest_window: days(90), max_kept: 500 });
    assert!(plan.models[0].score_on_session_end && plan.scores_session_ends());
    assert_eq!(plan.models[0].score_on.len(), 1);
    assert!(plan.event_types.index_of("session_end").is_none());
    let TriggerKind::Absence { filter, .. } = &plan.triggers[1].kind else {
        panic!("{:?}", plan.triggers[1])
    };
    assert!(filter.is_some());

    // What a session is counts for all that is read of sessions, and a filter for its trigger.
    let other = compiled(&format!("[time]\nsession_gap = \"10m\"\n{source}").replace("!= ''", "== 'x'"));
    for name in ["sessions_7d", "sessions_ever", "events_before"] {
        assert_ne!(plan.feature(name).unwrap().digest, other.feature(name).unwrap().digest, "{name}");
    }
    assert_eq!(plan.triggers[0].digest, other.triggers[0].digest);
    assert_ne!(plan.triggers[1].digest, other.triggers[1].digest);
}

const TWO: &str = r#"
[features.views]
aggregate = "count"
of = "page_view"
window = "24h"
[features.often]
expression = "views > 10"
"#;

#[test]
fn digests_know_meaning_from_writing() {
    let plan = compiled(TWO);
    let rewritten = compiled(
        r#"
        # The same in other words.
        [features]
        often = { expression = "( views>10.0 )" }
        [features.views]
        window    = "1d"
        of        = { event = "page_view" }
        aggregate = 'count'
        [time]
        lateness  = "24h"
        "#,
    );
    assert_eq!(plan.digest, rewritten.digest);
    assert_eq!(plan.features_digest(&[0, 1]), rewritten.features_digest(&[0, 1]));
}

#[test]
fn a_digest_covers_all_that_is_read() {
    let (plan, changed) = (compiled(TWO), compiled(&TWO.replace("24h", "25h")));
    let digests = |plan: &Plan| {
        let digest = |name: &str| plan.feature(name).unwrap().digest.clone();
        (digest("views"), digest("often"))
    };
    let (old, new) = (digests(&plan), digests(&changed));
    assert!(old.0 != new.0 && old.1 != new.1, "the expression reads the window");
    assert_eq!(plan.series[0].digest, changed.series[0].digest, "the series outlives the window");
    assert_ne!(plan.digest, changed.digest);

    let changed = compiled(&TWO.replace("> 10", "> 11"));
    let new = digests(&changed);
    assert!(old.0 == new.0 && old.1 != new.1);
    assert_ne!(plan.features_digest(&[0, 1]), plan.features_digest(&[1, 0]));
}

#[test]
fn a_folder_is_one_text_that_compiles_to_the_same_plan() {
    let folder = tempfile::tempdir().unwrap();
    let (views, often) = TWO.trim().split_once("\n[features.often]").unwrap();
    std::fs::write(folder.path().join("a.toml"), views).unwrap();
    std::fs::write(folder.path().join("b.toml"), format!("[features.often]{often}")).unwrap();
    std::fs::write(folder.path().join("notes.txt"), "not TOML").unwrap();
    let plan = load(folder.path()).unwrap();
    assert_eq!(plan.digest, compiled(TWO).digest);
    assert_eq!(compiled(&plan.source).digest, plan.digest);

    std::fs::write(folder.path().join("c.toml"), "# one line\n[features.views]\n").unwrap();
    std::fs::write(folder.path().join("d.toml"), "[features.x]\naggregate = \"cuont\"").unwrap();
    let mistakes = load(folder.path()).unwrap_err();
    let places: Vec<_> = mistakes
        .iter()
        .map(|m| (m.file.as_deref().and_then(|file| file.rsplit('/').next()), m.line, m.column))
        .collect();
    assert_eq!(places, [(Some("c.toml"), 2, 11)], "{mistakes}");
}

#[test]
fn an_empty_file_is_a_plan_that_does_nothing() {
    let plan = compiled("");
    assert!(plan.features.is_empty() && plan.triggers.is_empty());
}

#[test]
fn every_aggregate_is_over_a_duration() {
    let names = [
        "count",
        "distinct",
        "duration",
        "first",
        "last",
        "max",
        "mean",
        "mean_gap",
        "min",
        "most_frequent",
        "rate",
        "std",
        "sum",
        "time_since_first",
        "time_since_last",
        "trend",
    ];
    let define = |name: &&str| {
        format!("[features.{name}]\naggregate = \"{name}\"\nof = \"purchase.value\"\nwindow = \"7d\"\n")
    };
    let plan = compiled(&names.iter().map(define).collect::<String>());
    for name in names {
        let FeatureKind::Aggregate { aggregate, window, .. } = plan.feature(name).unwrap().kind else {
            panic!("{name} is an aggregate");
        };
        // A trend has the window before in it.
        let length = if name == "trend" { days(14) } else { days(7) };
        assert_eq!((aggregate.name(), window), (name, Window::Sliding(length)));
    }
}
