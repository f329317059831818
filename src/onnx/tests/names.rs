//! How inputs and outputs are bound, without a runtime.

use std::collections::BTreeMap;

use super::made::{Made, node, port};
use crate::engine::model::{Output, OutputKind};
use crate::onnx::binding::{Element, Scores, Takes, columns};
use crate::onnx::{Binding, Declared, Error, Graph};

fn outputs(names: &[&str], kind: OutputKind) -> Vec<Output> {
    names.iter().map(|&name| Output { name: name.into(), kind }).collect()
}

fn bound(made: &Made, features: &[&str], of_model: &[&str], declared: &Declared) -> Result<Binding, Error> {
    let content = made.bytes();
    let graph = Graph::read(&content)?;
    Binding::of(&graph, features, &outputs(of_model, OutputKind::Value), declared)
}

/// Inputs of these names, types and shapes; an output that is the sum of them.
fn adding(inputs: &[(&str, i64, &[i64])]) -> Made {
    let mut made = Made::small();
    made.inputs = inputs.iter().map(|(name, element, shape)| port(name, *element, shape)).collect();
    let names: Vec<&str> = inputs.iter().map(|(name, ..)| *name).collect();
    made.nodes = vec![node("Sum", &names, &["scores"])];
    made
}

/// Outputs of these names and types.
fn giving(outputs: &[(&str, i64)]) -> Made {
    let mut made = Made::small();
    let names = outputs.iter().map(|(name, _)| node("Relu", &["rows"], &[name]));
    made.nodes = names.collect();
    made.outputs = outputs.iter().map(|(name, element)| port(name, *element, &[-1, 1])).collect();
    made
}

#[test]
fn a_matrix_takes_all_features_in_order() {
    let none = Declared::default();
    let binding = bound(&Made::small(), &["a", "b"], &["p"], &none).expect("bound");
    assert_eq!((binding.inputs[0].takes, binding.inputs[0].element), (Takes::Row, Element::Float));
    assert!(binding.is_of_any_length);
    let one_row = bound(&adding(&[("x", 11, &[1, 2])]), &["a", "b"], &["p"], &none).expect("bound");
    assert_eq!((one_row.inputs[0].element, one_row.is_of_any_length), (Element::Double, false));
}

#[test]
fn inputs_are_features_by_name_in_any_order() {
    let made = adding(&[("b", 1, &[-1, 1]), ("other", 7, &[-1]), ("a", 11, &[-1])]);
    let inputs: BTreeMap<_, _> = [("other".to_owned(), "c".to_owned())].into();
    let declared = Declared { inputs, ..Declared::default() };
    let binding = bound(&made, &["a", "b", "c"], &["p"], &declared).expect("bound");
    let found: Vec<_> = binding.inputs.iter().map(|input| (input.takes, input.element, input.rank)).collect();
    assert_eq!(
        found,
        [
            (Takes::Feature(1), Element::Float, 2),
            (Takes::Feature(2), Element::Int64, 1),
            (Takes::Feature(0), Element::Double, 1)
        ]
    );
    let single = bound(&adding(&[("a", 1, &[-1, 1])]), &["a"], &["p"], &Declared::default()).expect("bound");
    assert_eq!(single.inputs[0].takes, Takes::Feature(0));
}

