//! Definitions and events that the engine's benchmarks share.

use std::collections::BTreeSet;
use std::fmt::Write;

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Zipf};
use tipoff::definitions;
use tipoff::engine::event::{Event, EventUid, UserId, Value};
use tipoff::engine::input::Step;
use tipoff::engine::model::Models;
use tipoff::engine::plan::Plan;
use tipoff::engine::profile::Profile;
use tipoff::engine::time::{Millis, Timestamp};
use tipoff::engine::{Acceptance, Engine, Sequence};

pub const N_EVENTS: usize = 1_000_000;
pub const N_USERS: usize = 100_000;
const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// An event of one user at its arrival.
#[derive(Clone)]
pub struct Arriving {
    pub user: usize,
    pub arrival: Timestamp,
    pub event: Event,
}

/// Count, sum and exact distinct over an hour, a day and a week, and the time
/// since the last; exact for every user, so that others can be compared.
pub fn small() -> Plan {
    let mut text = String::from("[series]\nexact_rows = 16384\n");
    for window in ["1h", "24h", "7d"] {
        for (aggregate, of) in [("count", "buy"), ("sum", "buy.value"), ("distinct", "buy.item")] {
            feature(&mut text, &format!("{aggregate}_{window}"), aggregate, of, window, "");
        }
    }
    text.push_str("[features.since]\naggregate = \"time_since_last\"\nof = \"buy\"\n");
    compiled(&text)
}

/// Forty features over windows from five minutes to 90 days of twelve
/// streams: types, properties and filters.
pub fn wide() -> Plan {
    compiled(&forty_features(|_, window| window.to_owned()))
}

/// The same features over windows of `longest`, its half, its quarter and so on;
/// and what else the definitions have.
pub fn wide_up_to(longest: Millis, others: &str) -> Plan {
    let features = forty_features(|shorter, _| format!("{}s", (longest.as_millis() / 1_000) >> shorter));
    compiled(&(features + others))
}

/// Counts that keep the views for 90 days, however short the other windows are.
pub fn views_kept() -> String {
    kept([("view", "")])
}

/// The same of every stream of [`wide`].
pub fn all_kept() -> String {
    let event = |of: &'static str| of.split_once('.').map_or(of, |(event, _)| event);
    kept(WIDE.iter().map(|(of, filter, ..)| (event(of), *filter)).collect::<BTreeSet<_>>())
}

fn kept(streams: impl IntoIterator<Item = (&'static str, &'static str)>) -> String {
    let mut text = String::new();
    for (number, (of, filter)) in streams.into_iter().enumerate() {
        feature(&mut text, &format!("kept_{number}"), "count", of, LONGEST, filter);
    }
    text
}

const LONGEST: &str = "90d";

/// What the features of [`wide`] are of, their filters, aggregates and windows.
const WIDE: [(&str, &str, &str, &[&str]); 13] = [
    ("view", "", "count", &["5m", "1h", "24h", "7d", LONGEST]),
    ("view.item", "", "distinct", &["1h", "24h", "7d", LONGEST]),
    ("view.price", "", "mean", &["1h", "24h", LONGEST]),
    ("view.price", "", "max", &["24h", LONGEST]),
    ("view", "section == \"shoes\"", "count", &["1h", "24h", "7d", LONGEST]),
    ("cart", "", "count", &["30m", "24h", "7d", LONGEST]),
    ("cart.price", "", "sum", &["30m", "24h", LONGEST]),
    ("cart.item", "", "distinct", &["24h", LONGEST]),
    ("search", "", "count", &["1h", "24h", "7d"]),
    ("purchase", "", "count", &["24h", "7d", LONGEST]),
    ("purchase.price", "", "sum", &["7d", LONGEST]),
    ("return", "", "count", &["30d", LONGEST]),
    ("*", "", "count", &["5m", "24h", LONGEST]),
];

/// `window`: from the number of longer windows of the same stream, and what
/// it is where they go up to 90 days.
fn forty_features(window: impl Fn(usize, &str) -> String) -> String {
    let mut text = String::new();
    for (number, (of, filter, aggregate, windows)) in WIDE.iter().enumerate() {
        for (index, usual) in windows.iter().enumerate() {
            let window = window(windows.len() - 1 - index, usual);
            feature(&mut text, &format!("f{number}_{aggregate}_{window}"), aggregate, of, &window, filter);
        }
    }
    text
}

fn feature(text: &mut String, name: &str, aggregate: &str, of: &str, window: &str, filter: &str) {
    let _ = writeln!(
        text,
        "[features.{name}]\naggregate = \"{aggregate}\"\nof = \"{of}\"\nwindow = \"{window}\""
    );
    if !filter.is_empty() {
        let _ = writeln!(text, "where = '{filter}'");
    }
}

/// Counts of four event types over up to 90 days.
pub fn four_types() -> Plan {
    let mut text = String::new();
    for kind in ["view", "search", "cart", "purchase"] {
        for window in ["24h", "90d"] {
            feature(&mut text, &format!("{kind}_{window}"), "count", kind, window, "");
        }
    }
    compiled(&text)
}

