use proptest::prelude::*;

use super::*;

fn leaf(value: f64, cover: f64) -> Node {
    Node::Leaf(Leaf { value, cover })
}

fn split(left: u32, right: u32) -> Split {
    let (condition, missing) = (Condition::Less(0.5), Side::Left);
    Split { input: 0, condition, missing, zero_is_missing: false, left, right, cover: 5.0 }
}

fn stump(split: Split) -> Tree {
    Tree::of(vec![Node::Split(split), leaf(-1.0, 2.0), leaf(1.0, 3.0)])
}

fn one(tree: Tree) -> Result<Forest, Error> {
    Forest::new(Frame::single(1, 0.25), vec![tree])
}

#[test]
fn comparison_and_missing_side_decide() {
    let good = split(1, 2);
    let one_of = || Condition::OneOf(Ranges::of([(0.0, 1.0), (3.0, 4.0)]));
    for (condition, missing, at, expected) in [
        (Condition::Less(0.5), Side::Left, 0.4, -0.75),
        (Condition::Less(0.5), Side::Left, 0.5, 1.25),
        (Condition::LessOrEqual(0.5), Side::Left, 0.5, -0.75),
        (Condition::LessOrEqual(0.5), Side::Right, 0.6, 1.25),
        (Condition::Less(0.5), Side::Left, f64::NAN, -0.75),
        (Condition::LessOrEqual(0.5), Side::Right, f64::NAN, 1.25),
        (Condition::Less(0.5), Side::Left, f64::INFINITY, 1.25),
        (Condition::Less(0.5), Side::Right, f64::NEG_INFINITY, -0.75),
        (Condition::LessOrEqual(f64::INFINITY), Side::Right, f64::INFINITY, -0.75),
        (one_of(), Side::Right, 0.5, -0.75),
        (one_of(), Side::Right, 2.0, 1.25),
        (one_of(), Side::Left, f64::NAN, -0.75),
    ] {
        let case = format!("{condition:?} {missing:?} {at}");
        let forest = one(stump(Split { condition, missing, ..good.clone() })).expect("valid");
        assert_eq!(forest.raw(&[at]), expected, "{case}");
    }
    let zero = Split { zero_is_missing: true, missing: Side::Right, ..good };
    let forest = one(stump(zero)).expect("valid");
    for (at, expected) in [(0.0, 1.25), (-1e-36, 1.25), (ZERO, 1.25), (2e-35, -0.75), (f64::NAN, 1.25)] {
        assert_eq!(forest.raw(&[at]), expected, "{at}");
    }
}

#[test]
fn inputs_and_sums_are_rounded_as_the_trainer_does() {
    let single = Arithmetic { inputs: Precision::Single, sums: Precision::Single, ..Arithmetic::default() };
    let frame = |arithmetic| Frame { n_inputs: 1, base: vec![0.0], arithmetic };
    let at = 0.5 - 1e-12;
    assert_eq!(Forest::new(frame(single), vec![stump(split(1, 2))]).expect("valid").raw(&[at]), 1.0);
    assert_eq!(one(stump(split(1, 2))).expect("valid").raw(&[at]), -0.75);
    let trees = || [16_777_216.0, 1.0, 1.0].map(|value| Tree::of(vec![leaf(value, 1.0)])).to_vec();
    assert_eq!(Forest::new(frame(single), trees()).expect("valid").raw(&[0.0]), 16_777_216.0);
    let mean = Arithmetic { mean: true, ..Arithmetic::default() };
    assert_eq!(Forest::new(frame(mean), trees()).expect("valid").raw(&[0.0]), 16_777_218.0 / 3.0);
}

#[test]
fn every_output_has_its_own_trees() {
    let frame = Frame { n_inputs: 1, base: vec![0.5, 1.5, 2.5], arithmetic: Arithmetic::default() };
    let trees = vec![stump(split(1, 2)), Tree { output: 2, ..stump(split(1, 2)) }];
    let forest = Forest::new(frame.clone(), trees).expect("valid");
    let mut raw = [0.0; 3];
    forest.score(&[0.7], &mut raw);
    assert_eq!(raw, [1.5, 1.5, 3.5]);
    assert_eq!(forest.expected().expect("covers are known").len(), 3);
    let beyond = Tree { output: 3, ..stump(split(1, 2)) };
    let expected = Error::UnknownOutput { tree: 0, output: 3, n_outputs: 3 };
    assert_eq!(Forest::new(frame, vec![beyond]).err(), Some(expected));
    let none = Frame { n_inputs: 1, base: vec![], arithmetic: Arithmetic::default() };
    assert_eq!(Forest::new(none, vec![]).err(), Some(Error::BadNumberOfOutputs { n_outputs: 0 }));
}

