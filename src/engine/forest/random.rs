//! Random small forests for tests, with rows that hit thresholds and miss inputs.

use proptest::prelude::*;

use super::{Comparison, Forest, Leaf, Node, Side, Split, Tree};

/// Few distinct values, so that thresholds are hit and inputs repeat on a path.
const VALUES: [f64; 5] = [-1.0, 0.0, 0.5, 1.0, 2.0];

/// A tree in the making: what strategies nest.
#[derive(Clone, Debug)]
enum Sketch {
    Leaf { value: f64, cover: u32 },
    Split { input: u32, threshold: f64, comparison: Comparison, missing: Side, children: Box<[Sketch; 2]> },
}

/// Forests of 1 to 4 trees over 1 to `max_inputs` inputs, some covers 0, and rows for them.
pub(crate) fn forest_and_rows(max_inputs: usize) -> impl Strategy<Value = (Forest, Vec<Vec<f64>>)> {
    (1..=max_inputs).prop_flat_map(|n_inputs| {
        let trees = prop::collection::vec(tree(n_inputs as u32), 1..5);
        let value = prop_oneof![4 => prop::sample::select(&VALUES[..]), 1 => Just(f64::NAN)];
        let rows = prop::collection::vec(prop::collection::vec(value, n_inputs), 1..5);
        (trees, -1.0..1.0, rows).prop_map(move |(trees, base, rows)| {
            (Forest::new(n_inputs, base, trees).expect("a valid forest"), rows)
        })
    })
}

fn tree(n_inputs: u32) -> impl Strategy<Value = Tree> {
    let leaf = (-2.0..2.0, 0u32..20).prop_map(|(value, cover)| Sketch::Leaf { value, cover });
    leaf.prop_recursive(6, 40, 2, move |child| {
        (
            0..n_inputs,
            prop::sample::select(&VALUES[..]),
            prop::sample::select(&[Comparison::Less, Comparison::LessOrEqual][..]),
            prop::sample::select(&[Side::Left, Side::Right][..]),
            child.clone(),
            child,
        )
            .prop_map(|(input, threshold, comparison, missing, left, right)| Sketch::Split {
                input,
                threshold,
                comparison,
                missing,
                children: Box::new([left, right]),
            })
    })
    .prop_map(|sketch| {
        let mut tree = Tree::default();
        lay_out(&sketch, &mut tree);
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
        Sketch::Split { input, threshold, comparison, missing, children } => {
            tree.nodes.push(Node::Leaf(Leaf { value: 0.0, cover: 0.0 }));
            let left = tree.nodes.len() as u32;
            let mut cover = lay_out(&children[0], tree);
            let right = tree.nodes.len() as u32;
            cover += lay_out(&children[1], tree);
            if cover == 0.0 {
                // A split that no training row reached is refused: give it one.
                *tree.nodes[right as usize].cover_mut() = 1.0;
                cover = 1.0;
            }
            tree.nodes[node] = Node::Split(Split {
                input: *input,
                comparison: *comparison,
                threshold: *threshold,
                missing: *missing,
                left,
                right,
                cover,
            });
        }
    }
    tree.nodes[node].cover()
}
