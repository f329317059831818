//! Tables that are joined to events.

use std::fs;
use std::path::PathBuf;

use expect_test::{Expect, expect};
use tempfile::TempDir;

use super::*;
use crate::engine::plan::EventSelector;

const PRODUCTS: &str = "\
sku,category,price,Made in
p1,shoes,49.9,Porto
p2,hats,20,Lyon
";

const LOOKUP: &str = r#"
[lookups.products]
file = "products.csv"
key  = "sku"
on   = "product_id"
"#;

/// A folder with these definitions and a table of products.
fn folder(definitions: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("products.csv"), PRODUCTS).expect("written");
    let file = folder.path().join("definitions.toml");
    fs::write(&file, definitions).expect("written");
    (folder, file)
}

fn plan(definitions: &str) -> Plan {
    let (_folder, file) = folder(&format!("{LOOKUP}{definitions}"));
    load(&file).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

/// One line a mistake: `line:column path: message (suggestion)`.
fn check(definitions: &str, expected: Expect) {
    let (folder, file) = folder(definitions);
    let mistakes = load(&file).expect_err("the definitions are right");
    let lines: Vec<String> = mistakes
        .iter()
        .map(|m| {
            let suggestion = m.suggestion.as_ref().map(|name| format!(" ({name}?)")).unwrap_or_default();
            format!("{}:{} {}: {}{suggestion}\n", m.line, m.column, m.path, m.message)
        })
        .collect();
    expected.assert_eq(&lines.concat().replace(&format!("{}/", folder.path().display()), ""));
}

fn joined(plan: &Plan) -> Vec<&str> {
    plan.lookups.iter().flat_map(|lookup| &lookup.properties).map(|property| &**property).collect()
}

#[test]
fn a_joined_property_is_read_wherever_a_property_is() {
    let plan = plan(
        r#"
        [features.spent]
        aggregate = "sum"
        of = "purchase.products.price"
        window = "7d"
        where = "products.category == 'shoes' && event.products.price > 10"
        [features.places]
        aggregate = "distinct"
        of = { event = "purchase", property = "products.Made in" }
        window = "7d"
        where = "has(event.`products.Made in`) && products.`Made in` != 'Rome'"
        [labels.buys]
        event = "purchase"
        within = "1d"
        [models.buys]
        label = "buys"
        score_on = ["page_view"]
        [triggers.t]
        score = "buys"
        fire_at = 0.5
        when = "event.products.category in ['shoes'] && products.price < 100"
        "#,
    );
    assert_eq!(joined(&plan), ["products.Made in", "products.category", "products.price"]);
    assert_eq!((&*plan.lookups[0].on, plan.lookups[0].table.n_rows()), ("product_id", 2));

    let FeatureKind::Aggregate { series, .. } = plan.feature("spent").expect("defined").kind else {
        panic!("it is an aggregate")
    };
    let series = &plan.series[series];
    let filter = series.filter.as_ref().expect("a filter");
    let holds = |id: &str| {
        let mut event = event("purchase", &[("product_id", Value::Text(id.into()))]);
        plan.lookups[0].join(&mut event);
        let bound = plan.bind(&event);
        let scope = Scope {
            event: Some(&bound),
            vector: &Default::default(),
            traits: &[],
            scores: &[],
            now: Timestamp::default(),
        };
        assert!(matches!(series.event, EventSelector::Type(_)));
        filter.holds(&scope)
    };
    assert_eq!((holds("p1"), holds("p2"), holds("p3")), (true, false, false));
}

#[test]
fn only_what_is_read_is_joined() {
    let nothing = plan("");
    assert_eq!((joined(&nothing).len(), nothing.lookups[0].table.n_rows()), (0, 2));
    let of_price = plan("[features.p]\naggregate = 'last'\nof = 'view.products.price'");
    assert_eq!(joined(&of_price), ["products.price"]);
}

#[test]
fn how_a_property_is_joined_is_part_of_what_reads_it() {
    let features = "[features.p]\naggregate = 'last'\nof = 'view.products.price'\n\
                    [features.q]\naggregate = 'count'\nof = 'view'\nwindow = '1d'\nwhere = 'products.price > 1'\n\
                    [features.r]\naggregate = 'last'\nof = 'view.price'\n";
    let digests = |on: &str, table: &str| {
        let (folder, file) = folder(&format!("{}{features}", LOOKUP.replace("product_id", on)));
        fs::write(folder.path().join("products.csv"), table).expect("written");
        let plan = load(&file).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let of = |name| plan.feature(name).expect("defined").digest.to_string();
        (plan.digest.to_string(), of("p"), of("q"), of("r"))
    };
    let before = digests("product_id", PRODUCTS);
    assert_eq!(digests("product_id", "price,sku\n1,p1\n"), before, "data are no definitions");
    let after = digests("id", PRODUCTS);
    assert!(before.0 != after.0 && before.1 != after.1 && before.2 != after.2);
    assert_eq!(before.3, after.3, "it reads nothing that is joined");
}

#[test]
fn mistakes_in_the_section() {
    check(
        r#"[lookups.products]
fil = "products.csv"
[lookups.shops]
file = "shops.csv"
key = "id"
on = "shop"
[lookups.stock]
file = "products.csv"
key = "sk"
on = "products.price"
columns = ["category", "prize", 3]
[lookups.Again]
file = 7
key = "sku"
on = ""
[features.fine]
aggregate = "count"
of = "*"
window = "1d"
where = "shops.whatever == 'a' && stock.other > 1"
"#,
        expect![[r#"
            1:10 lookups.products: `file` is missing, such as file = "products.csv"
            1:10 lookups.products: `key` is missing, such as key = "sku"
            1:10 lookups.products: `on` is missing, such as on = "product_id"
            2:1 lookups.products.fil: unknown key `fil`: expected one of `columns`, `file`, `key`, `on` (file?)
            4:8 lookups.shops.file: cannot read shops.csv: No such file or directory (os error 2)
            9:7 lookups.stock.key: products.csv has no column "sk" (sku?)
            10:6 lookups.stock.on: `products.price` is joined itself: `on` is a property that senders give
            11:24 lookups.stock.columns: products.csv has no column "prize" (price?)
            11:33 lookups.stock.columns: expected a string, found an integer
            12:10 lookups.Again: lookup: "Again" is not a name: a lower-case letter, then lower-case letters, digits and `_`
            13:8 lookups.Again.file: expected a string, found an integer
            15:6 lookups.Again.on: a property is empty
        "#]],
    );
}

#[test]
fn mistakes_in_what_reads_it() {
    check(
        &format!(
            r#"{LOOKUP}columns = ["category", "price"]
[features.a]
aggregate = "sum"
of = "purchase.products.prize"
window = "7d"
where = "products.categry == 'shoes' || event.products.sku == 'a' || product.price > 1"
[labels.buys]
event = "purchase"
within = "1d"
[models.buys]
label = "buys"
score_on = ["page_view"]
[triggers.t]
score = "buys"
fire_at = 0.5
when = "products.price > 1 && event.products.nothing == 1"
[triggers.u]
after = "a"
without = ["b"]
for = "1h"
when = "products.price > 1"
[features.e]
expression = "products.price + 1"
"#
        ),
        expect![[r#"
            9:6 features.a.of: lookup `products` joins no column "prize" (products.price?)
            11:10 features.a.where: lookup `products` joins no column "categry" (products.category?)
            11:41 features.a.where: lookup `products` joins no column "sku"
            11:70 features.a.where: `product` has no members; only event, traits and scores have (products?)
            21:31 triggers.t.when: lookup `products` joins no column "nothing"
            26:9 triggers.u.when: there is no current event when this trigger is evaluated
            28:15 features.e.expression: a feature does not read the current event, only features, traits and `now`
        "#]],
    );
}

#[test]
fn mistakes_in_the_table() {
    let (folder, file) = folder(LOOKUP);
    fs::write(folder.path().join("products.csv"), "sku,price\na,1\nb,2\na,3\n").expect("written");
    let mistakes = load(&file).expect_err("a key stands twice").to_string();
    let place = format!("{}:3:8 (lookups.products.file)", file.display());
    assert!(mistakes.contains(&place), "{mistakes}");
    assert!(mistakes.contains("products.csv:4: sku: the key \"a\" was in line 2 before"), "{mistakes}");
}
