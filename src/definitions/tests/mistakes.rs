//! Mistakes, with their places, their paths and what was probably meant.

use expect_test::{Expect, expect};

use super::*;

/// One line a mistake: `line:column path: message (suggestion)`.
fn check(source: &str, expected: Expect) {
    let mistakes = compile(source).expect_err("the definitions are right");
    let lines: Vec<String> = mistakes
        .iter()
        .map(|m| {
            let suggestion = m.suggestion.as_ref().map(|name| format!(" ({name}?)")).unwrap_or_default();
            format!("{}:{} {}: {}{suggestion}\n", m.line, m.column, m.path, m.message)
        })
        .collect();
    expected.assert_eq(&lines.concat());
}

#[test]
fn sections_and_keys() {
    check(
        r#"[feature.x]
aggregate = "count"
[features.x]
agregate = "count"
of = "a"
window = "1d"
[features]
y = 3
"#,
        expect![[r#"
            1:2 feature: unknown section `feature`: expected one of `caps`, `features`, `labels`, `lookups`, `models`, `series`, `time`, `triggers` (features?)
            3:11 features.x: `aggregate` or `expression` is missing, such as aggregate = "count"
            4:1 features.x.agregate: unknown key `agregate`: expected one of `aggregate`, `expression`, `half_life`, `of`, `type`, `where`, `window` (aggregate?)
            8:5 features.y: expected a table [features.name], found an integer
        "#]],
    );
}

#[test]
fn names() {
    check(
        r#"[features.Views]
aggregate = "count"
of = "a"
window = "1d"
[features.event]
aggregate = "count"
of = "a"
window = "1d"
[features.a_name_that_is_longer_than_the_sixty_four_bytes_that_a_name_can_have]
aggregate = "count"
of = "a"
window = "1d"
"#,
        expect![[r#"
            1:11 features.Views: feature: "Views" is not a name: a lower-case letter, then lower-case letters, digits and `_`
            5:11 features.event: feature: `event` is a reserved word
            9:11 features.a_name_that_is_longer_than_the_sixty_four_bytes_that_a_name_can_have: feature: a name has at most 64 bytes, this one has 68
        "#]],
    );
}

#[test]
fn aggregates() {
    check(
        r#"[features.a]
[features.b]
aggregate = "median"
of = "a"
window = "1d"
[features.c]
aggregate = "sum"
of = "a"
window = "sesion"
[features.d]
aggregate = "count"
of = "a"
type = "text"
[features.e]
aggregate = "last"
of = "a.b"
type = "txt"
window = "0s"
[features.f]
aggregate = "count"
of = ""
window = "20000d"
[features.g]
aggregate = "count"
of = { evnt = "x" }
window = 30
[features.h]
aggregate = "count"
expression = "1"
window = "1d"
"#,
        expect![[r#"
            1:11 features.a: `aggregate` or `expression` is missing, such as aggregate = "count"
            1:11 features.a: `of` is missing, such as of = "purchase" or "purchase.value"
            3:13 features.b.aggregate: unknown aggregate `median`: expected one of `count`, `decayed`, `distinct`, `duration`, `first`, `last`, `max`, `mean`, `mean_gap`, `min`, `most_frequent`, `rate`, `sessions`, `std`, `sum`, `time_since_first`, `time_since_last`, `trend` (mean?)
            6:11 features.c: `sum` is taken of a property: of = "a.property"
            9:10 features.c.window: "sesion" is neither a duration such as "30m" nor one of `lifetime`, `previous_session`, `session` (session?)
            10:11 features.d: `window` is missing, such as window = "30d", "session" or "lifetime"
            13:8 features.d.type: `type` goes with `first`, `last` and `most_frequent` only
            17:8 features.e.type: unknown type `txt`: expected `number` or `text` (text?)
            18:10 features.e.window: a window is at least 1s and at most 3653d, not 0ms
            21:6 features.f.of: an event type is empty
            22:10 features.f.window: a window is at least 1s and at most 3653d, not 20000d
            25:1 features.g.of: `event` is missing, such as event = "purchase"
            25:8 features.g.of.evnt: unknown key `evnt`: expected one of `event`, `property` (event?)
            26:10 features.g.window: expected a string, found an integer
            28:1 features.h.aggregate: `aggregate` does not go with `expression`
            30:1 features.h.window: `window` does not go with `expression`
        "#]],
    );
}

#[test]
fn expressions() {
    check(
        r#"[features.views]
aggregate = "count"
of = "a"
window = "1d"
[features.a]
expression = "veiws + 1"
[features.b]
expression = "a + event.price"
[features.c]
expression = "scores.m > 1 || traits.x"
[features.d]
expression = "views == 'x'"
[features.e]
expression = "views && true"
[features.f]
expression = "views +"
[features.g]
expression = "max(views, 1) % 2"
[features.h]
expression = "(views > 1) + 1"
[features.i]
expression = "(views > 1) < true"
[features.j]
expression = "'a' + 'b' == 'ab'"
[features.k]
expression = "traits.a == traits.b"
[features.l]
expression = "traits.a"
[features.m]
expression = "views in [1, 'a'] || views in [] || views in views"
[features.n]
expression = "math.abs(1, 2) + views.startWith('a')"
[features.o]
expression = ""
[features.p]
expression = "trait.x > 1"
[features.q]
expression = "traits > 1"
"#,
        expect![[r#"
            6:15 features.a.expression: unknown feature `veiws` (views?)
            8:19 features.b.expression: a feature does not read the current event, only features, traits and `now`
            10:15 features.c.expression: a feature does not read scores: they are computed from features
            12:24 features.d.expression: expected a number, found a text
            14:15 features.e.expression: expected a condition, found a number
            16:22 features.f.expression: syntax error: unexpected end
            18:15 features.g.expression: `%` is not available: all numbers are floating-point
            20:16 features.h.expression: expected a number, found a condition: double(…) makes 1 or 0 of it
            22:16 features.i.expression: truth values have no order: compare them by `==` or `!=`
            24:15 features.j.expression: texts cannot be joined: `+` adds numbers
            24:28 features.j.expression: expected a number, found a text
            26:15 features.k.expression: the type of `traits.a` is not known: say double(traits.a), string(traits.a) or bool(traits.a)
            28:15 features.l.expression: the type of `traits.a` is not known: say double(traits.a), string(traits.a) or bool(traits.a)
            30:28 features.m.expression: expected a number, found a text
            30:45 features.m.expression: the list is empty: nothing is in it
            30:60 features.m.expression: `in` takes a list of literals, such as ["a", "b"]
            32:15 features.n.expression: `math.abs` is written math.abs(x)
            32:32 features.n.expression: unknown function `startWith` (text.startsWith(part)?)
            34:15 features.o.expression: the expression is empty
            36:15 features.p.expression: `trait` has no members; only event, traits and scores have (traits?)
            38:15 features.q.expression: `traits` is followed by `.` and a name
        "#]],
    );
}

#[test]
fn cycles() {
    check(
        r#"[features.a]
expression = "b + 1"
[features.b]
expression = "c + 1"
[features.c]
expression = "a + b"
[features.reads_a_cycle]
expression = "a"
[features.own]
expression = "own"
"#,
        expect![[r#"
            2:14 features.a.expression: features read each other in a cycle: a -> b -> c -> a
            10:14 features.own.expression: features read each other in a cycle: own -> own
        "#]],
    );
}

#[test]
fn filters() {
    check(
        r#"[features.views]
aggregate = "count"
of = "a"
window = "1d"
where = 'views > 3 && traits.x == 1 && scores.m > 1 && price'
[features.x]
aggregate = "count"
of = "a"
window = "1d"
where = "price"
[features.y]
aggregate = "count"
of = "a"
window = "1d"
where = 'event.type > "a" || event.type == x || price == cost'
[features.z]
aggregate = "count"
of = "a"
window = "1d"
where = true
"#,
        expect![[r#"
            5:10 features.views.where: `views` is a feature, and a filter sees the event alone: write event.views for a property of that name
            5:23 features.views.where: a filter sees the event alone, not traits
            5:40 features.views.where: a filter sees the event alone, not scores
            15:10 features.y.where: `event.type` can only be compared with a literal, by `==`, `!=` or `in`
            15:30 features.y.where: `event.type` can only be compared with a literal, by `==`, `!=` or `in`
            15:49 features.y.where: the type of `price` is not known: say double(price), string(price) or bool(price)
            20:9 features.z.where: expected a string, found a boolean
        "#]],
    );
}

#[test]
fn local_time() {
    check(
        r#"[features.country]
aggregate = "last"
of = "a.country"
type = "text"
[features.a]
expression = "now.getHours('Europe/Berlni')"
[features.b]
expression = "now.getHours(traits.time_zone.orValue('Nowhere'))"
[features.c]
expression = "now.getHours(country == 'US' ? 'America/New_Yrok' : '')"
[features.d]
expression = "now.getHours(1) + now.getHours('UTC', 'UTC') + getHours(now)"
[features.e]
expression = "now.getHour() + now.getDay() + now.hour()"
[features.f]
expression = "country.getHours() + event.time.getHours()"
[features.g]
expression = "now && now == 'x'"
[features.now]
expression = "1"
[features.h]
aggregate = "count"
of = "a"
window = "1d"
where = "now.getHours() > 9 || event.time.getHours(traits.time_zone) > 9"
"#,
        expect![[r#"
            6:28 features.a.expression: unknown time zone `Europe/Berlni`: expected a name such as Europe/Berlin, or UTC (Europe/Berlin?)
            8:53 features.b.expression: unknown time zone `Nowhere`: expected a name such as Europe/Berlin, or UTC
            10:46 features.c.expression: unknown time zone `America/New_Yrok`: expected a name such as Europe/Berlin, or UTC (America/New_York?)
            10:67 features.c.expression: unknown time zone ``: expected a name such as Europe/Berlin, or UTC
            12:28 features.d.expression: expected a text, found a number
            12:33 features.d.expression: `getHours` is written now.getHours(time_zone)
            12:62 features.d.expression: `getHours` is written now.getHours(time_zone)
            14:15 features.e.expression: unknown function `getHour` (now.getHours(time_zone)?)
            14:31 features.e.expression: unknown function `getDay` (now.getDayOfWeek(time_zone)?)
            14:46 features.e.expression: unknown function `hour` (now.getHours(time_zone)?)
            16:15 features.f.expression: expected a number, found a text
            16:36 features.f.expression: a feature does not read the current event, only features, traits and `now`
            18:15 features.g.expression: expected a condition, found a number
            18:29 features.g.expression: expected a number, found a text
            19:11 features.now: feature: `now` is a reserved word
            25:10 features.h.where: a filter sees the event alone, not `now`: event.time is when the event happened
            25:52 features.h.where: a filter sees the event alone, not traits
        "#]],
    );
}

#[test]
fn labels_and_models() {
    check(
        r#"[features.views]
aggregate = "count"
of = "a"
window = "1d"
[features.text]
aggregate = "last"
of = "a.b"
type = "text"
[labels.a]
event = "purchase"
[labels.b]
event = "purchase"
within = "24h"
for = "24h"
[labels.c]
event = "x"
no_event = "y"
[labels.d]
within = "1d"
[labels.e]
no_event = "*"
for = "forever"
[models.a]
label = "purchase"
features = ["vews", "text", "views", "views"]
[models.b]
score_on = []
rescore_every = "1s"
[models.c]
label = "a"
score_on = "purchase"
features = ["*", "views"]
[models.views]
label = "a"
score_on = ["x", "x", ""]
"#,
        expect![[r#"
            9:9 labels.a: `within` is missing, such as within = "24h"
            14:1 labels.b.for: `for` does not go with `event`: say `within`
            15:9 labels.c: a label says either `event` and `within`, or `no_event` and `for`
            18:9 labels.d: `event` or `no_event` is missing, such as event = "purchase", within = "24h"
            22:7 labels.e.for: "forever" is not a duration: a whole number and one of ms, s, m, h, d, w, such as "30m" or "7d"
            24:9 models.a.label: unknown label `purchase`
            25:13 models.a.features: unknown feature `vews` (views?)
            25:21 models.a.features: `text` is a text, and models read numbers
            25:38 models.a.features: `views` is listed twice
            26:9 models.b: `label` is missing, such as label = "a"
            26:9 models.b.score_on: `score_on` is empty: leave it out, or name event types
            28:17 models.b.rescore_every: 1s is not between 1m and 3653d
            31:12 models.c.score_on: expected an array of strings, found a string
            32:18 models.c.features: `*` stands for every number feature, `views` among them
            33:9 models.views: `views` is the name of a feature too
            35:18 models.views.score_on: "x" is listed twice
            35:23 models.views.score_on: an event type is empty
        "#]],
    );
}

#[test]
fn sessions() {
    check(
        r#"[features.a]
aggregate = "sessions"
of = "page_view"
where = "price > 1"
window = "7d"
[features.b]
aggregate = "sessions"
window = "session"
[features.c]
aggregate = "sessions"
half_life = "1d"
[features.d]
aggregate = "session"
of = "*"
type = "text"
window = "1d"
[features.e]
aggregate = "sessions"
type = "number"
window = "lifetme"
[labels.l]
event = "session_end"
within = "1d"
[models.m]
label = "l"
score_on = ["page_view", "session_end", "session_end"]
[models.n]
label = "l"
score_on = ["session_end"]
[triggers.t]
score = "n"
fire_at = 0.5
where = "price > 1"
when = "event.price > 1"
[triggers.u]
after = "page_view"
where = "a > 1"
without = ["*"]
for = "5m"
"#,
        expect![[r#"
            3:1 features.a.of: `of` does not go with `sessions`, which are of events of any type
            4:1 features.a.where: `where` does not go with `sessions`, which are of events of any type
            6:11 features.b: `sessions` is over a duration or a lifetime, such as window = "30d"
            9:11 features.c: `window` is missing, such as window = "30d" or "lifetime"
            11:1 features.c.half_life: `half_life` goes with aggregate = "decayed" only
            13:13 features.d.aggregate: unknown aggregate `session`: expected one of `count`, `decayed`, `distinct`, `duration`, `first`, `last`, `max`, `mean`, `mean_gap`, `min`, `most_frequent`, `rate`, `sessions`, `std`, `sum`, `time_since_first`, `time_since_last`, `trend` (sessions?)
            19:1 features.e.type: `type` goes with `first`, `last` and `most_frequent` only
            20:10 features.e.window: "lifetme" is neither a duration such as "30m" nor one of `lifetime`, `previous_session`, `session` (lifetime?)
            26:26 models.m.score_on: `session_end` in `score_on` is the end of a session, and other definitions read events of a type called so
            26:41 models.m.score_on: "session_end" is listed twice
            33:1 triggers.t.where: `where` does not go with `score`
            34:9 triggers.t.when: there is no current event when this trigger is evaluated
            37:10 triggers.u.where: `a` is a feature, and a filter sees the event alone: write event.a for a property of that name
        "#]],
    );
}

#[test]
fn triggers() {
    check(
        r#"[features.views]
aggregate = "count"
of = "a"
window = "1d"
[labels.l]
event = "x"
within = "1d"
[models.on_events]
label = "l"
score_on = ["a"]
[models.on_time]
label = "l"
rescore_every = "1d"
[models.on_request]
label = "l"
[triggers.a]
score = "on_event"
fire_at = 0.5
[triggers.b]
score = "on_request"
fire_at = 0.5
rearm_at = 0.6
[triggers.c]
score = "on_events"
fire_at = 0.5
rearm_at = 0.4
falling = true
[triggers.d]
score = "on_events"
fire_at = 0.0
after = "x"
[triggers.e]
after = "x"
without = []
for = "1m"
fire_at = 0.5
when = "event.price > 1"
[triggers.f]
after = "x"
on_repeat = "rest"
[triggers.g]
[triggers.h]
score = "on_time"
fire_at = 1.5
when = "event.price > 1"
unless = "viws > 1 || scores.on_request > 0.5 || scores.on_tim > 1"
[triggers.i]
score = "on_events"
fire_at = 0
holdout = 1.0
variants = { Big = 1, small = 0 }
deliver = ["crm"]
enabled = "yes"
when = "false"
[triggers.j]
score = "on_events"
rearm_at = 0.5
holdout = -0.1
cooldown = "soon"
time_to_live = "0s"
unless = "prce > 1"
"#,
        expect![[r#"
            17:9 triggers.a.score: unknown model `on_event` (on_events?)
            20:9 triggers.b.score: model `on_request` is never scored: give it `score_on` or `rescore_every`
            22:12 triggers.b.rearm_at: a rising trigger re-arms below where it fires: rearm_at 0.6 is above fire_at 0.5
            26:12 triggers.c.rearm_at: a falling trigger re-arms above where it fires: rearm_at 0.4 is below fire_at 0.5
            28:11 triggers.d: a trigger says either `score` and `fire_at`, or `after`, `without` and `for`
            32:11 triggers.e.without: `without` is empty: name the events whose absence counts
            36:1 triggers.e.fire_at: `fire_at` does not go with `after`
            37:9 triggers.e.when: there is no current event when this trigger is evaluated
            38:11 triggers.f: `for` is missing, such as for = "30m"
            38:11 triggers.f: `without` is missing, such as without = ["purchase"]
            40:13 triggers.f.on_repeat: `on_repeat` is "reset" or "keep", not "rest" (reset?)
            41:11 triggers.g: `score` (a threshold is crossed) or `after` (an absence) is missing
            44:11 triggers.h.fire_at: 1.5 is not between 0 and 1
            45:9 triggers.h.when: there is no current event when this trigger is evaluated
            46:11 triggers.h.unless: unknown feature `viws` (views?)
            46:23 triggers.h.unless: model `on_request` has neither `score_on` nor `rescore_every`: there is no score to read
            46:50 triggers.h.unless: unknown model `on_tim` (on_time?)
            49:11 triggers.i.fire_at: every score is at least 0: nothing ever crosses 0
            50:11 triggers.i.holdout: a holdout of 1 leaves nobody to act on: `enabled = false` says so
            51:14 triggers.i.variants.Big: variant: "Big" is not a name: a lower-case letter, then lower-case letters, digits and `_`
            51:31 triggers.i.variants.small: 0 is not between 0.001 and 1000
            52:1 triggers.i.deliver: `deliver` names no sink: there are none to name yet, every firing goes to the gRPC subscriptions
            53:11 triggers.i.enabled: expected true or false, found a string
            54:1 triggers.i.when: `when` lets nothing pass: `enabled = false` says so
            55:11 triggers.j: `fire_at` is missing, such as fire_at = 0.75
            58:11 triggers.j.holdout: -0.1 is not between 0 and 1
            59:12 triggers.j.cooldown: "soon" is not a duration: a whole number and one of ms, s, m, h, d, w, such as "30m" or "7d"
            60:16 triggers.j.time_to_live: 0ms is not between 1s and 3653d
            61:11 triggers.j.unless: unknown feature `prce` (a property of the current event is event.prce)
        "#]],
    );
}

#[test]
fn caps_and_time() {
    check(
        r#"[caps.a]
at_most = 0
per = "1d"
[caps.b]
triggers = ["likely"]
[time]
lateness = "9999d"
skw = "1m"
skew = "2d"
"#,
        expect![[r#"
            1:7 caps.a: the cap is over no trigger
            2:11 caps.a.at_most: 0 is not between 1 and 1000
            4:7 caps.b: `at_most` is missing, such as at_most = 3
            4:7 caps.b: `per` is missing, such as per = "1d"
            5:13 caps.b.triggers: unknown trigger `likely`
            7:12 time.lateness: 9999d is not between 0ms and 366d
            8:1 time.skw: unknown key `skw`: expected one of `lateness`, `session_gap`, `skew` (skew?)
            9:8 time.skew: 2d is not between 0ms and 1d
        "#]],
    );
}

#[test]
fn syntax() {
    check(
        r#"[features.x
aggregate = "count"
of = = 3
[features.x]
"#,
        expect![[r#"
            1:12 : unclosed table, expected `]`
        "#]],
    );
    check(
        "[features.x]\naggregate = count\nof = \"a\"\nwindow = \"1d\"\n",
        expect![[r#"
            2:13 : string values must be quoted, expected literal string
        "#]],
    );
}

#[test]
fn duplicates() {
    check(
        "[labels.x]\nof = \"b\"\n[features.x]\nof = \"a\"\nwhere = \"\"\n\"of\" = \"b\"\n",
        expect![[r#"
            6:1 : duplicate key: first defined in line 4
        "#]],
    );
    check(
        "[features.x]\nof = \"a\"\n[labels.x]\nof = \"b\"\n[features . \"x\"]\nof = \"c\"\n",
        expect![[r#"
            5:13 : duplicate key: first defined in line 1
        "#]],
    );
}

#[test]
fn places_in_strings() {
    check(
        r#"[features.views]
aggregate = "count"
of = "a"
window = "1d"
[features.a]
expression = "\t\u0009 'é\"é' == nope"
[features.b]
expression = """
views > 1 &&
  nope"""
[features.c]
expression = """views > 1 \
   && nope"""
[features.d]
expression = '''é == nope'''
"#,
        expect![[r#"
            6:34 features.a.expression: unknown feature `nope`
            10:3 features.b.expression: unknown feature `nope`
            13:7 features.c.expression: unknown feature `nope`
            15:17 features.d.expression: syntax error: unexpected 'é'
        "#]],
    );
}

#[test]
fn a_mistake_is_shown_as_a_compiler_would() {
    let source = "[features.views]\naggregate = \"count\"\nof\t= \"a\"\nwindow =\t\"lifetim\"\n";
    expect![[r#"
        error: "lifetim" is neither a duration such as "30m" nor one of `lifetime`, `previous_session`, `session`
         --> 4:10 (features.views.window)
          |
        4 | window =	"lifetim"
          |         	^^^^^^^^^
          did you mean `lifetime`?
    "#]]
    .assert_eq(&compile(source).unwrap_err().to_string());
}

#[test]
fn a_heap_of_mistakes_is_cut_short() {
    let source: String = (0..1_000).map(|n| format!("[nothing{n}]\n")).collect();
    let mistakes = compile(&source).unwrap_err();
    assert_eq!(mistakes.count(), 201);
    assert!(mistakes.to_string().contains("800 more mistakes"));
}
