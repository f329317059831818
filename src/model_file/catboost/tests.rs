use super::*;
use crate::engine::link::Link;
use crate::engine::model::Scorer;

/// A file around the trees, of a float feature of each treatment of NaN.
fn file(trees: &str) -> String {
    format!(
        r#"{{"features_info": {{"float_features": [
            {{"feature_index": 0, "flat_feature_index": 0, "feature_id": "age", "borders": [0.1], "nan_value_treatment": "AsIs"}},
            {{"feature_index": 1, "flat_feature_index": 2, "feature_id": "spend", "borders": [2.5], "nan_value_treatment": "AsTrue"}}],
          "categorical_features": [{{"feature_index": 0, "flat_feature_index": 1, "feature_id": "city"}}]}},
        "model_info": {{"params": {{"loss_function": {{"type": "Logloss"}}}}}},
        {trees}}}"#
    )
}

const SPLITS: &str = r#"[{"split_type": "FloatFeature", "float_feature_index": 0, "border": 0.10000000149011612},
    {"split_type": "FloatFeature", "float_feature_index": 1, "border": 2.5}]"#;

fn raw(model: &TreeModel, row: &[f64]) -> Vec<f64> {
    let mut raw = vec![0.0; model.forest.n_outputs()];
    model.forest.score(row, &mut raw);
    raw
}

#[test]
fn an_oblivious_tree_asks_its_splits_from_the_lowest_bit() {
    let trees = format!(
        r#""oblivious_trees": [{{"splits": {SPLITS}, "leaf_values": [1, 2, 4, 8], "leaf_weights": [0, 0, 3, 5]}}],
        "scale_and_bias": [0.5, [100]]"#
    );
    let model = read(file(&trees).as_bytes()).expect("valid");
    assert_eq!((model.link, &*model.objective), (Link::Logistic, "Logloss"));
    assert_eq!(model.input_names, Some(["age", "city", "spend"].map(str::to_owned).to_vec()));
    let nan = f64::NAN;
    for (row, expected) in [
        // In single precision 0.1 is the border, which it does not pass.
        ([0.1, nan, 2.5], 100.5),
        ([0.2, nan, 2.5], 101.0),
        ([0.1, nan, 2.6], 102.0),
        ([0.2, nan, f64::INFINITY], 104.0),
        ([nan, nan, 0.0], 100.5),
        ([0.2, nan, nan], 104.0),
    ] {
        assert_eq!(raw(&model, &row), [expected], "{row:?}");
    }
    // Leaves that no row of the training data reached have no part in it.
    assert_eq!(model.forest.expected(), Some(&[100.0 + 0.5 * (4.0 * 3.0 + 8.0 * 5.0) / 8.0][..]));
    let contributions = model.forest.contributions(&[0.1, nan, 2.5], 0).expect("weights are known");
    assert!((contributions.iter().sum::<f64>() - 100.5).abs() < 1e-12, "{contributions:?}");
}

#[test]
fn other_trees_hold_their_children_and_leaves_have_a_value_by_class() {
    let split = r#"{"split_type": "FloatFeature", "float_feature_index": 1, "border": 2.5}"#;
    let trees = format!(
        r#""trees": [{{"split": {split}, "left": {{"value": [1, 2, 3], "weight": 1}},
            "right": {{"split": {split}, "left": {{"value": [0, 0, 0], "weight": 0}},
                       "right": {{"value": [4, 5, 6], "weight": 3}}}}}}]"#
    );
    let text = file(&trees).replace("Logloss", "MultiClass");
    let model = read(text.as_bytes()).expect("valid");
    assert_eq!(model.link, Link::Softmax);
    assert_eq!(raw(&model, &[0.0, 0.0, 2.5]), [1.0, 2.0, 3.0]);
    assert_eq!(raw(&model, &[0.0, 0.0, f64::NAN]), [4.0, 5.0, 6.0]);
    assert_eq!(model.forest.expected(), Some(&[3.25, 4.25, 5.25][..]));
}

