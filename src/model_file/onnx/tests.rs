//! Files written by hand: what they score, and what is refused.

use super::*;
use crate::engine::link::Link;
use crate::engine::model::Scorer;

type Bytes = Vec<u8>;

fn varint(mut value: u64) -> Bytes {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn number(field: u64, value: i64) -> Bytes {
    [varint(field << 3), varint(value as u64)].concat()
}

fn message(field: u64, content: &[u8]) -> Bytes {
    [varint(field << 3 | 2), varint(content.len() as u64), content.to_vec()].concat()
}

fn floats(values: &[f32]) -> Bytes {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// An attribute's value, without its name.
fn ints_value(values: &[i64]) -> Bytes {
    values.iter().flat_map(|&value| number(8, value)).collect()
}

fn texts_value(values: &[&str]) -> Bytes {
    values.iter().flat_map(|value| message(9, value.as_bytes())).collect()
}

fn tensor_value(data_type: i64, dims: &[i64], raw: &[u8]) -> Bytes {
    let dims = dims.iter().flat_map(|&dim| number(1, dim));
    let tensor = dims.chain(number(2, data_type)).chain(message(9, raw)).collect::<Bytes>();
    message(5, &tensor)
}

/// An operator with attributes by name.
#[derive(Clone)]
struct Made {
    operator: &'static str,
    attributes: Vec<(&'static str, Bytes)>,
    outputs: Vec<&'static str>,
    n_columns: i64,
    /// Nodes before and after.
    before: Vec<Bytes>,
    after: Vec<Bytes>,
    /// The initializer "constant".
    constant: f32,
    result: &'static str,
    trees_read: &'static str,
}

fn node(operator: &str, domain: &str, inputs: &[&str], outputs: &[&str], attributes: &[u8]) -> Bytes {
    let inputs = inputs.iter().flat_map(|name| message(1, name.as_bytes()));
    let outputs = outputs.iter().flat_map(|name| message(2, name.as_bytes()));
    let names = [message(4, operator.as_bytes()), message(7, domain.as_bytes())].concat();
    inputs.chain(outputs).chain(names).chain(attributes.iter().copied()).collect()
}

fn attribute(name: &str, value: &[u8]) -> Bytes {
    message(5, &[message(1, name.as_bytes()), value.to_vec()].concat())
}

impl Made {
    /// A stump on the second of two inputs, left at most 1.5.
    fn stump(operator: &'static str, of_output: [&'static str; 4]) -> Self {
        let [trees, nodes, ids, weights] = of_output;
        Self {
            operator,
            attributes: vec![
                ("nodes_treeids", ints_value(&[0, 0, 0])),
                ("nodes_nodeids", ints_value(&[0, 1, 2])),
                ("nodes_featureids", ints_value(&[1, 0, 0])),
                ("nodes_values", message(7, &floats(&[1.5, 0.0, 0.0]))),
                ("nodes_modes", texts_value(&["BRANCH_LEQ", "LEAF", "LEAF"])),
                ("nodes_truenodeids", ints_value(&[1, 0, 0])),
                ("nodes_falsenodeids", ints_value(&[2, 0, 0])),
                (trees, ints_value(&[0, 0])),
                (nodes, ints_value(&[1, 2])),
                (ids, ints_value(&[0, 0])),
                (weights, message(7, &floats(&[0.25, 0.5]))),
            ],
            outputs: vec!["scores"],
            n_columns: 2,
            before: Vec::new(),
            after: Vec::new(),
            constant: 1.0,
            result: "scores",
            trees_read: "rows",
        }
    }

    fn regressor() -> Self {
        let of_output = ["target_treeids", "target_nodeids", "target_ids", "target_weights"];
        Self::stump("TreeEnsembleRegressor", of_output)
    }

    fn classifier(n_classes: i64) -> Self {
        let of_output = ["class_treeids", "class_nodeids", "class_ids", "class_weights"];
        let mut made = Self::stump("TreeEnsembleClassifier", of_output);
        made.outputs = vec!["labels", "scores"];
        made.with("classlabels_int64s", ints_value(&(0..n_classes).collect::<Vec<_>>()))
    }

    fn unified() -> Self {
        let mut made = Self::regressor();
        made.operator = "TreeEnsemble";
        made.attributes = vec![
            ("tree_roots", ints_value(&[0])),
            ("nodes_featureids", ints_value(&[0, 1])),
            ("nodes_modes", tensor_value(2, &[2], &[6, 1])),
            ("nodes_splits", tensor_value(1, &[2], &floats(&[0.0, 1.5]))),
            ("nodes_truenodeids", ints_value(&[0, 1])),
            ("nodes_trueleafs", ints_value(&[1, 1])),
            ("nodes_falsenodeids", ints_value(&[1, 0])),
            ("nodes_falseleafs", ints_value(&[0, 1])),
            ("membership_values", tensor_value(1, &[2], &floats(&[2.0, 4.0]))),
            ("leaf_targetids", ints_value(&[0, 0])),
            ("leaf_weights", tensor_value(1, &[2], &floats(&[0.25, 0.5]))),
        ];
        made
    }

    fn with(mut self, name: &'static str, value: Bytes) -> Self {
        self.attributes.retain(|(other, _)| *other != name);
        self.attributes.push((name, value));
        self
    }

    fn with_text(self, name: &'static str, text: &str) -> Self {
        self.with(name, message(4, text.as_bytes()))
    }

    fn changed(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn file(&self) -> Bytes {
        let dim = |value: i64| message(1, &number(1, value));
        let shape = [message(1, b""), dim(self.n_columns)].concat();
        let tensor = [number(1, 1), message(2, &shape)].concat();
        let input = [message(1, b"rows"), message(2, &message(1, &tensor))].concat();
        let attributes: Bytes =
            self.attributes.iter().flat_map(|(name, value)| attribute(name, value)).collect();
        let trees = node(self.operator, "ai.onnx.ml", &[self.trees_read], &self.outputs, &attributes);
        let nodes = self.before.iter().chain([&trees]).chain(&self.after);
        let constant =
            [number(2, 1), message(4, &floats(&[self.constant])), message(8, b"constant")].concat();
        let graph: Bytes = nodes
            .flat_map(|node| message(1, node))
            .chain(message(5, &constant))
            .chain(message(11, &input))
            .chain(message(12, &message(1, self.result.as_bytes())))
            .collect();
        message(7, &graph)
    }

    fn read(&self) -> TreeModel {
        read(&self.file()).expect("valid")
    }
}

fn raw(model: &TreeModel, row: &[f64]) -> Vec<f64> {
    let mut raw = vec![0.0; model.forest.n_outputs()];
    model.forest.score(row, &mut raw);
    raw
}

#[test]
fn modes_compare_as_they_are_called_and_missing_values_are_no_numbers() {
    let infinity = f64::INFINITY;
    for (mode, of_true) in [
        ("BRANCH_LEQ", [true, true, false, false]),
        ("BRANCH_LT", [true, false, false, false]),
        ("BRANCH_GTE", [false, true, true, false]),
        ("BRANCH_GT", [false, false, true, false]),
        ("BRANCH_EQ", [false, true, false, false]),
        ("BRANCH_NEQ", [true, false, true, true]),
    ] {
        for tracks in [0, 1] {
            let model = Made::regressor()
                .with("nodes_modes", texts_value(&[mode, "LEAF", "LEAF"]))
                .with("nodes_missing_value_tracks_true", ints_value(&[tracks, 0, 0]))
                .read();
            for (value, of_true) in [1.0, 1.5, infinity, f64::NAN].into_iter().zip(of_true) {
                let of_true = of_true || tracks == 1 && value.is_nan();
                let expected = if of_true { 0.25 } else { 0.5 };
                assert_eq!(raw(&model, &[9.0, value]), [expected], "{mode} {value}");
            }
        }
    }
    let infinite = |mode| {
        let made = Made::regressor().with("nodes_modes", texts_value(&[mode, "LEAF", "LEAF"]));
        made.with("nodes_values", message(7, &floats(&[f32::INFINITY, 0.0, 0.0]))).read()
    };
    assert_eq!(raw(&infinite("BRANCH_EQ"), &[0.0, infinity]), [0.25]);
    assert_eq!(raw(&infinite("BRANCH_NEQ"), &[0.0, infinity]), [0.5]);
}

#[test]
fn sets_have_their_members() {
    let model = Made::unified().read();
    for (first, second, expected) in
        [(2.0, 9.0, 0.25), (4.0, 9.0, 0.25), (3.0, 1.0, 0.5), (3.0, 2.0, 0.25), (f64::NAN, 1.0, 0.5)]
    {
        assert_eq!(raw(&model, &[first, second]), [expected], "{first} {second}");
    }
}

/// As ONNX Runtime 1.32 answers.
#[test]
fn two_classes_of_one_column_have_opposite_scores() {
    let row = [0.0, 1.0];
    let made = Made::classifier(2);
    let model = made.read();
    assert_eq!((raw(&model, &row), model.link), (vec![0.75, 0.25], Link::Identity));
    let model = made.clone().with("base_values", message(7, &floats(&[0.125]))).read();
    assert_eq!((raw(&model, &row), model.link), (vec![0.625, 0.375], Link::Identity));
    let model = made.clone().with("class_weights", message(7, &floats(&[0.25, -0.5]))).read();
    assert_eq!((raw(&model, &row), model.link), (vec![-0.25, 0.25], Link::Identity));
    let model = made.clone().with_text("post_transform", "LOGISTIC").read();
    assert_eq!((raw(&model, &row), model.link), (vec![-0.25, 0.25], Link::Logistic));
    let model = made.with("class_ids", ints_value(&[1, 1])).with_text("post_transform", "SOFTMAX").read();
    assert_eq!((raw(&model, &row), model.link), (vec![0.0, 0.25], Link::Softmax));
}

#[test]
fn outputs_without_a_weight_have_their_base_values() {
    let base = message(7, &floats(&[1.0, 2.0, 4.0]));
    let model = Made::classifier(3).with("base_values", base.clone()).read();
    assert_eq!(raw(&model, &[0.0, 1.0]), [1.25, 2.0, 4.0]);
    // Of targets the runtime then has none.
    let made = Made::regressor().with("n_targets", number(3, 3)).with("base_values", base);
    assert_eq!(raw(&made.read(), &[0.0, 1.0]), [1.25, 0.0, 0.0]);
    let mean = made.with_text("aggregate_function", "AVERAGE").read();
    assert_eq!(raw(&mean, &[0.0, 1.0]), [1.25, 0.0, 0.0]);
    assert!(mean.forest.frame().arithmetic.mean);
}

#[test]
fn what_passes_values_on_may_stand_around_the_trees() {
    let model = Made::classifier(2)
        .changed(|made| {
            made.before = vec![node("Cast", "", &["rows"], &["cast"], &attribute("to", &number(3, 11)))];
            made.trees_read = "cast";
            made.after = vec![
                node("Identity", "", &["scores"], &["same"], b""),
                node("Mul", "", &["same", "constant"], &["times one"], b""),
                node("ZipMap", "ai.onnx.ml", &["times one"], &["maps"], b""),
                node("ArrayFeatureExtractor", "ai.onnx.ml", &["labels"], &["other"], b""),
            ];
            made.result = "maps";
        })
        .read();
    let arithmetic = Arithmetic { inputs: crate::engine::forest::Precision::Single, ..Arithmetic::default() };
    assert_eq!(model.forest.frame().arithmetic, arithmetic);
    assert_eq!(raw(&model, &[0.0, 2.0]), [0.5, 0.5]);
}

#[test]
fn graphs_that_compute_more_are_no_tree_models() {
    let scaled = |made: &mut Made| {
        made.before = vec![node("Scaler", "ai.onnx.ml", &["rows"], &["scaled"], b"")];
        made.trees_read = "scaled";
    };
    let transformed = |made: &mut Made| {
        made.after = vec![node("Exp", "", &["scores"], &["exp"], b"")];
        made.result = "exp";
    };
    let rounded = |made: &mut Made| {
        made.after = vec![node("Cast", "", &["scores"], &["cast"], &attribute("to", &number(3, 7)))];
    };
    let doubled = |made: &mut Made| {
        made.constant = 2.0;
        made.after = vec![node("Mul", "", &["scores", "constant"], &["product"], b"")];
        made.result = "product";
    };
    let squared = |made: &mut Made| {
        made.after = vec![node("Mul", "", &["scores", "scores"], &["product"], b"")];
        made.result = "product";
    };
    let twice = |made: &mut Made| {
        made.after = vec![node("TreeEnsembleRegressor", "ai.onnx.ml", &["rows"], &["more"], b"")];
    };
    for (made, operator) in [
        (Made::regressor().changed(scaled), "Scaler"),
        (Made::regressor().changed(transformed), "Exp"),
        (Made::regressor().changed(rounded), "Cast"),
        (Made::regressor().changed(doubled), "Mul"),
        (Made::regressor().changed(squared), "Mul"),
        (Made::regressor().changed(twice), "TreeEnsembleRegressor more than once"),
        (Made::regressor().changed(|made| made.operator = "MatMul"), "MatMul"),
        (Made::regressor().changed(|made| made.trees_read = "elsewhere"), "TreeEnsembleRegressor"),
    ] {
        match read(&made.file()) {
            Err(Error::NotTrees { operator: found }) => assert_eq!(found, operator),
            other => panic!("{operator}: {other:?}"),
        }
    }
}

#[test]
fn bad_files_are_refused_with_their_place() {
    let regressor = Made::regressor;
    let tensor =
        |value| regressor().with("target_weights", b"".to_vec()).with("target_weights_as_tensor", value);
    let outside = message(5, &[number(1, 2), number(2, 1), number(14, 1)].concat());
    let huge = regressor().file();
    let cases = [
        (Vec::new(), "the model: no graph"),
        (b"not a model at all".to_vec(), "byte"),
        (huge[..huge.len() - 1].to_vec(), "byte 3: the file ends within a field"),
        (message(7, &varint(1 << 3 | 7)), "no field has this wire type"),
        (regressor().changed(|made| made.result = "other").file(), "no output has the scores"),
        (regressor().changed(|made| made.n_columns = 1).file(), "input 1, but there are 1"),
        (regressor().changed(|made| made.n_columns = i64::MAX).file(), "inputs, of at most 65536"),
        (
            regressor().changed(|made| made.attributes.push(("nodes_treeids", ints_value(&[0])))).file(),
            r#"attribute "nodes_treeids": set twice"#,
        ),
        (
            regressor().with("nodes_nodeids", ints_value(&[0, 1])).file(),
            "nodes_nodeids: 2 values, but nodes_treeids has 3",
        ),
        (
            regressor().with("nodes_values", b"".to_vec()).file(),
            "nodes_values: 0 values, but nodes_treeids has 3",
        ),
        (
            regressor().with("nodes_missing_value_tracks_true", ints_value(&[1])).file(),
            "nodes_missing_value_tracks_true: 1 values",
        ),
        (
            regressor().with("target_ids", ints_value(&[0])).file(),
            "target_ids: 1 values, but target_treeids has 2",
        ),
        (
            regressor().with("nodes_nodeids", ints_value(&[0, 1, 1])).file(),
            "nodes_nodeids[2]: tree 0 has two nodes 1",
        ),
        (
            regressor().with("nodes_modes", texts_value(&["BRANCH_IN", "LEAF", "LEAF"])).file(),
            r#"nodes_modes[0]: "BRANCH_IN" is none"#,
        ),
        (
            regressor().with("nodes_truenodeids", ints_value(&[7, 0, 0])).file(),
            "nodes_truenodeids[0]: tree 0 has no node 7",
        ),
        (
            regressor().with("nodes_truenodeids", ints_value(&[0, 0, 0])).file(),
            "child 0 has been reached before (a cycle, or shared)",
        ),
        (
            regressor().with("nodes_falsenodeids", ints_value(&[1, 0, 0])).file(),
            "child 1 has been reached before (a cycle, or shared)",
        ),
        (
            regressor().with("nodes_featureids", ints_value(&[-1, 0, 0])).file(),
            "nodes_featureids[0]: the input -1",
        ),
        (
            regressor().with("nodes_values", message(7, &floats(&[f32::NAN, 0.0, 0.0]))).file(),
            "the threshold is not a number",
        ),
        (
            regressor().with("target_weights", message(7, &floats(&[f32::INFINITY, 0.0]))).file(),
            "the leaf value inf is not finite",
        ),
        (
            regressor().with("target_nodeids", ints_value(&[1, 9])).file(),
            "target_treeids[1]: tree 0 has no node 9",
        ),
        (
            regressor().with("target_nodeids", ints_value(&[1, 0])).file(),
            "target_treeids[1]: the node is no leaf",
        ),
        (
            regressor().with("target_nodeids", ints_value(&[1, 1])).file(),
            "tree 0, node 1: two weights of output 0",
        ),
        (regressor().with("target_ids", ints_value(&[0, 1])).file(), "a weight of output 1, but there are 1"),
        (regressor().with("target_ids", ints_value(&[0, -1])).file(), "target_treeids[1]: the output -1"),
        (regressor().with("n_targets", number(3, 1 << 40)).file(), "1099511627776 outputs, of 1 to 1024"),
        (regressor().with("n_targets", number(3, -1)).file(), "0 outputs, of 1 to 1024"),
        (
            regressor().with("base_values", message(7, &floats(&[1.0, 2.0]))).file(),
            "base_values: 2 for 1 targets",
        ),
        (regressor().with("base_values", message(7, &[0; 3])).file(), "packed floats of no whole number"),
        (
            regressor().with_text("aggregate_function", "MAX").file(),
            "the aggregate_function MAX is not supported",
        ),
        (regressor().with_text("aggregate_function", "MODE").file(), r#"aggregate_function: "MODE" is none"#),
        (
            regressor().with_text("post_transform", "PROBIT").file(),
            "the post_transform PROBIT is not supported",
        ),
        (regressor().with_text("post_transform", "EXP").file(), r#"post_transform: "EXP" is none"#),
        (
            tensor(tensor_value(1, &[1 << 40], &floats(&[1.0, 2.0]))).file(),
            "target_weights_as_tensor: a tensor of 1099511627776 numbers that holds 2",
        ),
        (
            tensor(tensor_value(1, &[i64::MAX, i64::MAX], &[])).file(),
            "a tensor of 18446744073709551615 numbers that holds 0",
        ),
        (tensor(tensor_value(8, &[2], &[])).file(), "a tensor of the type 8, not of floats or doubles"),
        (tensor(outside).file(), "target_weights_as_tensor: its data is outside the file"),
        (
            regressor().with("target_weights_as_tensor", tensor_value(1, &[2], &floats(&[1.0, 2.0]))).file(),
            "target_weights: target_weights_as_tensor is there, too",
        ),
        (Made::classifier(1).file(), "classlabels: 1 classes, of at least 2"),
        (
            Made::classifier(2).with("base_values", message(7, &floats(&[1.0, 2.0]))).file(),
            "2 base_values of two classes is not supported",
        ),
        (
            Made::classifier(2).with("class_ids", ints_value(&[0, 1])).file(),
            "a score of class 1, for which some leaves have no weight, is not supported",
        ),
        (
            Made::classifier(2).with("classlabels_strings", texts_value(&["no", "yes"])).file(),
            "classlabels: both texts and numbers",
        ),
        (Made::unified().with("tree_roots", ints_value(&[2])).file(), "tree_roots[0]: there is no node 2"),
        (Made::unified().with("tree_roots", ints_value(&[1])).file(), "node 0: in no tree"),
        (
            Made::unified().with("tree_roots", ints_value(&[0, 0])).file(),
            "node 0: reached twice (a cycle, or shared)",
        ),
        (
            Made::unified().with("nodes_falsenodeids", ints_value(&[0, 0])).file(),
            "node 0: reached twice (a cycle, or shared)",
        ),
        (
            Made::unified().with("nodes_truenodeids", ints_value(&[0, 2])).file(),
            "nodes_truenodeids[1]: there is no leaf 2",
        ),
        (
            Made::unified().with("nodes_modes", tensor_value(2, &[2], &[6, 7])).file(),
            "nodes_modes[1]: 7 is none",
        ),
        (
            Made::unified().with("nodes_modes", tensor_value(2, &[2], &[6, 6])).file(),
            "membership_values: fewer sets than nodes that ask for one",
        ),
        (
            Made::unified().with("nodes_modes", tensor_value(2, &[2], &[0, 0])).file(),
            "membership_values: more sets than nodes that ask for one",
        ),
        (
            Made::unified().with("leaf_weights", tensor_value(1, &[1], &floats(&[1.0]))).file(),
            "leaf_weights: 1 values, but leaf_targetids has 2",
        ),
        (Made::unified().with("aggregate_function", number(3, 2)).file(), "the aggregate_function MIN"),
        (
            Made::unified().with("post_transform", number(3, 1)).file(),
            "the post_transform 1 of a TreeEnsemble is not supported",
        ),
        (Made::unified().with("post_transform", number(3, 5)).file(), "post_transform: 5 is none"),
    ];
    let mut others = Vec::new();
    for (content, expected) in cases {
        let found = read(&content).map_or_else(|error| error.to_string(), |_| "read".to_owned());
        if !found.starts_with("ONNX: ") || !found.contains(expected) {
            others.push(format!("{found}\nis not {expected}"));
        }
    }
    assert!(others.is_empty(), "{}", others.join("\n"));
}

/// A matrix beside its own copy, forty times: 2^40 columns.
#[test]
fn columns_that_double_are_refused() {
    let made = Made::regressor().changed(|made| {
        (made.n_columns, made.trees_read) = (1, "c39");
        let along_columns = attribute("axis", &number(3, 1));
        for round in 0..40 {
            let (copy, twice) = (format!("d{round}"), format!("c{round}"));
            let before = if round == 0 { "rows".to_owned() } else { format!("c{}", round - 1) };
            made.before.push(node("Identity", "", &[&before], &[&copy], &[]));
            made.before.push(node("Concat", "", &[&before, &copy], &[&twice], &along_columns));
        }
    });
    let error = read(&made.file()).expect_err("too many columns").to_string();
    assert!(error.contains("Concat"), "{error}");
}

/// Two thousand columns, and a thousand copies of all of them.
#[test]
fn columns_that_are_copied_without_end_are_refused() {
    let made = Made::regressor().changed(|made| {
        (made.n_columns, made.trees_read) = (1, "copy0");
        let along_columns = attribute("axis", &number(3, 1));
        let mut widest = "rows".to_owned();
        for round in 0..11 {
            let (copy, twice) = (format!("d{round}"), format!("c{round}"));
            made.before.push(node("Identity", "", &[&widest], &[&copy], &[]));
            made.before.push(node("Concat", "", &[&widest, &copy], &[&twice], &along_columns));
            widest = twice;
        }
        let copies: Vec<String> = (0..1_000).map(|copy| format!("copy{copy}")).collect();
        let copies: Vec<&str> = copies.iter().map(String::as_str).collect();
        made.before.push(node("Identity", "", &[&widest], &copies, &[]));
    });
    let error = read(&made.file()).expect_err("too many copies").to_string();
    assert!(error.contains("its columns are passed on too often"), "{error}");
}

/// Lists are bounded before there are trees of them, and trees before they are
/// copied for every output.
#[test]
fn small_files_of_many_nodes_are_refused() {
    let many = message(8, &vec![0; Forest::MAX_NODES + 1]);
    let error =
        read(&Made::regressor().with("nodes_treeids", many).file()).expect_err("too many").to_string();
    assert!(error.contains("nodes_treeids: more than 2097152 values"), "{error}");

    let n_trees = 3_000;
    let ids: Vec<i64> = (0..n_trees).collect();
    let zeros = vec![0; ids.len()];
    let numbers = message(7, &floats(&vec![0.0; ids.len()]));
    let made = Made::regressor()
        .with("nodes_treeids", ints_value(&ids))
        .with("nodes_modes", texts_value(&vec!["LEAF"; ids.len()]))
        .with("nodes_values", numbers.clone())
        .with("target_treeids", ints_value(&ids))
        .with("target_weights", numbers)
        .with("n_targets", number(3, 1_024))
        .with_text("aggregate_function", "AVERAGE");
    let zero =
        ["nodes_nodeids", "nodes_featureids", "nodes_truenodeids", "nodes_falsenodeids", "target_nodeids"];
    let made = zero.into_iter().fold(made, |made, name| made.with(name, ints_value(&zeros)));
    let error = read(&made.with("target_ids", ints_value(&zeros)).file()).expect_err("too many").to_string();
    assert!(error.contains("20001 trees, of at most 20000"), "{error}");
}

/// Three numbers of one input, all with the true child 3, as LightGBM's converter writes a set.
fn chain(tracks: [i64; 5], trues: [i64; 5], falses: [i64; 5]) -> Made {
    Made::regressor()
        .with("nodes_treeids", ints_value(&[0; 5]))
        .with("nodes_nodeids", ints_value(&[0, 1, 2, 3, 4]))
        .with("nodes_featureids", ints_value(&[1, 1, 1, 0, 0]))
        .with("nodes_values", message(7, &floats(&[7.0, 2.0, 3.0, 0.0, 0.0])))
        .with("nodes_modes", texts_value(&["BRANCH_EQ", "BRANCH_EQ", "BRANCH_EQ", "LEAF", "LEAF"]))
        .with("nodes_missing_value_tracks_true", ints_value(&tracks))
        .with("nodes_truenodeids", ints_value(&trues))
        .with("nodes_falsenodeids", ints_value(&falses))
        .with("target_nodeids", ints_value(&[3, 4]))
}

#[test]
fn a_chain_of_numbers_with_one_true_child_is_a_set() {
    for (tracks, missing) in [([0; 5], 0.5), ([0, 0, 1, 0, 0], 0.25), ([1, 0, 0, 0, 0], 0.25)] {
        let model = chain(tracks, [3, 3, 3, 0, 0], [1, 2, 4, 0, 0]).read();
        assert_eq!(model.forest.trees()[0].nodes.len(), 3);
        for (value, expected) in [(7.0, 0.25), (2.0, 0.25), (3.0, 0.25), (2.5, 0.5), (f64::NAN, missing)] {
            assert_eq!(raw(&model, &[9.0, value]), [expected], "{value} {tracks:?}");
        }
    }
    for (falses, expected) in [
        ([1, 2, 0, 0, 0], "a cycle, or shared"),
        ([1, 2, 1, 0, 0], "a cycle, or shared"),
        ([4, 2, 1, 0, 0], "cannot be reached from the root"),
    ] {
        let error = read(&chain([0; 5], [3, 3, 3, 0, 0], falses).file()).expect_err("a cycle").to_string();
        assert!(error.contains(expected), "{error}");
    }
}
