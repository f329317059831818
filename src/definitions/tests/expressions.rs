//! What expressions mean, case by case.

use super::*;

/// Number features `n` (7) and `none` (missing), text features `t` ("Shoes")
/// and `no_text` (missing); traits `age` (30), `plan` ("pro"), `paying` (true),
/// `time_zone` ("America/New_York"). It is the last evening of 1969 in New York.
const FEATURES: &str = r#"
[features.n]
aggregate = "count"
of = "a"
window = "1d"
[features.none]
aggregate = "sum"
of = "a.x"
window = "1d"
[features.t]
aggregate = "last"
of = "a.x"
type = "text"
[features.no_text]
aggregate = "first"
of = "a.x"
type = "text"
[features.sure]
expression = "n == 7"
"#;

/// The value of a feature's expression, written out.
fn value(expression_source: &str) -> String {
    let source = format!("{FEATURES}[features.tested]\nexpression = '''{expression_source}'''");
    let plan = compiled(&source);
    let mut vector = plan.empty_vector();
    for (name, number) in [("n", 7.0), ("none", f64::NAN), ("sure", 1.0)] {
        match plan.feature(name).unwrap().slot {
            crate::engine::vector::Slot::Number(slot) => vector.numbers[slot] = number,
            crate::engine::vector::Slot::Text(_) => unreachable!("{name} is a number"),
        }
    }
    match plan.feature("t").unwrap().slot {
        crate::engine::vector::Slot::Text(slot) => vector.texts[slot] = Some("Shoes".into()),
        crate::engine::vector::Slot::Number(_) => unreachable!("t is a text"),
    }
    let traits: Vec<Option<Value>> = plan
        .traits
        .iter()
        .map(|name| match &**name {
            "age" => Some(Value::Integer(30)),
            "plan" => Some(Value::Text("pro".into())),
            "paying" => Some(Value::Bool(true)),
            "time_zone" => Some(Value::Text("America/New_York".into())),
            _ => None,
        })
        .collect();
    let scope =
        Scope { event: None, vector: &vector, traits: &traits, scores: &[], now: Timestamp::default() };
    match expression(&plan, "tested") {
        Expression::Number(number) => match number.eval(&scope) {
            missing if missing.is_nan() => "missing".to_owned(),
            number => number.to_string(),
        },
        Expression::Text(text) => text.eval(&scope).map_or("missing".to_owned(), |text| format!("{text:?}")),
        Expression::Bool(bool) => bool.eval(&scope).map_or("unknown".to_owned(), |bool| bool.to_string()),
    }
}

