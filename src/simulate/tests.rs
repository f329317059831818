use std::collections::{HashMap, HashSet};

use xxhash_rust::xxh3::Xxh3;

use super::ceiling::Ceiling;
use super::*;
use crate::engine::event::Value;
use crate::event_file::{Mapping, Reader, Record, Writer};

fn config(n_users: u32, days: i64, seed: u64) -> Config {
    Config {
        n_users,
        // 2026-01-01
        start: Timestamp::from_millis(1_767_225_600_000),
        span: Some(Millis::new(days * 86_400_000)),
        seed,
        shares: Shares::default(),
    }
}

fn text<'r>(record: &'r Record, name: &str) -> Option<&'r str> {
    let (_, value) = record.event.properties.iter().find(|(own, _)| &**own == name)?;
    value.as_text().map(|text| &**text)
}

fn number(record: &Record, name: &str) -> Option<f64> {
    let (_, value) = record.event.properties.iter().find(|(own, _)| &**own == name)?;
    value.as_number()
}

fn digest(records: impl Iterator<Item = Record>) -> u64 {
    let mut hasher = Xxh3::new();
    for record in records {
        hasher.update(format!("{record:?}\n").as_bytes());
    }
    hasher.digest()
}

#[test]
fn a_seed_gives_the_same_events_for_ever() {
    let once = digest(Shop::new(config(300, 5, 1)));
    assert_eq!(once, digest(Shop::new(config(300, 5, 1))));
    assert_eq!(once, digest(Shop::new(config(300, 5, 1)).with_truth().map(|(record, _)| record)));
    assert_ne!(once, digest(Shop::new(config(300, 5, 2))));
    // Of a change that is meant, this is the new value; else it tells of another platform's arithmetic.
    assert_eq!(once, 12_251_248_523_306_255_635);
}

#[test]
fn files_are_the_same_to_the_byte_and_read_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let records: Vec<Record> = Shop::new(config(100, 3, 4)).collect();
    let files = ["a.jsonl.zst", "b.jsonl.zst"].map(|name| {
        let path = folder.path().join(name);
        let mut writer = Writer::create(&path).expect("a file");
        for record in Shop::new(config(100, 3, 4)) {
            writer.write(&record).expect("written");
        }
        writer.finish().expect("finished");
        path
    });
    let [one, other] = files.each_ref().map(|path| std::fs::read(path).expect("bytes"));
    assert_eq!(one, other);
    let reader = Reader::open(&files[0], &Mapping::default()).expect("a reader");
    let read: Vec<Record> = reader.collect::<Result<_, _>>().expect("events within the limits");
    assert_eq!(read, records);
}

#[test]
fn a_longer_span_begins_alike() {
    let short: Vec<Record> = Shop::new(config(50, 2, 9)).collect();
    let mut endless = Config { span: None, ..config(50, 2, 9) };
    endless.shares.late = 0.0;
    let longer: Vec<Record> =
        Shop::new(Config { span: None, ..config(50, 2, 9) }).take(short.len() / 2).collect();
    assert_eq!(short[..longer.len()], longer);
    let later = Shop::new(endless).nth(50_000).expect("no end");
    assert!(later.event.time > short[short.len() - 1].event.time);
}

#[test]
fn records_come_in_order_of_arrival_within_the_span() {
    let config = config(500, 4, 11);
    let end = config.start.after(config.span.expect("a span"));
    let mut last = Timestamp::MIN;
    for record in Shop::new(config.clone()) {
        let arrival = record.arrival.expect("an arrival");
        assert!(last <= arrival && record.event.time < arrival, "{record:?}");
        assert!((config.start..end).contains(&record.event.time), "{record:?}");
        last = arrival;
    }
}

#[test]
fn traffic_is_spoilt_by_the_stated_shares() {
    let shares = Shares { anonymous: 0.4, late: 0.05, duplicate: 0.03 };
    let shop = Shop::new(Config { shares, ..config(3_000, 10, 5) });
    let mut seen = HashSet::new();
    let (mut n_events, mut n_late, mut n_repeated) = (0.0, 0.0, 0.0);
    let mut begins_anonymous: HashMap<String, bool> = HashMap::new();
    for record in shop {
        if !seen.insert(record.event.uid) {
            n_repeated += 1.0;
            continue;
        }
        n_events += 1.0;
        let delay = record.arrival.expect("an arrival").since(record.event.time);
        if delay >= Millis::new(30_000) {
            n_late += 1.0;
            assert!(delay <= Millis::new(6 * 3_600_000));
        } else if let Some(session) = text(&record, "session_id") {
            begins_anonymous.entry(session.to_owned()).or_insert(record.user.is_anonymous());
        }
    }
    let n_anonymous = begins_anonymous.values().filter(|anonymous| **anonymous).count() as f64;
    let near = |found: f64, expected: f64| (found - expected).abs() < 0.1 * expected;
    assert!(near(n_late / n_events, 0.05), "{n_late} of {n_events}");
    assert!(near(n_repeated / n_events, 0.03), "{n_repeated} of {n_events}");
    assert!(
        near(n_anonymous / begins_anonymous.len() as f64, 0.4),
        "{n_anonymous} of {}",
        begins_anonymous.len()
    );
}