/// Eight features of one stream over five minutes and over `longest`; and what
/// else the definitions have.
pub fn one_stream(longest: Millis, exact_rows: usize, others: &str) -> Plan {
    let mut text = format!("{others}[series]\nexact_rows = {exact_rows}\n");
    for window in ["5m".to_owned(), format!("{}s", longest.as_millis() / 1_000)] {
        for (aggregate, of) in
            [("count", "view"), ("sum", "view.price"), ("max", "view.price"), ("distinct", "view.item")]
        {
            feature(&mut text, &format!("{aggregate}_{window}"), aggregate, of, &window, "");
        }
    }
    compiled(&text)
}

fn compiled(text: &str) -> Plan {
    definitions::compile(text).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

/// Events in order of arrival over `span`, users by Zipf 0.8; each is as much
/// late as `late` says.
pub fn events(
    n: usize,
    n_users: usize,
    span: Millis,
    late: impl Fn(&mut ChaCha8Rng) -> Millis,
) -> Vec<Arriving> {
    arrivals(n, n_users, span, late).collect()
}

/// The same, one by one.
pub fn arrivals(
    n: usize,
    n_users: usize,
    span: Millis,
    late: impl Fn(&mut ChaCha8Rng) -> Millis,
) -> impl ExactSizeIterator<Item = Arriving> {
    let mut dice = ChaCha8Rng::seed_from_u64(7);
    let users = Zipf::new(n_users as f64, 0.8).expect("valid");
    let mut numbers: Vec<usize> = (0..n_users).collect();
    numbers.shuffle(&mut dice);
    let step = span.as_millis() as f64 / n as f64;
    (0..n).map(move |index| {
        let user = numbers[users.sample(&mut dice) as usize - 1];
        let arrival = START.after(Millis::new((index as f64 * step) as i64));
        let time = arrival.before(late(&mut dice));
        Arriving { user, arrival, event: shop_event(&mut dice, time) }
    })
}

fn shop_event(dice: &mut ChaCha8Rng, time: Timestamp) -> Event {
    let kind = match dice.random_range(0..100) {
        0..70 => "view",
        70..80 => "search",
        80..90 => "cart",
        90..98 => "purchase",
        _ => "return",
    };
    let item = dice.random_range(0..5_000_u32);
    let section = ["shoes", "coats", "hats", "bags"][item as usize % 4];
    let properties = vec![
        ("item".into(), Value::Text(format!("sku-{item}").into())),
        ("price".into(), Value::Number(f64::from(item % 200) + 0.99)),
        ("section".into(), Value::Text(section.into())),
    ];
    plain_event(kind, time, properties)
}

/// The events of the smaller job.
pub fn purchases(n: usize, n_users: usize, span: Millis) -> Vec<Arriving> {
    let mut events = events(n, n_users, span, |_| Millis::ZERO);
    for (index, Arriving { event, .. }) in events.iter_mut().enumerate() {
        let item = format!("sku-{}", index * 7_919 % 1_000);
        let properties = vec![
            ("item".into(), Value::Text(item.into())),
            ("value".into(), Value::Number((index % 100) as f64 + 0.25)),
        ];
        *event = plain_event("buy", event.time, properties);
    }
    events
}

fn plain_event(kind: &str, time: Timestamp, properties: Vec<(Box<str>, Value)>) -> Event {
    Event { uid: EventUid::UNMINTED, id: None, kind: kind.into(), time, anonymous_id: None, properties }
}

/// The users' state, as one shard keeps it.
pub struct Users<'a> {
    engine: Engine<'a>,
    ids: Vec<UserId>,
    pub profiles: Vec<Option<Profile>>,
    sequence: Sequence,
    steps: Vec<Step>,
}

impl<'a> Users<'a> {
    pub fn new(plan: &'a Plan, models: &'a Models, n_users: usize) -> Self {
        Self {
            engine: Engine { plan, models },
            ids: (0..n_users).map(|user| UserId::known(&user.to_string())).collect(),
            profiles: vec![None; n_users],
            sequence: Sequence { virtual_shard: 0, next: 0 },
            steps: Vec::new(),
        }
    }

    /// Takes in an event as the server does; `reads` the whole vector after it if asked.
    pub fn apply(&mut self, arriving: Arriving, reads: bool) {
        let Arriving { user, arrival, event } = arriving;
        let profile = self.profiles[user].get_or_insert_with(|| Profile::new(self.engine.plan));
        let steps = &mut self.steps;
        let acceptance =
            self.engine.accept(&self.ids[user], profile, event, arrival, &mut self.sequence, steps);
        debug_assert!(matches!(acceptance, Acceptance::Accepted(_)));
        if reads {
            std::hint::black_box(profile.read(self.engine.plan, arrival));
        }
        self.steps.clear();
    }
}
