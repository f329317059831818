//! Models to serve while measuring: of a stated size, with random splits. What
//! they say means nothing; what they cost does.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::{Context, Result};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::engine::forest::{Condition, Forest, Frame, Leaf, Node, Side, Split, Tree};
use crate::engine::model::Link;
use crate::engine::plan::Plan;
use crate::engine::vector::Slot;
use crate::registry::{Content, Draft, Golden, Manifest, publish};

/// Trees of a model, and leaves of a tree.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    n_trees: usize,
    n_leaves: usize,
}

pub const ORDINARY: Size = Size { n_trees: 100, n_leaves: 31 };
/// Of the model that is swapped.
pub const LARGE: Size = Size { n_trees: 1_000, n_leaves: 255 };

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} random trees of {} leaves each", self.n_trees, self.n_leaves)
    }
}

/// Publishes an artifact for every model of the plan; `first` is the size of the first.
pub fn publish_all(models: &Path, plan: &Plan, first: Size, seed: u64) -> Result<()> {
    let mut dice = ChaCha8Rng::seed_from_u64(seed);
    for (index, model) in plan.models.iter().enumerate() {
        let Size { n_trees, n_leaves } = if index == 0 { first } else { ORDINARY };
        let features: Vec<usize> = model
            .features
            .iter()
            .copied()
            .filter(|&feature| matches!(plan.features[feature].slot, Slot::Number(_)))
            .collect();
        let trees = (0..n_trees).map(|_| tree(features.len(), n_leaves, &mut dice)).collect();
        let forest =
            Forest::new(Frame::single(features.len(), 0.0), trees).context("the random trees are valid")?;
        let golden: Vec<Golden> = [f64::NAN, 0.0, 10.0]
            .map(|value| {
                let inputs = vec![value; features.len()];
                let raw = forest.raw(&inputs);
                Golden { inputs, raw, outputs: vec![Link::Logistic.apply(raw)] }
            })
            .into();
        let manifest = Manifest::of_binary(plan, model, &features);
        let draft =
            Draft { manifest, model: Content::Forest(&forest), golden: &golden, extra: BTreeMap::new() };
        publish(models, draft, plan).with_context(|| format!("model {}", model.name))?;
    }
    Ok(())
}

/// Splits a random leaf until there are enough.
fn tree(n_inputs: usize, n_leaves: usize, dice: &mut ChaCha8Rng) -> Tree {
    let leaf = |dice: &mut ChaCha8Rng| Node::Leaf(Leaf { value: dice.random_range(-0.1..0.1), cover: 1.0 });
    let (mut nodes, mut leaves) = (vec![leaf(dice)], vec![0]);
    while leaves.len() < n_leaves {
        let at = leaves.swap_remove(dice.random_range(0..leaves.len()));
        let (left, right) = (nodes.len(), nodes.len() + 1);
        nodes.extend([leaf(dice), leaf(dice)]);
        leaves.extend([left, right]);
        nodes[at] = Node::Split(Split {
            input: dice.random_range(0..n_inputs as u32),
            // Counts and amounts: small ones are common.
            condition: Condition::Less(100.0 * dice.random::<f64>().powi(3)),
            missing: if dice.random() { Side::Left } else { Side::Right },
            zero_is_missing: false,
            left: left as u32,
            right: right as u32,
            cover: 0.0,
        });
    }
    cover(&mut nodes);
    Tree::of(nodes)
}

/// The cover of a split is that of its children, which come after it.
fn cover(nodes: &mut [Node]) {
    for at in (0..nodes.len()).rev() {
        let (upto, after) = nodes.split_at_mut(at + 1);
        if let Node::Split(split) = &mut upto[at] {
            let children = [split.left, split.right].map(|child| after[child as usize - at - 1].cover());
            split.cover = children[0] + children[1];
        }
    }
}