#[test]
fn expressions_have_the_documented_values() {
    let table = [
        // Arithmetic: f64 throughout, missing spreads, what is not finite is missing.
        ("n / 2", "3.5"),
        ("1 / 2", "0.5"),
        ("7 - 2 * 3", "1"),
        ("-n", "-7"),
        ("0 * -1", "0"),
        ("n + none", "missing"),
        ("-none", "missing"),
        ("n / 0", "missing"),
        ("0 / 0", "missing"),
        ("1e308 * 10", "missing"),
        ("math.ln(0)", "missing"),
        ("math.sqrt(-1)", "missing"),
        ("math.sqrt(9) + math.abs(-2) + math.floor(1.5) + math.ceil(1.5)", "8"),
        ("math.round(2.5)", "3"),
        ("math.log1p(0)", "0"),
        ("math.least(3, n, 2)", "2"),
        ("math.greatest(3, n)", "7"),
        ("math.least(3, none)", "missing"),
        ("none.orValue(5)", "5"),
        ("n.orValue(5)", "7"),
        ("sure ? 1 : 2", "1"),
        ("none > 1 ? 1 : 2", "missing"),
        ("double(sure)", "1"),
        ("double(none > 1)", "missing"),
        // Comparison with something missing is unknown; the logic is Kleene's.
        ("n > 6", "true"),
        ("n != 7", "false"),
        ("none == none", "unknown"),
        ("none != 1", "unknown"),
        ("!(none > 1)", "unknown"),
        ("none > 1 && n > 100", "false"),
        ("none > 1 && n > 6", "unknown"),
        ("none > 1 || n > 6", "true"),
        ("n > 6 || none > 1", "true"),
        ("none > 1 || n > 100", "unknown"),
        ("(none > 1).orValue(false)", "false"),
        ("sure == (n > 6)", "true"),
        ("sure != (none > 6)", "unknown"),
        ("has(none)", "false"),
        ("has(n) && !has(no_text)", "true"),
        ("has(none > 1)", "false"),
        ("n in [1, 7.0, -3]", "true"),
        ("none in [1]", "unknown"),
        // Texts.
        ("t", "\"Shoes\""),
        ("no_text", "missing"),
        ("no_text.orValue('none')", "\"none\""),
        ("t == 'Shoes'", "true"),
        ("t < 'Shop'", "true"),
        ("no_text == 'x'", "unknown"),
        ("t in ['Hats', 'Shoes']", "true"),
        ("t.startsWith('Sh') && t.endsWith('es') && t.contains('hoe')", "true"),
        ("no_text.contains('x')", "unknown"),
        ("size(t) + size('é') + t.size()", "11"),
        // Traits take the type of their use; another type is missing.
        ("traits.age >= 18", "true"),
        ("traits.plan == 'pro'", "true"),
        ("traits.paying && n > 1", "true"),
        ("traits.plan > 3", "unknown"),
        ("traits.age == '30'", "unknown"),
        ("traits.age && true", "unknown"),
        ("traits.nothing == 1", "unknown"),
        ("has(traits.age) && !has(traits.nothing)", "true"),
        ("double(traits.age) > double(traits.nothing)", "unknown"),
        ("double(traits.age)", "30"),
        ("string(traits.plan)", "\"pro\""),
        ("bool(traits.paying)", "true"),
        ("double(traits.paying)", "1"),
        // Instants are milliseconds since 1970; local time is CEL's, most of it counted from 0.
        ("now", "0"),
        ("now.getHours()", "0"),
        ("now.getDayOfWeek()", "4"),
        ("now.getHours('America/New_York')", "19"),
        ("now.getHours(traits.time_zone)", "19"),
        ("now.getMinutes('Asia/Kolkata')", "30"),
        ("now.getDayOfWeek(traits.time_zone)", "3"),
        ("now.getDate(traits.time_zone)", "31"),
        ("now.getDayOfMonth(traits.time_zone)", "30"),
        ("now.getMonth(traits.time_zone)", "11"),
        ("now.getFullYear(traits.time_zone)", "1969"),
        ("now.getDayOfYear(traits.time_zone)", "364"),
        ("(now + 3600000).getHours(traits.time_zone)", "20"),
        ("traits.age.getHours()", "0"),
        ("none.getHours()", "missing"),
        ("traits.plan.getHours()", "missing"),
        ("now.getHours(traits.nothing)", "missing"),
        ("now.getHours(traits.plan)", "missing"),
        ("now.getHours(traits.age)", "missing"),
        ("now.getHours(no_text)", "missing"),
        ("now.getHours(traits.nothing.orValue('Asia/Tokyo'))", "9"),
        ("now.getHours(traits.plan.orValue('Asia/Tokyo'))", "9"),
        ("now.getHours(traits.time_zone.orValue('Asia/Tokyo'))", "19"),
        ("now.getHours(sure ? 'Asia/Tokyo' : traits.time_zone)", "9"),
        ("now.getHours(none > 1 ? 'Asia/Tokyo' : traits.time_zone)", "missing"),
        ("now.getHours(traits.nothing) < 8", "unknown"),
    ];
    for (source, expected) in table {
        assert_eq!(value(source), expected, "{source}");
    }
}

#[test]
fn filters_read_properties_by_the_type_of_their_use() {
    let table = [
        ("category == 'shoes' && price > 10", true),
        ("category != 'shoes'", false),
        ("price in [10, 50]", true),
        ("is_gift", true),
        ("!is_gift", false),
        ("double(price) > double(cost)", false),
        ("has(category) && !has(cost)", true),
        ("category > 3", false),
        ("price == '50'", false),
        ("event.type == 'add_to_cart'", true),
        ("event.type != 'add_to_cart'", false),
        ("event.type in ['x', 'add_to_cart']", true),
        ("event.`odd name` == 1", true),
        ("event.category.startsWith('sh')", true),
        ("event.time == 0", true),
        ("event.time.getHours() == 0", true),
        ("event.time.getHours('Asia/Kolkata') == 5 && event.time.getMinutes('Asia/Kolkata') == 30", true),
        ("event.time.getDayOfWeek(zone) == 3", true),
        ("event.time.getDayOfWeek(category) == 3", false),
    ];
    let event = event(
        "add_to_cart",
        &[
            ("category", Value::Text("shoes".into())),
            ("is_gift", Value::Bool(true)),
            ("odd name", Value::Integer(1)),
            ("price", Value::Integer(50)),
            ("zone", Value::Text("America/New_York".into())),
        ],
    );
    for (source, expected) in table {
        let plan = compiled(&format!(
            "[features.n]\naggregate = 'count'\nof = '*'\nwindow = '1d'\nwhere = '''{source}'''"
        ));
        let (vector, bound) = (plan.empty_vector(), plan.bind(&event));
        let scope = Scope {
            event: Some(&bound),
            vector: &vector,
            traits: &[],
            scores: &[],
            now: Timestamp::default(),
        };
        let filter = plan.series[0].filter.as_ref().unwrap();
        assert_eq!(filter.holds(&scope), expected, "{source}");
    }
}
