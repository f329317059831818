use super::*;
use crate::engine::forest::{Condition, Node};
use crate::engine::link::Link;
use crate::engine::model::Scorer;
use crate::model_file::lightgbm::split::{Question, n_ranges};

const HEADER: &str = "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\nmax_feature_idx=1\n\
                      objective=binary sigmoid:1\nfeature_names=age city\nfeature_infos=none none\n";

const TREE: &str = "num_leaves=3\nnum_cat=1\nsplit_feature=0 1\nsplit_gain=1 1\nthreshold=0.5 0\ndecision_type=2 1\n\
                    left_child=1 -1\nright_child=-2 -3\nleaf_value=1 2 4\nleaf_weight=1 1 1\nleaf_count=2 3 5\n\
                    cat_boundaries=0 1\ncat_threshold=9\nis_linear=0\nshrinkage=1\n";

/// A file of such trees.
fn file(header: &str, trees: &[&str]) -> String {
    let sizes = trees.iter().map(|tree| tree.len().to_string()).collect::<Vec<_>>().join(" ");
    let trees = trees.iter().enumerate().map(|(index, tree)| format!("Tree={index}\n{tree}\n\n"));
    format!(
        "{header}tree_sizes={sizes}\n\n{}end of trees\n\nparameters:\n[a: 1]\n",
        trees.collect::<String>()
    )
}

fn good() -> String {
    file(HEADER, &[TREE])
}

fn raw(text: &str, row: &[f64]) -> f64 {
    read(text.as_bytes()).expect("valid").forest.raw(row)
}

#[test]
fn splits_and_leaves_are_numbered_apart() {
    let model = read(good().as_bytes()).expect("valid");
    assert_eq!((model.link, &*model.objective), (Link::Logistic, "binary sigmoid:1"));
    assert_eq!(model.input_names, Some(vec!["age".to_owned(), "city".to_owned()]));
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    for (row, expected) in [
        // Categories 0 and 3 are in the set.
        ([0.5, 0.0], 1.0),
        ([0.5, 3.9], 1.0),
        ([0.5, -0.9], 1.0),
        ([0.5, -1.0], 4.0),
        ([0.5, 1.0], 4.0),
        ([0.5, 4.0], 4.0),
        ([0.5, nan], 4.0),
        ([0.5, inf], 4.0),
        ([0.5_f64.next_up(), 0.0], 2.0),
        // NaN is 0, which goes left whatever the default.
        ([nan, 0.0], 1.0),
    ] {
        assert_eq!(model.forest.raw(&row), expected, "{row:?}");
    }
    let expected = model.forest.expected().expect("counts are known");
    assert!((expected[0] - (2.0 + 6.0 + 20.0) / 10.0).abs() < 1e-12, "{expected:?}");
    let contributions = model.forest.contributions(&[1.0, 0.0], 0).expect("counts are known");
    assert!((contributions.iter().sum::<f64>() - 2.0).abs() < 1e-12, "{contributions:?}");
}

/// LightGBM replaces numbers near 0 by 0 before it compares.
#[test]
fn numbers_near_zero_are_zero() {
    let zero = f64::from(1e-35_f32);
    let stump = |threshold: f64, decision_type: u8| {
        let tree = format!(
            "num_leaves=2\nnum_cat=0\nsplit_feature=0\nthreshold={threshold:e}\ndecision_type={decision_type}\n\
             left_child=-1\nright_child=-2\nleaf_value=1 2\n"
        );
        file(HEADER, &[&tree])
    };
    let values =
        [-1.0, (-zero).next_down(), -zero, -1e-300, -0.0, 0.0, 1e-300, zero, zero.next_up(), 1.0, f64::NAN];
    let thresholds =
        [-1.0, (-zero).next_down(), -zero, -1e-300, -0.0, 0.0, 1e-300, zero.next_down(), zero, 1.0];
    for threshold in thresholds {
        for decision_type in [0, 2, 4, 6, 8, 10] {
            let text = stump(threshold, decision_type);
            for value in values {
                // As LightGBM's NumericalDecision says it.
                let (default_left, missing) = (decision_type & 2 != 0, decision_type >> 2);
                let number = if value.abs() <= zero || value.is_nan() && missing != 2 { 0.0 } else { value };
                let is_missing = missing == 1 && number == 0.0 || missing == 2 && number.is_nan();
                let left = if is_missing { default_left } else { number <= threshold };
                let expected = if left { 1.0 } else { 2.0 };
                assert_eq!(
                    raw(&text, &[value, 0.0]),
                    expected,
                    "{value:e} <= {threshold:e}, type {decision_type}"
                );
            }
        }
    }
}

