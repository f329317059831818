//! Act 2: the simulated shop on the wall clock. Visitors leave, nothing more
//! comes in, and abandoned carts fire all the same.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::screen::Screen;
use super::{DemoServer, Pace, subscribe};
use crate::client::{Client, event, time, user_text};
use crate::engine::time::{Millis, Timestamp};
use crate::event_file::Record;
use crate::proto::v1;
use crate::simulate::{Config, Shares, Shop};

const DEFINITIONS: &str = include_str!("shop.toml");
const TRIGGER: &str = "cart_abandoned";

/// The shop's time against the clock's: eight minutes a second.
const SPEED_UP: i64 = 480;
const N_CUSTOMERS: u32 = 6_000;
/// 2026-01-05, a Monday evening.
const OPENS: Timestamp = Timestamp::from_millis(1_767_636_000_000);
const TICK: Duration = Duration::from_millis(50);

pub fn definitions(cart_wait: Duration) -> String {
    DEFINITIONS.replace("CART_WAIT", &format!("{}s", cart_wait.as_secs()))
}

pub async fn play(server: &DemoServer, pace: Pace) -> Result<()> {
    let client = server.client().await?;
    let mut firings = subscribe(&client).await?;
    println!(
        "  open for {} s; a cart counts as abandoned after {} s without checkout, and is worth a message from 40 on",
        pace.shop_open.as_secs(),
        pace.cart_wait.as_secs()
    );
    let silence = pace.cart_wait + Duration::from_secs(2);
    let total = pace.shop_open + silence;
    let mut screen = Screen::new(total.as_millis() as u64, &server.app.plan());
    let (requests, receiver) = mpsc::channel(16);
    let mut events = client.events.clone();
    let mut answers = events.ingest_stream(ReceiverStream::new(receiver)).await?.into_inner();
    let sender = tokio::spawn(send(requests, pace.shop_open));
    let (mut n_events, mut last_event, mut with_carts) = (0_u64, None, BTreeSet::new());
    let (mut n_fired, mut n_fired_in_silence) = (0, 0);

    let started = Instant::now();
    let mut ticks = tokio::time::interval(TICK);
    let mut open = true;
    while started.elapsed() < total {
        tokio::select! {
            answer = answers.message(), if open => match answer? {
                Some(answer) => {
                    n_events += answer.results.len() as u64;
                    if !answer.results.is_empty() {
                        last_event = Some(Instant::now());
                    }
                }
                None => open = false,
            },
            Some(firing) = firings.recv() => {
                n_fired += 1;
                n_fired_in_silence += u64::from(!open);
                screen.firing(&firing);
            }
            _ = ticks.tick() => {
                let state = if open { "open".to_owned() } else {
                    let silent = last_event.map_or(0.0, |last: Instant| last.elapsed().as_secs_f64());
                    format!("closed: no event for {silent:.0} s")
                };
                screen.progress(
                    started.elapsed().as_millis() as u64,
                    state,
                    format!("{n_events} events, {n_fired} carts abandoned, {n_fired_in_silence} of them told after the last event"),
                );
            }
        }
    }
    with_carts.extend(sender.await??);
    screen.finish();
    println!();
    println!("  events     {n_events}");
    println!(
        "  firings    {n_fired}  {TRIGGER}, {n_fired_in_silence} of them after the last event, by the clock alone"
    );
    if n_fired_in_silence == 0 {
        bail!("no cart fired in silence");
    }
    why_not(&client, with_carts).await
}

/// Sends what happens in the shop until it closes; returns who had a cart.
async fn send(requests: mpsc::Sender<v1::IngestStreamRequest>, open: Duration) -> Result<BTreeSet<String>> {
    let config =
        Config { n_users: N_CUSTOMERS, start: OPENS, span: None, seed: 7, shares: Shares::default() };
    let mut shop = Shop::new(config).peekable();
    let mut with_carts = BTreeSet::new();
    let (started, mut batch_id) = (Instant::now(), 0);
    let mut ticks = tokio::time::interval(TICK);
    while started.elapsed() < open {
        ticks.tick().await;
        let elapsed_ms = started.elapsed().as_millis() as i64;
        let now = OPENS.after(Millis::new(elapsed_ms * SPEED_UP));
        let mut batch = Vec::new();
        while let Some(record) = shop.next_if(|record| record.arrival_or_time() <= now) {
            if &*record.event.kind == "add_to_cart" {
                with_carts.insert(record.user.to_string());
            }
            batch.push(live(record));
        }
        for events in batch.chunks(256) {
            batch_id += 1;
            let request = v1::IngestStreamRequest { batch_id, events: events.to_vec(), ..Default::default() };
            if requests.send(request).await.is_err() {
                bail!("the server ended the stream");
            }
        }
    }
    Ok(with_carts)
}

/// As it comes from a live shop: the server stamps the arrival; no time is now.
fn live(record: Record) -> v1::Event {
    v1::Event { time: None, arrival_time: None, ..event(record) }
}

/// Answers for one customer with a cart why no message went out.
async fn why_not(client: &Client, with_carts: BTreeSet<String>) -> Result<()> {
    let mut answered = None;
    for customer in with_carts {
        let request =
            v1::GetProfileRequest { user: Some(crate::client::user(&customer)), explain: Vec::new() };
        let profile = client.profiles.clone().get_profile(request).await?.into_inner();
        let Some(state) = profile.triggers.iter().find(|state| state.trigger == TRIGGER) else { continue };
        let who = user_text(profile.user.as_ref());
        if !state.suppressed_by.is_empty() {
            let value = profile.features.get("cart_value_2m").and_then(|feature| feature.value.clone());
            let value = match value {
                Some(v1::feature_value::Value::Number(value)) => format!("{value:.2}"),
                _ => "missing".to_owned(),
            };
            println!(
                "  why not    {who}: the wait ended without a checkout, and the gate `{}`",
                state.suppressed_by
            );
            println!("             (cart_value_2m >= 40) was closed; cart_value_2m is {value} now");
            return Ok(());
        }
        if answered.is_none() && state.last_fired_time.is_none() && state.due_time.is_none() {
            answered = Some((who, time(profile.last_seen_time.as_ref())));
        }
    }
    match answered {
        Some((who, last_seen)) => {
            println!(
                "  why not    {who}: a checkout or purchase answered the cart in time (last seen {last_seen})"
            );
            Ok(())
        }
        None => bail!("every cart fired: there is no `why not` to answer"),
    }
}
