//! The shop's events. Properties come sorted by name.

use std::sync::Arc;

use crate::engine::event::{Event, EventUid, Value};
use crate::engine::time::Timestamp;

use super::catalogue::Catalogue;

/// A product in a cart.
#[derive(Clone, Copy, Debug, Default)]
pub struct CartLine {
    pub product: u16,
    pub quantity: u8,
}

pub struct Page<'a> {
    pub name: &'static str,
    pub path: &'a Arc<str>,
}

const PLANS: [(&str, f64); 3] = [("basic", 4.99), ("plus", 9.99), ("family", 14.99)];
const REASONS: [&str; 4] = ["price", "unused", "delivery", "other"];
pub const N_REASONS: u32 = REASONS.len() as u32;

pub fn page_view(time: Timestamp, page: Page<'_>, device: u8, session: &Arc<str>, shop: &Catalogue) -> Event {
    event(
        "page_view",
        time,
        [
            ("device", text(&shop.devices[usize::from(device)])),
            ("page", Value::Text(page.name.into())),
            ("path", text(page.path)),
            ("session_id", text(session)),
        ],
    )
}

pub fn listing_view(
    time: Timestamp,
    category: u8,
    device: u8,
    session: &Arc<str>,
    shop: &Catalogue,
) -> Event {
    let category = &shop.categories[usize::from(category)];
    event(
        "page_view",
        time,
        [
            ("category", text(&category.name)),
            ("device", text(&shop.devices[usize::from(device)])),
            ("page", text(&shop.pages.listing_name)),
            ("path", text(&category.path)),
            ("session_id", text(session)),
        ],
    )
}

pub fn product_view(
    time: Timestamp,
    product: u16,
    device: u8,
    session: &Arc<str>,
    shop: &Catalogue,
) -> Event {
    let product = shop.product(product);
    event(
        "page_view",
        time,
        [
            ("category", text(&shop.categories[usize::from(product.category)].name)),
            ("device", text(&shop.devices[usize::from(device)])),
            ("page", text(&shop.pages.product_name)),
            ("path", text(&product.path)),
            ("price", money(product.cents)),
            ("product_id", text(&product.id)),
            ("session_id", text(session)),
        ],
    )
}

pub fn search(time: Timestamp, category: u8, n_results: u32, session: &Arc<str>, shop: &Catalogue) -> Event {
    event(
        "search",
        time,
        [
            ("query", text(&shop.categories[usize::from(category)].name)),
            ("results", Value::Integer(i64::from(n_results))),
            ("session_id", text(session)),
        ],
    )
}

pub fn add_to_cart(
    time: Timestamp,
    cart: &str,
    line: CartLine,
    session: &Arc<str>,
    shop: &Catalogue,
) -> Event {
    let product = shop.product(line.product);
    event(
        "add_to_cart",
        time,
        [
            ("cart_id", Value::Text(cart.into())),
            ("category", text(&shop.categories[usize::from(product.category)].name)),
            ("price", money(product.cents)),
            ("product_id", text(&product.id)),
            ("quantity", Value::Integer(i64::from(line.quantity))),
            ("session_id", text(session)),
        ],
    )
}

pub fn remove_from_cart(
    time: Timestamp,
    cart: &str,
    line: CartLine,
    session: &Arc<str>,
    shop: &Catalogue,
) -> Event {
    event(
        "remove_from_cart",
        time,
        [
            ("cart_id", Value::Text(cart.into())),
            ("product_id", text(&shop.product(line.product).id)),
            ("session_id", text(session)),
        ],
    )
}

pub fn checkout(
    time: Timestamp,
    cart: &str,
    lines: &[CartLine],
    session: &Arc<str>,
    shop: &Catalogue,
) -> Event {
    event(
        "checkout",
        time,
        [
            ("cart_id", Value::Text(cart.into())),
            ("items", n_pieces(lines)),
            ("session_id", text(session)),
            ("value", value(lines, shop)),
        ],
    )
}

pub fn purchase(
    time: Timestamp,
    order: &str,
    cart: &str,
    lines: &[CartLine],
    session: &Arc<str>,
    shop: &Catalogue,
) -> Event {
    // The category of the dearest line.
    let dearest = lines.iter().max_by_key(|line| cents(**line, shop)).copied().unwrap_or_default();
    let category = shop.product(dearest.product).category;
    event(
        "purchase",
        time,
        [
            ("cart_id", Value::Text(cart.into())),
            ("category", text(&shop.categories[usize::from(category)].name)),
            ("items", n_pieces(lines)),
            ("order_id", Value::Text(order.into())),
            ("session_id", text(session)),
            ("value", value(lines, shop)),
        ],
    )
}

pub fn login(time: Timestamp, session: &Arc<str>) -> Event {
    event("login", time, [("session_id", text(session))])
}

pub fn subscribe(time: Timestamp, plan: u8, session: &Arc<str>) -> Event {
    let (name, price) = PLANS[usize::from(plan)];
    event(
        "subscribe",
        time,
        [("plan", Value::Text(name.into())), ("price", Value::Number(price)), ("session_id", text(session))],
    )
}

pub fn subscription_cancelled(time: Timestamp, plan: u8, reason: u32) -> Event {
    event(
        "subscription_cancelled",
        time,
        [
            ("plan", Value::Text(PLANS[usize::from(plan)].0.into())),
            ("reason", Value::Text(REASONS[reason as usize].into())),
        ],
    )
}

/// An event that has no identity yet.
fn event<const N: usize>(kind: &str, time: Timestamp, properties: [(&str, Value); N]) -> Event {
    debug_assert!(properties.is_sorted_by(|(left, _), (right, _)| left < right), "{kind}");
    Event {
        uid: EventUid::default(),
        id: None,
        kind: kind.into(),
        time,
        anonymous_id: None,
        properties: properties.into_iter().map(|(name, value)| (name.into(), value)).collect(),
    }
}

fn text(text: &Arc<str>) -> Value {
    Value::Text(text.clone())
}

fn money(cents: u32) -> Value {
    Value::Number(f64::from(cents) / 100.0)
}

fn cents(line: CartLine, shop: &Catalogue) -> u32 {
    shop.product(line.product).cents * u32::from(line.quantity)
}

fn value(lines: &[CartLine], shop: &Catalogue) -> Value {
    money(lines.iter().map(|line| cents(*line, shop)).sum())
}

fn n_pieces(lines: &[CartLine]) -> Value {
    Value::Integer(lines.iter().map(|line| i64::from(line.quantity)).sum())
}
