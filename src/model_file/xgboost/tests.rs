use serde_json::{Value, json};

use super::*;
use crate::engine::link::Link;
use crate::engine::model::Scorer;

/// A split at 0.5 of the first input, whose left child is one on categories of the second.
fn tree() -> Value {
    json!({
        "tree_param": {"num_nodes": "5", "size_leaf_vector": "1"},
        "left_children": [1, 3, -1, -1, -1], "right_children": [2, 4, -1, -1, -1],
        "split_indices": [0, 1, 0, 0, 0], "split_conditions": [0.5, 0.0, 4.0, 1.0, 2.0],
        "default_left": [0, 1, 0, 1, 0], "split_type": [0, 1, 0, 0, 0],
        "sum_hessian": [10.0, 5.0, 5.0, 2.0, 3.0],
        "categories": [0, 2, 3], "categories_nodes": [1], "categories_segments": [0], "categories_sizes": [3],
        "ignored": {"a": [1, [2], {}]},
    })
}

fn document(trees: &[Value]) -> Value {
    json!({
        "learner": {
            "feature_names": ["age", "city"],
            "gradient_booster": {"name": "gbtree", "model": {
                "gbtree_model_param": {"num_trees": trees.len().to_string(), "size_leaf_vector": "0"},
                "tree_info": vec![0; trees.len()],
                "trees": trees,
            }},
            "learner_model_param": {"base_score": "5E-1", "num_class": "0", "num_feature": "2", "num_target": "1"},
            "objective": {"name": "binary:logistic"},
        },
        "version": [2, 1, 4],
    })
}

fn good() -> Value {
    document(&[tree()])
}

/// UBJSON, with lists of numbers of one type as XGBoost writes them.
fn ubjson(value: &Value) -> Vec<u8> {
    fn length(n: usize, out: &mut Vec<u8>) {
        out.push(b'L');
        out.extend((n as i64).to_be_bytes());
    }
    fn write(value: &Value, out: &mut Vec<u8>) {
        match value {
            Value::Null => out.push(b'Z'),
            Value::Bool(value) => out.push(if *value { b'T' } else { b'F' }),
            Value::Number(number) => match number.as_i64() {
                Some(number) => {
                    out.push(b'L');
                    out.extend(number.to_be_bytes());
                }
                None => {
                    out.push(b'd');
                    out.extend((number.as_f64().expect("a number") as f32).to_be_bytes());
                }
            },
            Value::String(text) => {
                out.push(b'S');
                length(text.len(), out);
                out.extend(text.bytes());
            }
            Value::Array(list) if !list.is_empty() && list.iter().all(Value::is_f64) => {
                out.extend(b"[$d#");
                length(list.len(), out);
                list.iter().for_each(|number| {
                    out.extend((number.as_f64().expect("a number") as f32).to_be_bytes());
                });
            }
            Value::Array(list) if !list.is_empty() && list.iter().all(Value::is_i64) => {
                out.extend(b"[$l#");
                length(list.len(), out);
                list.iter().for_each(|number| {
                    out.extend((number.as_i64().expect("a number") as i32).to_be_bytes());
                });
            }
            Value::Array(list) => {
                out.extend(b"[#");
                length(list.len(), out);
                list.iter().for_each(|value| write(value, out));
            }
            Value::Object(object) => {
                out.push(b'{');
                for (name, value) in object {
                    length(name.len(), out);
                    out.extend(name.bytes());
                    write(value, out);
                }
                out.push(b'}');
            }
        }
    }
    let mut out = Vec::new();
    write(value, &mut out);
    out
}

/// The model, which both forms of the document give.
fn model(document: &Value) -> TreeModel {
    let of_json = read_json(document.to_string().as_bytes()).expect("valid");
    let of_ubjson = read_ubjson(&ubjson(document)).expect("valid");
    assert_eq!(TreeModel { format: Format::XgboostJson, ..of_ubjson }, of_json);
    of_json
}