#[test]
fn sets_of_categories_are_the_bits_of_words() {
    let words = ["0 2147483648", "3 1", "4294967295 1", "0 0"];
    let sets: [&[u32]; 4] = [&[63], &[0, 1, 32], &[], &[]];
    for (words, expected) in words.into_iter().zip(sets) {
        let tree = TREE
            .replace("cat_boundaries=0 1", "cat_boundaries=0 2")
            .replace("cat_threshold=9", &format!("cat_threshold={words}"));
        let model = read(file(HEADER, &[&tree]).as_bytes()).expect("valid");
        for category in 0..100_u32 {
            let expected =
                if words.starts_with("4294967295") { category <= 32 } else { expected.contains(&category) };
            let raw = model.forest.raw(&[0.0, f64::from(category)]);
            assert_eq!(raw == 1.0, expected, "{category} of {words}");
        }
    }
    // Neighbours are one range.
    let tree = TREE.replace("cat_threshold=9", "cat_threshold=4294967295");
    let model = read(file(HEADER, &[&tree]).as_bytes()).expect("valid");
    let Node::Split(split) = &model.forest.trees()[0].nodes[1] else { panic!("no split") };
    let Condition::OneOf(ranges) = &split.condition else { panic!("no set") };
    assert_eq!(ranges.ends(), [(-1.0_f64).next_up(), 32.0]);
}

/// They are counted before they are made, which bounds what is made.
#[test]
fn no_set_has_more_ranges_than_are_counted() {
    let sets: [&[u32]; 5] = [&[0], &[1 << 31, 1], &[u32::MAX; 3], &[0x5555_5555, 0xaaaa_aaaa], &[6, 0, 9]];
    for words in sets {
        let Condition::OneOf(ranges) = Question::categorical(words).condition else { panic!("no set") };
        assert!(ranges.ends().len() <= 2 * n_ranges(words), "{words:?}");
    }
    assert_eq!(n_ranges(&[0x5555_5555, 6]), 17);
}

#[test]
fn trees_take_turns_at_the_outputs_and_forests_are_averaged() {
    let leaf = |value: f64| format!("num_leaves=1\nnum_cat=0\nsplit_feature=\nleaf_value={value}\n");
    let leaves = [1.0, 2.0, 4.0, 8.0].map(leaf);
    let header = HEADER
        .replace("num_tree_per_iteration=1", "num_tree_per_iteration=2")
        .replace("objective=binary sigmoid:1", "objective=multiclass num_class:2\naverage_output");
    let model = read(file(&header, &leaves.each_ref().map(String::as_str)).as_bytes()).expect("valid");
    let mut outputs = vec![0.0; 2];
    model.forest.score(&[0.0, 0.0], &mut outputs);
    assert_eq!(outputs, [5.0, 10.0]);
    model.link.apply_all(&mut outputs);
    assert!((outputs[0] - 1.0 / (1.0 + 2.5_f64.exp())).abs() < 1e-15, "{outputs:?}");
}

#[test]
fn links_are_those_of_the_objective() {
    let averaged = |objective: &str| format!("objective={objective}\naverage_output");
    for (line, expected) in [
        ("objective=binary sigmoid:2.5".to_owned(), Link::ScaledLogistic { scale: 2.5 }),
        ("objective=cross_entropy".to_owned(), Link::Logistic),
        ("objective=cross_entropy_lambda".to_owned(), Link::Softplus),
        ("objective=tweedie".to_owned(), Link::Exp),
        ("objective=regression sqrt".to_owned(), Link::SignedSquare),
        ("objective=lambdarank".to_owned(), Link::Identity),
        ("no_objective".to_owned(), Link::Identity),
        (averaged("regression"), Link::Scaled { scale: 0.5 }),
        (averaged("binary sigmoid:3"), Link::ScaledLogistic { scale: 1.5 }),
        (averaged("poisson"), Link::ScaledExp { scale: 0.5 }),
    ] {
        let text = file(&HEADER.replace("objective=binary sigmoid:1", &line), &[TREE, TREE]);
        assert_eq!(read(text.as_bytes()).expect("valid").link, expected, "{line}");
    }
}

