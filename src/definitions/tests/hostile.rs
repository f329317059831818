//! Sources made to exhaust: refused at once, and never a crash.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

/// Far more than any of them takes, far less than a hang.
const AT_ONCE: Duration = Duration::from_secs(5);

fn refused(expression: &str) -> String {
    let start = Instant::now();
    let source = format!("[features.x]\nexpression = '''{expression}'''");
    let mistakes = compile(&source).expect_err("a hostile source compiles").to_string();
    let took = start.elapsed();
    assert!(took < AT_ONCE, "{took:?} for {:.40}…", expression);
    mistakes
}

#[test]
fn long_sources_are_refused_unparsed() {
    for source in ["1+".repeat(2_000) + "1", "a.".repeat(8_000) + "a", "(".repeat(100_000)] {
        assert!(refused(&source).contains("at most 1024 bytes"));
    }
}

#[test]
fn deep_sources_are_refused() {
    let chains = [
        "1+".repeat(500) + "1",
        "1-".repeat(40) + "1",
        "true?1:".repeat(100) + "1",
        "(".repeat(60) + "1" + &"+1)".repeat(60),
        "math.abs(".repeat(60) + "1" + &")".repeat(60),
        "a.".repeat(500) + "a",
        "-(".repeat(80) + "1" + &")".repeat(80),
    ];
    for source in chains {
        let mistakes = refused(&source);
        assert!(mistakes.contains("deep"), "{mistakes}");
    }
}

#[test]
fn whatever_nests_is_refused_without_a_crash() {
    let loops = "[1,2,3,4,5,6,7,8,9].all(a, ".repeat(8) + "true" + &")".repeat(8);
    assert!(refused(&loops).contains("conditions do not loop"));
    for open in
        ["(", "[", "{", "{1:", "f(", "x[", "!", "-", "!(", "a?", "a.b(", "[[1],", "'", "\"", "`", "\\"]
    {
        for n in [1, 50, 500, 1_000 / open.len()] {
            refused(&open.repeat(n));
        }
    }
    for source in
        ["\u{0}", "null", "b'x'", "1u + 'x'", "{'a': 1}", "A{b: 1}", "[1]", "1e999", "x.?y", "x[?0]"]
    {
        refused(source);
    }
}

#[test]
fn a_balanced_chain_of_conditions_is_no_deeper_than_its_logarithm() {
    let chain = vec!["1 > 0"; 100].join(" && ");
    compiled(&format!("[features.x]\nexpression = '{chain}'"));
}

#[test]
fn long_lists_are_refused() {
    let list = vec!["1"; 65].join(",");
    assert!(refused(&format!("1 in [{list}]")).contains("at most 64 elements"));
}

#[test]
fn deep_toml_is_refused() {
    for source in ["a = ".to_owned() + &"[".repeat(100_000), "a = ".to_owned() + &"{a=".repeat(100_000)] {
        assert!(compile(&source).is_err());
    }
    assert!(compile(&"#".repeat(MAX_BYTES + 1)).unwrap_err().to_string().contains("at most"));
}

#[test]
fn ten_thousand_features_in_one_chain_compile() {
    let mut source = "[features.f0]\naggregate='count'\nof='a'\nwindow='1d'\n".to_owned();
    for index in 1..10_000 {
        source += &format!("[features.f{index}]\nexpression='f{} + 1'\n", index - 1);
    }
    let start = Instant::now();
    let plan = compiled(&source);
    assert_eq!(plan.features.len(), 10_000);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());

    source += "[features.one_more]\nexpression='f0'\n";
    assert!(compile(&source).unwrap_err().to_string().contains("at most 10000"));
}

#[test]
fn thousands_of_unknown_names_are_refused_at_once() {
    let source: String =
        (0..9_000).map(|n| format!("[features.f{n}]\nexpression='f{} + misspelt_{n}'\n", n + 1)).collect();
    let start = Instant::now();
    assert!(compile(&source).unwrap_err().to_string().contains("more mistakes"));
    assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
}

proptest! {
    /// Any heap of tokens gives a plan or a list of mistakes.
    #[test]
    fn no_expression_crashes(tokens in prop::collection::vec(token(), 0..40)) {
        let source = format!("[features.x]\nexpression = '''{}'''", tokens.join(""));
        if let Err(mistakes) = compile(&source) {
            prop_assert!(mistakes.count() > 0 && !mistakes.to_string().is_empty());
        }
    }

    /// So does any heap of bytes and of broken definitions.
    #[test]
    fn no_text_crashes(text in "\\PC{0,60}", cut in 0usize..4_000) {
        let _ = compile(&text);
        let example = include_str!("../../../examples/online-retail.toml");
        let cut = (0..=cut.min(example.len())).rev().find(|at| example.is_char_boundary(*at)).unwrap_or(0);
        let _ = compile(&format!("{}{text}{}", &example[..cut], &example[cut..]));
    }
}

fn token() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "a",
        "x",
        "1",
        "2.5",
        "1e400",
        "\"é\"",
        "'",
        "\"",
        "true",
        "null",
        "in",
        "[",
        "]",
        "(",
        ")",
        "{",
        "}",
        ".",
        ",",
        "?",
        ":",
        "!",
        "-",
        "+",
        "*",
        "/",
        "%",
        "<",
        "<=",
        "==",
        "&&",
        "||",
        "event",
        "traits",
        ".b",
        "has(",
        "size(",
        "math.least(",
        "math",
        ".orValue(",
        "`é`",
        " ",
        "\n",
        "\\",
        "💥",
        "//",
        "b\"x\"",
        "1u",
    ])
}