#[test]
fn categories_that_are_listed_go_right_and_all_else_left() {
    let model = model(&good());
    assert_eq!((model.link, &*model.objective), (Link::Logistic, "binary:logistic"));
    assert_eq!(model.input_names, Some(vec!["age".to_owned(), "city".to_owned()]));
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    for (row, expected) in [
        ([0.4, 0.0], 2.0),
        ([0.4, -0.0], 2.0),
        ([0.4, 2.9], 2.0),
        // 4 in single precision.
        ([0.4, 4.0 - 1e-12], 1.0),
        ([0.4, 1.0], 1.0),
        ([0.4, -0.5], 1.0),
        ([0.4, inf], 1.0),
        ([0.4, -inf], 1.0),
        ([0.4, nan], 1.0),
        ([nan, 0.0], 4.0),
        ([0.5, 0.0], 4.0),
        ([0.5 - 1e-12, 0.0], 4.0),
    ] {
        assert_eq!(model.forest.raw(&row), expected, "{row:?}");
    }
    assert_eq!(model.forest.expected(), Some(&[(1.0 * 2.0 + 2.0 * 3.0 + 4.0 * 5.0) / 10.0][..]));
    let contributions = model.forest.contributions(&[0.4, 1.0], 0).expect("hessians are known");
    assert!((contributions.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{contributions:?}");
}

#[test]
fn base_scores_are_numbers_or_texts_or_lists() {
    let cases = [
        (json!("2.5E-1"), [-1.098_612_3_f32; 2]),
        (json!(0.25), [-1.098_612_3; 2]),
        (json!("[2.5E-1]"), [-1.098_612_3; 2]),
        (json!("[5E-1, 2.5E-1]"), [0.0, -1.098_612_3]),
        (json!([0.5, 0.25]), [0.0, -1.098_612_3]),
    ];
    for (score, expected) in cases {
        let mut document = document(&[]);
        document["learner"]["learner_model_param"]["num_target"] = json!("2");
        document["learner"]["learner_model_param"]["base_score"] = score.clone();
        assert_eq!(model(&document).forest.frame().base, expected.map(f64::from), "{score}");
    }
}

#[test]
fn sums_are_in_single_precision_in_the_order_of_the_trees() {
    let leaf = |value: f32| {
        json!({"tree_param": {"num_nodes": "1"}, "left_children": [-1], "right_children": [-1],
            "split_indices": [0], "split_conditions": [value], "default_left": [false]})
    };
    let values = [1e8_f32, 1.0, -1e8, 0.3];
    let mut document = document(&values.map(leaf));
    assert_eq!(model(&document).forest.raw(&[0.0, 0.0]), f64::from(0.3_f32));
    // Weights are multiplied in single precision, too.
    let booster = document["learner"]["gradient_booster"].clone();
    let weights = [0.0_f32, 0.1, 0.0, 0.7];
    document["learner"]["gradient_booster"] =
        json!({"name": "dart", "gbtree": booster, "weight_drop": weights});
    assert_eq!(model(&document).forest.raw(&[0.0, 0.0]), f64::from(0.1_f32 + 0.3_f32 * 0.7));
}

#[test]
fn nodes_that_pruning_took_out_are_left_out() {
    let pruned = json!({
        "tree_param": {"num_nodes": "7"},
        "left_children": [1, -1, 5, -1, -1, -1, -1], "right_children": [2, -1, 6, -1, -1, -1, -1],
        "split_indices": [0, 0, 1, 2147483647, 2147483647, 0, 0],
        "split_conditions": [0.5, 1.0, 0.5, 8.0, 8.0, 2.0, 4.0],
        "default_left": [0, 0, 0, 1, 1, 0, 0],
    });
    let forest = model(&document(&[pruned])).forest;
    assert_eq!(forest.trees()[0].nodes.len(), 5);
    assert_eq!([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]].map(|row| forest.raw(&row)), [1.0, 2.0, 4.0]);
}

/// As JSON of XGBoost has it; a name may hold the same letters.
#[test]
fn not_a_number_may_be_the_threshold_of_categories_alone() {
    let text = good().to_string().replace("\"age\"", r#""\"NaN,NaN""#);
    let of_categories = text.replace("[0.5,0.0,4.0,1.0,2.0]", "[0.5,NaN,4.0,1.0,2.0]");
    assert_ne!(of_categories, text);
    let model = read_json(of_categories.as_bytes()).expect("valid");
    assert_eq!(model.forest.raw(&[0.4, 0.0]), 2.0);
    assert_eq!(model.input_names.expect("names")[0], "\"NaN,NaN");
    let of_numbers = text.replace("[0.5,0.0,4.0,1.0,2.0]", "[NaN,0.0,4.0,1.0,2.0]");
    let error = read_json(of_numbers.as_bytes()).expect_err("no threshold").to_string();
    assert_eq!(error, "XGBoost JSON: tree 0, node 0: the threshold is not a number");
}

#[test]
fn bad_documents_are_refused_with_their_place() {
    let with = |path: &str, value: Value| {
        let mut document = good();
        let (parent, name) = path.rsplit_once('/').expect("a path");
        let parent = document.pointer_mut(parent).expect(path);
        match name.parse::<usize>() {
            Ok(index) if parent.is_array() => parent[index] = value,
            _ => parent[name] = value,
        }
        document
    };
    let booster = "/learner/gradient_booster";
    let model = format!("{booster}/model");
    let tree = |field: &str, value: Value| with(&format!("{model}/trees/0/{field}"), value);
    let parameter =
        |name: &str, value: &str| with(&format!("/learner/learner_model_param/{name}"), json!(value));
    let long = "x".repeat(100_000);
    let cases = [
        (json!({"learner": {}}), "missing field `gradient_booster`"),
        (json!({"learner": [1]}), "line 1, column 13: invalid type: integer `1`"),
        (with("/learner/objective", json!({"name": "my:own"})), "the objective \"my:own\" is not supported"),
        (with("/learner/objective", json!({"name": long})), "the objective \"xxx"),
        (
            with("/learner/objective", json!({"name": "multi:softprob"})),
            "num_class: 1 classes, of the objective multi:softprob",
        ),
        (with("/learner/feature_names", json!(["age"])), "learner.feature_names: 1 names of 2 inputs"),
        (with("/learner/feature_names", json!(vec!["a"; 70_000])), "a list of more than 65536"),
        (
            parameter("num_feature", "1000000000"),
            "learner.learner_model_param: 1000000000 inputs and 1 outputs",
        ),
        (parameter("num_feature", "-2"), "invalid value: string \"-2\", expected a whole number from 0"),
        (parameter("num_feature", &long), "invalid value: string \"xxx"),
        (parameter("num_class", "100000"), "2 inputs and 100000 outputs"),
        (parameter("base_score", "[1,2,3]"), "base_score: 3 numbers of 1 outputs"),
        (parameter("base_score", "half"), "invalid value: string \"half\", expected a number or a list"),
        (parameter("base_score", "1E0"), "the base score inf is not finite"),
        (parameter("base_score", "nan"), "the base score NaN is not finite"),
        (with(&format!("{booster}/name"), json!("gblinear")), "the booster gblinear is not supported"),
        (with(&format!("{booster}/name"), json!("dart")), "learner.gradient_booster: no model with trees"),
        (with(&format!("{model}/tree_info"), json!([])), "trees: 1, but num_trees is 1 and tree_info has 0"),
        (with(&format!("{model}/tree_info"), json!([3])), "tree 0 is of output 3, but there are 1"),
        (with(&format!("{model}/tree_info"), json!([-1])), "invalid value: integer `-1`"),
        (
            with(&format!("{model}/gbtree_model_param"), json!({"num_trees": "1000000000"})),
            "but num_trees is 1000000000",
        ),
        (with(&format!("{model}/trees"), json!([{}])), "missing field `tree_param`"),
        (
            tree("tree_param", json!({"num_nodes": "4"})),
            "trees[0].tree_param.num_nodes: 4 nodes, but left_children has 5",
        ),
        (
            tree("tree_param", json!({"num_nodes": "5", "size_leaf_vector": "3"})),
            "(multi_output_tree) is not supported",
        ),
        (tree("right_children", json!([2, 4])), "trees[0].right_children: 2 nodes, but left_children has 5"),
        (tree("sum_hessian", json!([1.5])), "trees[0].sum_hessian: 1 nodes, but left_children has 5"),
        (tree("left_children/0", json!(7)), "trees[0], node 0: children 7 and 2, of 5 nodes"),
        (tree("left_children/0", json!(-1)), "trees[0], node 0: children -1 and 2, of 5 nodes"),
        (tree("left_children/0", json!(-7)), "trees[0], node 0: children -7 and 2"),
        (
            tree("left_children/0", json!(0)),
            "tree 0, node 0: child 0 has been reached before (a cycle, or shared)",
        ),
        (tree("left_children/1", json!(0)), "tree 0, node 1: child 0 has been reached before"),
        (tree("left_children/1", json!(2)), "child 2 has been reached before"),
        (tree("left_children/1", json!(4)), "child 4 has been reached before"),
        (tree("left_children/0", json!(1.5)), "expected i32"),
        (tree("split_indices/0", json!(2)), "tree 0, node 0: input 2, but there are 2"),
        (tree("split_indices/0", json!(-1)), "invalid value: integer `-1`"),
        (tree("split_indices/3", json!(2147483647_u32)), "trees[0], node 1: children 3 and 4, of 5 nodes"),
        (tree("split_conditions/2", json!(1e39)), "the leaf value inf is not finite"),
        (tree("split_conditions/0", json!("0.5")), "invalid value: string \"0.5\", expected a number"),
        (tree("default_left/0", json!(2)), "invalid value: integer `2`, expected 0, 1 or a boolean"),
        (tree("split_type/0", json!(2)), "trees[0], node 0: split_type 2"),
        (tree("sum_hessian/0", json!(-10.5)), "the cover -10.5 is not a finite weight"),
        (tree("sum_hessian/0", json!(99.5)), "the cover 99.5 is not that of the children, 10"),
        (tree("categories/0", json!(-1)), "trees[0], node 1: the category -1, of 0 to 2^24 - 1"),
        (tree("categories/0", json!(1 << 24)), "the category 16777216, of 0 to 2^24 - 1"),
        (tree("categories_nodes/0", json!(5)), "trees[0].categories_nodes[0]: no node 5, or twice"),
        (tree("categories_nodes", json!([1, 1])), "trees[0].categories_nodes: 2, 1 segments and 1 sizes"),
        (
            tree("categories_segments/0", json!(1)),
            "categories_segments[0]: 3 from 1 on, but 3 are left from 0 on",
        ),
        (tree("categories_sizes/0", json!(4_000_000_000_u32)), "4000000000 from 0 on, but 3 are left"),
    ];
    for (document, expected) in cases {
        let error = read_json(document.to_string().as_bytes()).expect_err(expected).to_string();
        assert!(
            error.starts_with("XGBoost JSON: ") && error.contains(expected),
            "{error}\nis not {expected}"
        );
        assert!(error.len() < 300, "{error}");
        // Lists of the writer above are of 32 bits.
        let error = read_ubjson(&ubjson(&document)).expect_err(expected).to_string();
        assert!(error.starts_with("XGBoost UBJSON: "), "{error}");
    }
}

#[test]
fn texts_that_are_no_documents_are_refused_with_their_place() {
    let text = good().to_string();
    let cases = [
        (String::new(), "line 1, column 0: EOF while parsing a value"),
        (text[..text.len() / 2].to_owned(), "EOF while parsing"),
        (text.replacen("\"learner\":", "\"learner\":{},\"learner\":", 1), "missing field `gradient_booster`"),
        (text.replacen("\"name\":", "\"name\":\"gbtree\",\"name\":", 1), "duplicate field `name`"),
        (text.replace("[0.5,", "[1e999,"), "number out of range"),
        (text.replace("[0.5,", "[Infinity,"), "expected value"),
        (format!("{{\"a\":{}", "[".repeat(1_000_000)), "EOF while parsing a list"),
        (format!("{{\"a\":[{}0]}}", "0,".repeat(26_000_000)), "the file: more than 25165824 values"),
        (format!("{{\"a\":[{}", "{".repeat(5_000_000)), "the file: more than 4234304 objects"),
    ];
    for (text, expected) in cases {
        let error = read_json(text.as_bytes()).expect_err(expected).to_string();
        assert!(
            error.starts_with("XGBoost JSON: ") && error.contains(expected),
            "{error}\nis not {expected}"
        );
    }
}

/// The document's list of children, in other words.
fn with_children(list: &[u8]) -> Vec<u8> {
    let bytes = ubjson(&good());
    let mut name = b"left_children".to_vec();
    name.extend(b"[$l#L");
    let at = bytes.windows(name.len()).position(|window| window == name).expect("a list");
    let start = at + b"left_children".len();
    [&bytes[..start], list, &bytes[start + 13 + 5 * 4..]].concat()
}

#[test]
fn lists_of_ubjson_may_be_written_in_several_ways() {
    let expected = read_ubjson(&ubjson(&good())).expect("valid");
    for list in [
        &b"[i\x01Ni\x03i\xffI\xff\xffl\xff\xff\xff\xff]"[..],
        b"[#i\x05i\x01i\x03i\xffi\xffL\xff\xff\xff\xff\xff\xff\xff\xff",
        b"[$i#U\x05\x01\x03\xff\xff\xff",
        b"[$I#I\0\x05\0\x01\0\x03\xff\xff\xff\xff\xff\xff",
    ] {
        assert_eq!(read_ubjson(&with_children(list)).expect("valid"), expected, "{}", list.escape_ascii());
    }
}

#[test]
fn bad_ubjson_is_refused_with_its_place() {
    let good = ubjson(&good());
    for n in 0..good.len() {
        let error = read_ubjson(&good[..n]).expect_err("truncated").to_string();
        assert!(error.starts_with("XGBoost UBJSON: byte "), "{error}");
    }
    let huge = |list: &[u8]| [list, &i64::MAX.to_be_bytes()[..]].concat();
    let cases = [
        ([&good[..], b"N"].concat(), "1 bytes behind the value"),
        (
            [&b"{i\x01a"[..], &[b'['; 100_000]].concat(),
            "byte 68: more than 64 lists and objects within each other",
        ),
        (b"{i\x01a{i\x01a".repeat(50_000), "more than 64 lists and objects"),
        (b"{$i#i\x01".to_vec(), "byte 1: an object with '$'"),
        (b"{#i\x01".to_vec(), "byte 1: an object with '#'"),
        (b"{i\xff".to_vec(), "byte 3: a length of -1"),
        (b"{d\0\0\0\0".to_vec(), "byte 2: a length of type 'd'"),
        (b"{i\x02\xff\xff".to_vec(), "byte 5: a text that is not UTF-8"),
        (huge(b"{L"), "9223372036854775807 bytes are next, but the file ends after 0"),
        (with_children(&huge(b"[#L")), "a list of 9223372036854775807, but the file ends after"),
        (with_children(&huge(b"[$l#L")), "a list of 9223372036854775807, but the file ends after"),
        (with_children(b"[$Z#l\x7f\xff\xff\xff"), "a list of type 'Z'"),
        (with_children(b"[$T#l\x7f\xff\xff\xff"), "a list of type 'T'"),
        (with_children(b"[$[#l\x7f\xff\xff\xff"), "a list of type '['"),
        (with_children(b"[$l]"), "a list with a type but without a length"),
        (with_children(b"[#i\xff"), "a length of -1"),
        (with_children(b"[H"), "no value is of type 'H'"),
        (with_children(b"Z"), "invalid type: unit value, expected a list"),
        (with_children(b"[S"), "invalid type: string \"right_children\""),
        (with_children(b"[D\x7f\xf0\0\0\0\0\0\0]"), "invalid type: floating point"),
        (with_children(b"[L\x7f\0\0\0\0\0\0\0]"), "invalid value: integer `9151314442816847872`"),
        (
            [&b"{i\x01a[#l\x01\x8c\xba\x80"[..], &vec![b'T'; 26_000_000]].concat(),
            "more values than a model may have",
        ),
        ([&b"{i\x07learnerZi\x07learnerZ"[..]].concat(), "invalid type: unit value"),
    ];
    for (bytes, expected) in cases {
        let error = read_ubjson(&bytes).expect_err(expected).to_string();
        assert!(
            error.starts_with("XGBoost UBJSON: byte ") && error.contains(expected),
            "{error}\nis not {expected}"
        );
    }
}