#[test]
fn bad_files_are_refused_with_their_place() {
    let with = |from: &str, to: &str| {
        assert!(good().contains(from), "{from}");
        good().replace(from, to)
    };
    let long = "x".repeat(1_000_000);
    let many = "1 ".repeat(3_000_000);
    let cases = [
        (String::new(), "line 1: not \"tree\""),
        (good().replace("end of trees", "end"), "the file ends before `end of trees`"),
        (good()[..good().len() / 2].to_owned(), "the file ends before `end of trees`"),
        (with("version=v4", "version=v9"), "the version \"v9\" of the format is not supported"),
        (with("version=v4\n", ""), "the section at line 1: no version"),
        (
            with("max_feature_idx=1", "max_feature_idx=-1"),
            "line 6, max_feature_idx: \"-1\" is no whole number from 0",
        ),
        (
            with("max_feature_idx=1", "max_feature_idx=4000000000"),
            "max_feature_idx: input 4000000000, of at most 65536 inputs",
        ),
        (with("max_feature_idx=1", "max_feature_idx=2"), "feature_names: 2 names of 3 inputs"),
        (
            with("max_feature_idx=1", "max_feature_idx=0").replace("age city", "age"),
            "tree 0, node 1: input 1, but there are 1",
        ),
        (with("iteration=1", "iteration=0"), "num_tree_per_iteration: 0 outputs, of 1 to 1024"),
        (
            with("iteration=1", "iteration=99999999999999999999"),
            "\"99999999999999999999\" is no whole number",
        ),
        (with("iteration=1", "iteration=3"), "the trees: 1, of 3 in each iteration"),
        (with("version=v4", "version=v4\nversion=v4"), "line 3: a second version"),
        (with("version=v4", &format!("version=v4\n{}", "a=1\n".repeat(2))), "line 4: a second a"),
        (
            with("version=v4", &(0..100).map(|n| format!("f{n}=1\n")).collect::<String>()),
            "more than 64 lines of a section",
        ),
        (with("tree_sizes=", "tree_sizes=1 "), "tree_sizes: 2 sizes of 1 trees"),
        (with("Tree=0", "Tree=1000000000"), "line 12: \"Tree=1000000000\", but tree 0 is next"),
        (with("Tree=0", &format!("Tree={long}")), "but tree 0 is next"),
        (with("binary sigmoid:1", "binary sigmoid:-1"), "objective: \"sigmoid:-1\""),
        (with("binary sigmoid:1", "binary sigmoid:nan"), "objective: \"sigmoid:nan\""),
        (
            with("binary sigmoid:1", "multiclass num_class:3"),
            "objective: \"multiclass num_class:3\" of 1 trees in each iteration",
        ),
        (with("binary sigmoid:1", "my_own"), "the objective \"my_own\" is not supported"),
        (with("binary sigmoid:1", &long), "objective: 1000000 bytes, of at most 256"),
        (with("is_linear=0", "is_linear=1"), "a tree of linear models (linear_tree) is not supported"),
        (with("num_leaves=3", "num_leaves=0"), "tree 0: no leaf"),
        (with("num_leaves=3", "num_leaves=4"), "split_feature: 2 numbers, of 3"),
        (with("num_leaves=3", "num_leaves=2"), "split_feature: more than 1 numbers"),
        (with("num_leaves=3", "num_leaves=1000000000000"), "more than 2097152 nodes, at tree 0"),
        (with("num_leaves=3\n", ""), "no num_leaves"),
        (with("leaf_value=1 2 4", "leaf_value=1 2"), "leaf_value: 2 numbers, of 3"),
        (with("leaf_value=1 2 4", &format!("leaf_value={many}")), "leaf_value: more than 3 numbers"),
        (with("leaf_value=1 2 4", "leaf_value=1 nan 4"), "leaf_value[1]: \"nan\" is no finite number"),
        (with("leaf_value=1 2 4", "leaf_value=1 2 1e999"), "leaf_value[2]: \"1e999\" is no finite number"),
        (
            with("leaf_value=1 2 4", "leaf_value=1e308 1e308 1e308")
                .replace("end of", &format!("Tree=1\n{TREE}\nend of"))
                .replace("leaf_value=1 2 4", "leaf_value=1e308 1e308 1e308")
                .replace("tree_sizes=", "tree_sizes=1 "),
            "the raw output can overflow at tree 1",
        ),
        (with("threshold=0.5 0", "threshold=nan 0"), "threshold[0]: \"nan\" is no number"),
        (with("threshold=0.5 0", &format!("threshold={long} 0")), "threshold[0]: \"xxxx"),
        (with("threshold=0.5 0", "threshold=0.5 inf"), "threshold[1]: inf is none of 1 sets of categories"),
        (with("threshold=0.5 0", "threshold=0.5 1"), "threshold[1]: 1 is none of 1 sets of categories"),
        (with("threshold=0.5 0", "threshold=0.5 -1"), "threshold[1]: -1 is none of 1 sets"),
        (
            with("decision_type=2 1", "decision_type=1 1").replace("threshold=0.5 0", "threshold=0 0"),
            "threshold[1]: two splits have the set of categories 0",
        ),
        (with("decision_type=2 1", "decision_type=2 12"), "decision_type[1]: 12 is no type of a decision"),
        (with("decision_type=2 1", "decision_type=258 1"), "decision_type[0]: 258 is no type of a decision"),
        (with("left_child=1 -1", "left_child=2 -1"), "left_child[0]: 2 is none of 2 splits"),
        (with("left_child=1 -1", "left_child=1 -4"), "left_child[1]: -4 is none of 3 leaves"),
        (
            with("left_child=1 -1", "left_child=1 0"),
            "tree 0, node 1: child 0 has been reached before (a cycle, or shared)",
        ),
        (with("right_child=-2 -3", "right_child=-2 -1"), "tree 0, node 1: child 2 has been reached before"),
        (
            with("left_child=1 -1", "left_child=99999999999 -1"),
            "left_child[0]: \"99999999999\" is no whole number of 32 bits",
        ),
        (with("split_feature=0 1", "split_feature=0 2"), "tree 0, node 1: input 2, but there are 2"),
        (with("split_feature=0 1", "split_feature=0 -1"), "split_feature[1]: \"-1\" is no whole number"),
        (with("leaf_count=2 3 5", "leaf_count=2 3"), "leaf_count: 2 numbers, of 3"),
        (with("leaf_count=2 3 5", "leaf_count=2 3 -5"), "the cover -3 is not a finite weight"),
        (with("num_cat=1", "num_cat=4000000000"), "4000000000 sets of 2 splits"),
        (with("cat_boundaries=0 1", "cat_boundaries=1 1"), "cat_boundaries[0]: 1 is not 0"),
        (
            with("cat_boundaries=0 1", "cat_boundaries=0 4000000000"),
            "cat_boundaries[1]: 0 to 4000000000 are no bounds of a set",
        ),
        (with("cat_boundaries=0 1", "cat_boundaries=0 7"), "cat_threshold: 1 numbers, of 7"),
        (
            with("cat_threshold=9", "cat_threshold=4294967296"),
            "cat_threshold[0]: \"4294967296\" is no whole number",
        ),
    ];
    for (content, expected) in cases {
        let error = read(content.as_bytes()).expect_err(expected).to_string();
        assert!(
            error.starts_with("LightGBM text: ") && error.contains(expected),
            "{error}\nis not {expected}"
        );
        assert!(error.len() < 300, "{error}");
    }
    let mut bytes = good().into_bytes();
    bytes[20] = 0xff;
    let error = read(&bytes).expect_err("not UTF-8").to_string();
    assert!(error.contains("byte 20: not UTF-8"), "{error}");
}

