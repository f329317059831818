//! What the shop sells.

use std::sync::Arc;

use super::dice::Dice;

const N_CATEGORIES: usize = 12;
const CATEGORY_NAMES: [&str; N_CATEGORIES] = [
    "shoes", "shirts", "jackets", "bags", "watches", "lamps", "kitchen", "garden", "toys", "books", "music",
    "sports",
];
const N_PRODUCTS_PER_CATEGORY: usize = 200;
/// The dearest product of each category, in cents.
const DEAREST: [u32; N_CATEGORIES] =
    [22_000, 9_000, 35_000, 28_000, 60_000, 30_000, 40_000, 25_000, 12_000, 6_000, 5_000, 45_000];

pub struct Catalogue {
    pub categories: Vec<Category>,
    pub pages: Pages,
    pub devices: [Arc<str>; 3],
    /// Those of the first category first, within a category the cheapest first.
    products: Vec<Product>,
}

pub struct Category {
    pub name: Arc<str>,
    pub path: Arc<str>,
}

/// Texts that many events share.
pub struct Pages {
    pub home: Arc<str>,
    pub cart: Arc<str>,
    pub confirmation: Arc<str>,
    pub listing_name: Arc<str>,
    pub product_name: Arc<str>,
}

pub struct Product {
    pub id: Arc<str>,
    pub path: Arc<str>,
    pub category: u8,
    pub cents: u32,
}

impl Catalogue {
    pub fn new(dice: &mut Dice) -> Self {
        let categories =
            CATEGORY_NAMES.map(|name| Category { name: name.into(), path: format!("/c/{name}").into() });
        let mut products = Vec::with_capacity(N_CATEGORIES * N_PRODUCTS_PER_CATEGORY);
        for (category, dearest) in DEAREST.into_iter().enumerate() {
            let mut cents: Vec<u32> = (0..N_PRODUCTS_PER_CATEGORY)
                .map(|_| {
                    // Most products are cheap.
                    let skewed = dice.unit() * dice.unit();
                    500 + (skewed * f64::from(dearest - 500)) as u32 / 50 * 50 + 45
                })
                .collect();
            cents.sort_unstable();
            for cents in cents {
                let number = products.len();
                products.push(Product {
                    id: format!("p{number:04}").into(),
                    path: format!("/p/{number:04}").into(),
                    category: category as u8,
                    cents,
                });
            }
        }
        let pages = Pages {
            home: "/".into(),
            cart: "/cart".into(),
            confirmation: "/thank-you".into(),
            listing_name: "category".into(),
            product_name: "product".into(),
        };
        let devices = ["mobile", "desktop", "tablet"].map(Into::into);
        Self { categories: categories.into(), pages, devices, products }
    }

    pub fn any_category(dice: &mut Dice) -> u8 {
        dice.below(N_CATEGORIES as u32) as u8
    }

    pub fn product(&self, index: u16) -> &Product {
        &self.products[usize::from(index)]
    }

    /// A product of the category; those sensitive to prices look at cheaper ones.
    pub fn draw(&self, category: u8, price_sensitivity: u8, dice: &mut Dice) -> u16 {
        let n_products = N_PRODUCTS_PER_CATEGORY as u32;
        let mut rank = dice.below(n_products);
        for _ in 0..price_sensitivity {
            rank = rank.min(dice.below(n_products));
        }
        (usize::from(category) * N_PRODUCTS_PER_CATEGORY + rank as usize) as u16
    }
}
