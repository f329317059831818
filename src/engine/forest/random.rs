//! Random small forests for tests, with rows that hit thresholds and miss inputs.

use proptest::prelude::*;

use super::{Arithmetic, Condition, Forest, Frame, Leaf, Node, Precision, Ranges, Side, Split, Tree};

/// Few distinct values, so that thresholds are hit and inputs repeat on a path.
/// The last is 0.5 in single precision.
const VALUES: [f64; 6] = [-1.0, 0.0, 0.5, 1.0, 2.0, 0.5 + 1e-12];

/// A tree in the making: what strategies nest.
#[derive(Clone, Debug)]
enum Sketch {
    Leaf {
        value: f64,
        cover: u32,
    },
    Split {
        input: u32,
        condition: Condition,
        missing: Side,
        zero_is_missing: bool,
        children: Box<[Sketch; 2]>,
    },
}

/// Forests of 1 to 4 trees over 1 to `max_inputs` inputs and 1 or 2 outputs,
/// some covers 0, and rows for them.
pub(crate) fn forest_and_rows(max_inputs: usize) -> impl Strategy<Value = (Forest, Vec<Vec<f64>>)> {
    (1..=max_inputs, prop::collection::vec(-1.0..1.0, 1..3), arithmetic()).prop_flat_map(
        |(n_inputs, base, arithmetic)| {
            let trees = prop::collection::vec(tree(n_inputs as u32, base.len() as u32), 1..5);
            let value = prop_oneof![4 => prop::sample::select(&VALUES[..]), 1 => Just(f64::NAN)];
            let rows = prop::collection::vec(prop::collection::vec(value, n_inputs), 1..5);
            let frame = Frame { n_inputs, base, arithmetic };
            (trees, rows).prop_map(move |(trees, rows)| {
                (Forest::new(frame.clone(), trees).expect("a valid forest"), rows)
            })
        },
    )
}

fn arithmetic() -> impl Strategy<Value = Arithmetic> {
    let precision = || prop::sample::select(&[Precision::Single, Precision::Double][..]);
    (precision(), precision(), any::<bool>()).prop_map(|(inputs, sums, mean)| Arithmetic {
        inputs,
        sums,
        mean,
        ..Arithmetic::default()
    })
}

fn condition() -> impl Strategy<Value = Condition> {
    let value = || prop::sample::select(&VALUES[..]);
    prop_oneof![
        value().prop_map(Condition::Less),
        value().prop_map(Condition::LessOrEqual),
        prop::collection::vec((value(), value()), 0..3)
            .prop_map(|ranges| Condition::OneOf(Ranges::of(ranges))),
        value().prop_map(|value| Condition::OneOf(Ranges::exactly(value))),
    ]
}

fn tree(n_inputs: u32, n_outputs: u32) -> impl Strategy<Value = Tree> {
    let cover = prop_oneof![Just(0), 0u32..20];
    let leaf = (-2.0..2.0, cover).prop_map(|(value, cover)| Sketch::Leaf { value, cover });
    let nodes = leaf.prop_recursive(6, 40, 2, move |child| {
        (
            0..n_inputs,
            condition(),
            prop::sample::select(&[Side::Left, Side::Right][..]),
            any::<bool>(),
            child.clone(),
            child,
        )
            .prop_map(|(input, condition, missing, zero_is_missing, left, right)| Sketch::Split {
                input,
                condition,
                missing,
                zero_is_missing,
                children: Box::new([left, right]),
            })
    });
    (0..n_outputs, nodes).prop_map(|(output, sketch)| {
        let mut tree = Tree { output, nodes: Vec::new() };
        if lay_out(&sketch, &mut tree) == 0.0 {
            // Covers that are all 0 are unknown: one row goes right throughout.
            let mut node = 0;
            loop {
                *tree.nodes[node].cover_mut() = 1.0;
                let Node::Split(split) = &tree.nodes[node] else { break };
                node = split.right as usize;
            }
        }
        tree
    })
}

/// Appends the sketch's nodes; gives the cover of its root.
fn lay_out(sketch: &Sketch, tree: &mut Tree) -> f64 {
    let node = tree.nodes.len();
    match sketch {
        Sketch::Leaf { value, cover } => {
            tree.nodes.push(Node::Leaf(Leaf { value: *value, cover: f64::from(*cover) }));
        }
        Sketch::Split { input, condition, missing, zero_is_missing, children } => {
            tree.nodes.push(Node::Leaf(Leaf { value: 0.0, cover: 0.0 }));
            let left = tree.nodes.len() as u32;
            let mut cover = lay_out(&children[0], tree);
            let right = tree.nodes.len() as u32;
            cover += lay_out(&children[1], tree);
            tree.nodes[node] = Node::Split(Split {
                input: *input,
                condition: condition.clone(),
                missing: *missing,
                zero_is_missing: *zero_is_missing,
                left,
                right,
                cover,
            });
        }
    }
    tree.nodes[node].cover()
}