#[test]
fn inputs_that_are_not_those_of_the_model_are_refused() {
    let misnamed = [("gone".to_owned(), "a".to_owned())].into();
    let misnamed = Declared { inputs: misnamed, ..Declared::default() };
    let none = Declared::default();
    for (made, declared, expected) in [
        (adding(&[("x", 1, &[-1, 3])]), &none, "\"x\" takes 3 columns, the model has 2 features"),
        (adding(&[("x", 1, &[32, 2])]), &none, "\"x\" takes 32 rows at a time"),
        (adding(&[("x", 8, &[-1, 2])]), &none, "\"x\" has the element type 8, not float, double or int64"),
        (adding(&[("a", 1, &[-1]), ("c", 1, &[-1])]), &none, "\"c\" is \"c\", which is no feature"),
        (adding(&[("a", 1, &[-1]), ("b", 1, &[-1, 3])]), &none, "\"b\" has neither the shape [n] nor [n, 1]"),
        (adding(&[("a", 1, &[-1])]), &none, "none takes the feature \"b\""),
        (adding(&[("a", 1, &[-1]), ("b", 1, &[])]), &none, "\"b\" takes no rows"),
        (adding(&[("a", 1, &[-1]), ("b", 1, &[-1])]), &misnamed, "the manifest names \"gone\""),
        (Made::small().with(|made| made.inputs.clear()), &none, "reads \"rows\""),
        (
            Made::small().with(|made| {
                made.inputs.clear();
                made.nodes = vec![node("Relu", &["w"], &["scores"])];
            }),
            &none,
            "inputs: there is none",
        ),
    ] {
        let reason = bound(&made, &["a", "b"], &["p"], declared).expect_err(expected).to_string();
        assert!(reason.contains(expected), "{reason:?} does not say {expected:?}");
    }
}

#[test]
fn scores_are_found_by_name_or_because_nothing_else_can_be() {
    let none = Declared::default();
    let of = |output: &str| Scores::Columns { output: output.to_owned(), columns: None };
    let label_and_scores = giving(&[("label", 7), ("scores", 1)]);
    let scores = |made: &Made, names: &[&str], declared: &Declared| {
        bound(made, &["a", "b"], names, declared)
            .map(|binding| binding.scores)
            .map_err(|error| error.to_string())
    };
    assert_eq!(scores(&label_and_scores, &["p"], &none), Ok(of("scores")));
    let heads = giving(&[("x", 1), ("y", 11), ("z", 1)]);
    assert_eq!(scores(&heads, &["z", "x"], &none), Ok(Scores::Each(vec!["z".into(), "x".into()])));
    assert_eq!(scores(&heads, &["y"], &none), Ok(of("y")));
    let declared = Declared { scores: Some("y".into()), ..Declared::default() };
    assert_eq!(scores(&heads, &["p"], &declared), Ok(of("y")));
    for (made, declared, expected) in [
        (&heads, &none, "any of x, y, z may be the scores"),
        (&giving(&[("label", 7)]), &none, "none has real numbers"),
        (
            &label_and_scores,
            &Declared { scores: Some("label".into()), ..none.clone() },
            "none called \"label\"",
        ),
    ] {
        let reason = scores(made, &["p"], declared).expect_err(expected);
        assert!(reason.contains(expected), "{reason:?} does not say {expected:?}");
    }
}

#[test]
fn columns_are_all_or_the_second_of_two_classes_or_declared() {
    let probability = outputs(&["p"], OutputKind::Probability);
    let three = outputs(&["x", "y", "z"], OutputKind::Value);
    let none = Declared::default();
    let of = |names: &[usize]| Declared { columns: Some(names.into()), ..Declared::default() };
    assert_eq!(columns(1, &probability, &none).ok(), Some(vec![0]));
    assert_eq!(columns(2, &probability, &none).ok(), Some(vec![1]));
    assert_eq!(columns(3, &three, &none).ok(), Some(vec![0, 1, 2]));
    assert_eq!(columns(5, &three, &of(&[4, 0, 1])).ok(), Some(vec![4, 0, 1]));
    for (width, of_model, declared, expected) in [
        (
            2,
            &outputs(&["v"], OutputKind::Value),
            none.clone(),
            "the scores have 2 columns, the model has 1 outputs",
        ),
        (2, &three, none.clone(), "the scores have 2 columns, the model has 3 outputs"),
        (2, &probability, of(&[2]), "there is no column 2 of 2"),
        (2, &probability, of(&[0, 1]), "`network.columns` names 2 columns for 1 outputs"),
    ] {
        let reason = columns(width, of_model, &declared).expect_err(expected).to_string();
        assert!(reason.contains(expected), "{reason:?} does not say {expected:?}");
    }
}