#[test]
fn a_loss_is_found_where_versions_write_it() {
    let trees = r#""oblivious_trees": [{"splits": [], "leaf_values": [1]}]"#;
    let plain = r#""params": {"loss_function": {"type": "Logloss"}}"#;
    for (form, link) in [
        (plain, Link::Logistic),
        (r#""params": "{\"loss_function\": {\"type\": \"Poisson\"}}""#, Link::Exp),
        (r#""loss_function": "{\"type\": \"RMSE\", \"params\": {}}""#, Link::Identity),
    ] {
        let model = read(file(trees).replace(plain, form).as_bytes()).expect("valid");
        assert_eq!((model.link, raw(&model, &[0.0; 3])), (link, vec![1.0]));
    }
}

#[test]
fn bad_files_are_refused_with_their_place() {
    let oblivious =
        |splits: &str, rest: &str| file(&format!(r#""oblivious_trees": [{{"splits": {splits}, {rest}}}]"#));
    let split = |split: &str| oblivious(&format!("[{{{split}}}]"), r#""leaf_values": [1, 2]"#);
    let leaf = r#""oblivious_trees": [{"leaf_values": [1]}]"#;
    let deep = format!("{}1{}", r#"{"left": "#.repeat(200), "}".repeat(200));
    let cases = [
        (String::new(), "line 1, column 0: EOF while parsing a value"),
        (file(leaf)[..100].to_owned(), "EOF while parsing"),
        (file(r#""oblivious_trees": 3"#), "invalid type: integer `3`"),
        (file(r#""model": 1"#), "the file: not one list of trees, oblivious_trees or trees"),
        (file(&format!(r#"{leaf}, "trees": []"#)), "the file: not one list of trees"),
        (file(&format!("{leaf}, {leaf}")), "duplicate field `oblivious_trees`"),
        (file(&format!(r#""trees": [{deep}]"#)), "recursion limit exceeded"),
        (oblivious(SPLITS, r#""leaf_values": [1, 2, 3]"#), "oblivious_trees[0]: 3 leaf_values for 4 leaves"),
        (oblivious(SPLITS, r#""leaf_values": []"#), "oblivious_trees[0]: 0 leaf_values for 4 leaves"),
        (oblivious("[]", r#""leaf_values": [1e999]"#), "number out of range"),
        (oblivious("[]", r#""leaf_values": [null]"#), "invalid type: null"),
        (
            oblivious("[]", r#""leaf_values": [1], "leaf_weights": [1, 2]"#),
            "oblivious_trees[0]: 2 leaf_weights for 1 leaves",
        ),
        (
            oblivious("[]", r#""leaf_values": [1], "leaf_weights": [-1]"#),
            "the cover -1 is not a finite weight",
        ),
        (
            oblivious(&format!("[{}]", ["{}"; 60].join(",")), r#""leaf_values": [1]"#),
            "oblivious_trees[0]: 60 splits, of at most 20",
        ),
        (
            split(r#""float_feature_index": 0"#),
            "oblivious_trees[0], split 0: no float_feature_index or no border",
        ),
        (
            split(r#""float_feature_index": 2, "border": 1"#),
            "oblivious_trees[0], split 0: float feature 2, but there are 2",
        ),
        (split(r#""float_feature_index": -1, "border": 1"#), "invalid value: integer `-1`"),
        (
            split(r#""split_type": "OneHotFeature", "cat_feature_index": 0, "value": 7"#),
            r#"the categorical feature "city" (one-hot) is not supported"#,
        ),
        (split(r#""split_type": "OnlineCtr""#), "a CTR of categorical features is not supported"),
        (
            split(r#""split_type": "EstimatedFeature""#),
            r#"a split of type "EstimatedFeature" is not supported"#,
        ),
        (
            file(r#""oblivious_trees": [{"leaf_values": [1]}, {"leaf_values": [1, 2]}]"#),
            "tree 1: 2 values a leaf, but those before have 1",
        ),
        (file(r#""oblivious_trees": [{"leaf_values": [1, 2]}]"#), "2 outputs, of the loss Logloss"),
        (
            file(&format!(r#"{leaf}, "scale_and_bias": [1, [0, 0]]"#)),
            "scale_and_bias: 2 biases for 1 outputs",
        ),
        (file(r#""oblivious_trees": [], "scale_and_bias": [1, []]"#), "0 outputs, of 1 to 1024"),
        (
            file(&format!(r#""oblivious_trees": [{{"leaf_values": [{}1]}}]"#, "1,".repeat(2_000))),
            "2001 outputs, of 1 to 1024",
        ),
        (
            file(r#""trees": [{"weight": 1}]"#),
            "trees[0], node 0: neither a split with left and right nor a leaf",
        ),
        (
            file(
                r#""trees": [{"split": {"float_feature_index": 0, "border": 1}, "left": {"value": 1}, "right": {"value": [1, 2]}}]"#,
            ),
            "trees[0], node 2: not as many values as the other leaves have",
        ),
        (
            file(leaf).replace(r#""feature_index": 1,"#, r#""feature_index": 7,"#),
            "float_features[1]: its feature_index is 7",
        ),
        (
            file(leaf).replace(r#""flat_feature_index": 1"#, r#""flat_feature_index": 0"#),
            "features_info: two features of flat_feature_index 0",
        ),
        (
            file(leaf).replace(r#""flat_feature_index": 1"#, r#""flat_feature_index": 4000000000"#),
            "features_info: 4000000001 inputs, of at most 65536",
        ),
        (file(leaf).replace("AsTrue", "AsMean"), "unknown variant `AsMean`"),
        (
            file(leaf).replace("loss_function", "loss"),
            "model_info: neither params.loss_function nor loss_function",
        ),
        (
            file(leaf).replace("Logloss", "RMSEWithUncertainty"),
            "the loss RMSEWithUncertainty is not supported",
        ),
        (
            file(&format!("{leaf}, \"a\": [{}1]", "1,".repeat(17_000_000))),
            "the file: more than 16777216 values",
        ),
    ];
    for (content, expected) in cases {
        let error = read(content.as_bytes()).expect_err(expected).to_string();
        assert!(
            error.starts_with("CatBoost JSON: ") && error.contains(expected),
            "{error}\nis not {expected}"
        );
    }
}

/// Each leaf is copied for every output: the copies are counted before they are made.
#[test]
fn small_files_of_many_nodes_are_refused() {
    let tree = format!(r#"{{"leaf_values": [{}1]}}"#, "1,".repeat(1_023));
    let trees = vec![&*tree; 2_100].join(",");
    let text = file(&format!(r#""oblivious_trees": [{trees}]"#)).replace("Logloss", "MultiClass");
    let error = read(text.as_bytes()).expect_err("too many").to_string();
    assert!(error.contains("more than 2097152 nodes, at tree 2048"), "{error}");
}
