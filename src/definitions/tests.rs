//! Definitions as users write them: what compiles, what is refused and how.

use std::path::Path;

use super::*;

fn example(name: &str) -> Plan {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
    load(&path).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

#[test]
fn the_examples_compile() {
    let plan = example("shop.toml");
    assert_eq!(plan.models.len(), 2);
    let plan = example("online-retail.toml");
    assert_eq!(plan.models.len(), 2);
}