#[test]
fn visits_make_sense() {
    let shares = Shares { late: 0.0, duplicate: 0.0, ..Shares::default() };
    let mut checkouts: HashMap<String, f64> = HashMap::new();
    let mut logged_in = HashSet::new();
    let mut kinds: HashMap<Box<str>, u32> = HashMap::new();
    let mut orders = HashSet::new();
    for record in Shop::new(Config { shares, ..config(2_000, 20, 6) }) {
        let session = text(&record, "session_id").unwrap_or_default().to_owned();
        *kinds.entry(record.event.kind.clone()).or_default() += 1;
        if !record.user.is_anonymous() {
            logged_in.insert(session);
        } else {
            assert!(!logged_in.contains(&session), "anonymous after login: {record:?}");
        }
        let is_login = &*record.event.kind == "login";
        assert_eq!(record.event.anonymous_id.is_some(), is_login, "{record:?}");
        match &*record.event.kind {
            "checkout" => {
                assert!(!record.user.is_anonymous());
                let cart = text(&record, "cart_id").expect("a cart").to_owned();
                checkouts.insert(cart, number(&record, "value").expect("a value"));
            }
            "purchase" => {
                let cart = text(&record, "cart_id").expect("a cart");
                assert_eq!(checkouts.remove(cart), number(&record, "value"), "{record:?}");
                assert!(orders.insert(text(&record, "order_id").expect("an order").to_owned()));
            }
            "add_to_cart" => {
                let price = record.event.properties.iter().find(|(name, _)| &**name == "price");
                assert!(matches!(price, Some((_, Value::Number(price))) if *price >= 5.0));
            }
            _ => {}
        }
    }
    for kind in [
        "page_view",
        "search",
        "add_to_cart",
        "remove_from_cart",
        "checkout",
        "purchase",
        "subscribe",
        "subscription_cancelled",
        "login",
    ] {
        assert!(kinds.get(kind).is_some_and(|n_events| *n_events > 5), "{kind}: {kinds:?}");
    }
}

/// Sums of what was expected, its variance, and what was found.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    expected: f64,
    variance: f64,
    found: f64,
}

impl Tally {
    fn add(&mut self, probability: f64, happened: bool) {
        self.expected += probability;
        self.variance += probability * (1.0 - probability);
        self.found += f64::from(u8::from(happened));
    }

    /// Whether chance explains the difference; the seed is fixed, so this never flickers.
    fn holds(&self) -> bool {
        self.found > 20.0 && (self.found - self.expected).abs() < 3.0 * self.variance.sqrt()
    }
}

#[test]
fn visits_buy_as_often_as_the_truth_says() {
    let mut begun: HashMap<String, (u8, f64)> = HashMap::new();
    let mut buying = HashSet::new();
    for (record, truth) in Shop::new(config(10_000, 14, 7)).with_truth() {
        let (Some(truth), Some(session)) = (truth, text(&record, "session_id")) else { continue };
        if &*record.event.kind == "purchase" {
            buying.insert(session.to_owned());
            assert_eq!((truth.intent, truth.cart_items, truth.purchase_in_visit), (0, 0, 0.0));
        }
        begun.entry(session.to_owned()).or_insert((truth.intent, truth.purchase_in_visit));
    }
    // The idle and the curious seldom buy: counted together.
    let mut by_intent = [Tally::default(); 3];
    for (session, (intent, probability)) in &begun {
        by_intent[usize::from(intent.saturating_sub(1))].add(*probability, buying.contains(session));
    }
    assert!(by_intent.iter().all(Tally::holds), "{by_intent:?}");
}

#[test]
fn days_bring_as_many_purchases_as_the_truth_says() {
    let config = config(10_000, 21, 7);
    let end = config.start.after(config.span.expect("a span"));
    // A decision a day at most, so that one's outcome says nothing of another's.
    let mut decisions: HashMap<UserId, Vec<(Timestamp, f64)>> = HashMap::new();
    let mut purchases: HashMap<UserId, Vec<Timestamp>> = HashMap::new();
    let mut ceiling = Ceiling::default();
    for (record, truth) in Shop::new(config).with_truth() {
        let Some(truth) = truth else { continue };
        ceiling.observe(&record, &truth);
        let time = record.event.time;
        if &*record.event.kind == "purchase" {
            purchases.entry(truth.person.clone()).or_default().push(time);
        }
        let own = decisions.entry(truth.person).or_default();
        let is_free = own.last().is_none_or(|(last, _)| time >= last.after(Millis::DAY));
        if is_free && time.after(Millis::DAY) <= end {
            own.push((time, truth.purchase_24h));
        }
    }
    let edges = [0.02, 0.1, 0.3, 0.6, 1.0];
    let mut tallies = [Tally::default(); 5];
    for (person, own) in &decisions {
        for (time, probability) in own {
            let bought = purchases.get(person).is_some_and(|times| {
                times.iter().any(|purchase| *purchase > *time && *purchase <= time.after(Millis::DAY))
            });
            let bucket = edges.iter().position(|edge| *probability <= *edge).expect("a probability");
            tallies[bucket].add(*probability, bought);
        }
    }
    assert!(tallies.iter().all(Tally::holds), "{tallies:?}");
    let summary = ceiling.summary(end);
    assert!(summary.auc > 0.85, "{summary:?}");
}