/// A chain of splits, each a leaf's sibling.
fn chain(n_splits: usize) -> String {
    let list = |of: &dyn Fn(usize) -> String| (0..n_splits).map(of).collect::<Vec<_>>().join(" ");
    let left = list(&|split| if split + 1 < n_splits { (split + 1).to_string() } else { (-1).to_string() });
    let right = list(&|split| (-(split as i64) - 2).to_string());
    let (zeros, leaves) = (list(&|_| "0".to_owned()), list(&|split| split.to_string()));
    format!(
        "num_leaves={}\nnum_cat=0\nsplit_feature={zeros}\nthreshold={zeros}\ndecision_type={zeros}\n\
         left_child={left}\nright_child={right}\nleaf_value=7 {leaves}\n",
        n_splits + 1
    )
}

#[test]
fn deep_trees_and_many_of_them_are_refused() {
    let most = Forest::MAX_DEPTH;
    assert_eq!(raw(&file(HEADER, &[&chain(most)]), &[0.0, 0.0]), 7.0);
    let refused = |text: String| read(text.as_bytes()).expect_err("too much").to_string();
    let error = refused(file(HEADER, &[&chain(1_000_000)]));
    assert!(error.contains(&format!("tree 0, node {most}: deeper than {most} splits")), "{error}");
    let leaf = "num_leaves=1\nleaf_value=1\n";
    let error = refused(file(HEADER, &vec![leaf; Forest::MAX_TREES + 1]));
    assert!(error.contains("20001 trees, of at most 20000"), "{error}");
}