#[test]
fn trees_are_added_in_their_order_from_the_base() {
    let constant = |value| Tree::of(vec![leaf(value, 1.0)]);
    let forest = Forest::new(Frame::single(0, 1.0), vec![constant(1e16), constant(-1e16), constant(0.5)])
        .expect("valid");
    // 1 + 1e16 rounds to 1e16.
    assert_eq!(forest.raw(&[]), 0.5);
    assert_eq!(
        Forest::new(Frame::single(0, 0.75), Vec::new()).expect("no tree is a constant").raw(&[]),
        0.75
    );
}

#[test]
fn leaves_are_added_in_parts_of_double_precision() {
    let constants = |values: &[f64]| values.iter().map(|&value| Tree::of(vec![leaf(value, 1.0)])).collect();
    let raw = |values: &[f64], base, order, mean, sums| {
        let arithmetic = Arithmetic { inputs: sums, sums, mean, order };
        let frame = Frame { n_inputs: 0, base: vec![base], arithmetic };
        Forest::new(frame, constants(values)).expect("valid").raw(&[])
    };
    let (single, double) = (Precision::Single, Precision::Double);
    // Only the ninth is added to the part of the first, where it is lost.
    let nine = [1e16, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0];
    assert_eq!(raw(&nine, 0.0, SumOrder::OfTrees, false, double), 1e16);
    assert_eq!(raw(&nine, 0.0, SumOrder::InParts, false, double), 1e16 + 2.0);
    // The base is added last: of the first part, it would take what the ninth loses.
    assert_eq!(raw(&nine, -1e16, SumOrder::InParts, false, double), 2.0);
    assert_eq!(raw(&nine, 1.0, SumOrder::InParts, true, double), (1e16 + 2.0) / 9.0 + 1.0);
    let three = [16_777_216.0, 1.0, 1.0];
    assert_eq!(raw(&three, 0.0, SumOrder::OfTrees, false, single), 16_777_216.0);
    assert_eq!(raw(&three, 0.0, SumOrder::InParts, false, single), 16_777_218.0);

    let frame = Frame { n_inputs: 0, base: vec![0.0; 2], arithmetic: Arithmetic::default() };
    let two = Forest::new(frame, constants(&three)).expect("valid");
    assert_eq!(two.clone().with_order(SumOrder::OfTrees), Ok(two.clone()));
    assert_eq!(two.with_order(SumOrder::InParts), Err(Error::PartsOfSeveral { n_outputs: 2 }));
}

#[test]
fn the_expected_value_is_the_mean_by_cover() {
    let expected = one(stump(split(1, 2))).expect("valid").expected().expect("covers are known")[0];
    assert!((expected - 0.45).abs() < 1e-15, "{expected}");
    let mut bare = stump(split(1, 2));
    for node in &mut bare.nodes {
        *node.cover_mut() = 0.0;
    }
    let bare = one(bare).expect("covers may be unknown");
    assert_eq!(bare.expected(), None);
    assert_eq!(bare.contributions(&[0.0], 0), None);
    let rows: [&[f64]; 3] = [&[0.0], &[f64::NAN], &[2.0]];
    let covered = bare.with_covers(rows).expect("valid");
    assert_eq!(covered.trees()[0].nodes.iter().map(Node::cover).collect::<Vec<_>>(), [3.0, 2.0, 1.0]);
}

#[test]
fn what_cannot_be_walked_is_refused() {
    let good = split(1, 2);
    let check = |tree: Tree, expected: Error| assert_eq!(one(tree).err(), Some(expected));
    let (tree, node) = (0, 0);
    check(Tree::default(), Error::EmptyTree { tree });
    check(
        stump(Split { input: 1, ..good.clone() }),
        Error::UnknownInput { tree, node, input: 1, n_inputs: 1 },
    );
    check(stump(split(1, 3)), Error::UnknownChild { tree, node, child: 3, n_nodes: 3 });
    check(stump(split(0, 2)), Error::ChildReachedTwice { tree, node, child: 0 });
    check(stump(split(1, 1)), Error::ChildReachedTwice { tree, node, child: 1 });
    let condition = Condition::Less(f64::NAN);
    check(stump(Split { condition, ..good.clone() }), Error::ThresholdNotANumber { tree, node });
    check(stump(Split { cover: -1.0, ..good.clone() }), Error::BadCover { tree, node, cover: -1.0 });
    check(
        stump(Split { cover: 6.0, ..good.clone() }),
        Error::CoverMismatch { tree, node, cover: 6.0, children: 5.0 },
    );
    let mut orphan = stump(good.clone());
    orphan.nodes.push(leaf(0.0, 0.0));
    check(orphan, Error::Unreachable { tree, node: 3 });
    // A cycle off the root is unreachable as well.
    let mut cycle = stump(good);
    cycle.nodes.extend([Node::Split(split(4, 3)), Node::Split(split(3, 4))]);
    check(cycle, Error::Unreachable { tree, node: 3 });
    check(
        Tree::of(vec![leaf(f64::INFINITY, 1.0)]),
        Error::LeafNotFinite { tree, node, value: f64::INFINITY },
    );

    let huge = Tree::of(vec![leaf(1e308, 1.0)]);
    assert_eq!(
        Forest::new(Frame::single(0, 0.0), vec![huge.clone(), huge]).err(),
        Some(Error::Overflow { tree: 1 })
    );
    let base = f64::NEG_INFINITY;
    assert_eq!(Forest::new(Frame::single(0, base), Vec::new()).err(), Some(Error::BaseNotFinite { base }));
    let n_inputs = Forest::MAX_INPUTS + 1;
    assert_eq!(
        Forest::new(Frame::single(n_inputs, 0.0), Vec::new()).err(),
        Some(Error::TooManyInputs { n_inputs })
    );
    let n_trees = Forest::MAX_TREES + 1;
    let trees = vec![Tree::default(); n_trees];
    assert_eq!(Forest::new(Frame::single(1, 0.0), trees).err(), Some(Error::TooManyTrees { n_trees }));
}

/// A vine: every split's left child is a leaf, the right one the next split.
fn vine(depth: usize) -> Tree {
    let mut nodes = Vec::new();
    for level in 0..depth {
        let at = 2 * level as u32;
        nodes.push(Node::Split(Split { cover: (depth - level + 1) as f64, ..split(at + 1, at + 2) }));
        nodes.push(leaf(1.0, 1.0));
    }
    nodes.push(leaf(0.0, 1.0));
    Tree::of(nodes)
}

#[test]
fn depth_is_bounded() {
    let deepest = one(vine(Forest::MAX_DEPTH)).expect("just deep enough");
    assert_eq!(deepest.raw(&[1.0]), 0.25);
    let contributions = deepest.contributions(&[1.0], 0).expect("covers are known");
    assert!((contributions.iter().sum::<f64>() - 0.25).abs() < 1e-9);
    let node = 2 * Forest::MAX_DEPTH;
    assert_eq!(one(vine(Forest::MAX_DEPTH + 1)).err(), Some(Error::TooDeep { tree: 0, node }));
}

/// A valid tree with any field of any node overwritten by anything.
fn vandalised() -> impl Strategy<Value = (Frame, Vec<Tree>)> {
    let number = prop_oneof![any::<f64>(), Just(0.0), Just(1.0), Just(f64::NAN)];
    let index = prop_oneof![0..12u32, any::<u32>()];
    let damage = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..6, number, index);
    (random::forest_and_rows(3), prop::collection::vec(damage, 0..3)).prop_map(|((forest, _), damages)| {
        let mut trees = forest.trees().to_vec();
        for (tree, node, field, number, index) in damages {
            let nodes = &mut tree.get_mut(&mut trees).nodes;
            match (node.get_mut(nodes), field) {
                (Node::Split(split), 0) => split.input = index,
                (Node::Split(split), 1) => split.left = index,
                (Node::Split(split), 2) => split.right = index,
                (Node::Split(split), 3) => split.condition = Condition::Less(number),
                (Node::Leaf(leaf), 3) => leaf.value = number,
                (node, _) => *node.cover_mut() = number,
            }
        }
        (forest.frame().clone(), trees)
    })
}

proptest! {
    #[test]
    fn what_passes_the_checks_is_walked_to_finite_values((frame, trees) in vandalised()) {
        if let Ok(forest) = Forest::new(frame, trees) {
            for at in [f64::NAN, -1.0, 0.5, f64::INFINITY] {
                let row = vec![at; forest.n_inputs()];
                prop_assert!(forest.raw(&row).is_finite());
                if let Some(contributions) = forest.contributions(&row, 0) {
                    prop_assert!(contributions.iter().all(|value| value.is_finite()));
                }
            }
        }
    }
}
