//! Models to serve while measuring: of a stated size, with random splits. What
//! they say means nothing; what they cost does.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::engine::forest::{Condition, Forest, Frame, Leaf, Node, Side, Split, Tree};
use crate::engine::model::Link;
use crate::engine::plan::Plan;
use crate::engine::vector::Slot;
use crate::registry::{Content, Draft, Golden, Manifest, publish};

const N_TREES: usize = 100;
const N_LEAVES: usize = 31;
pub const DESCRIPTION: &str = "100 random trees of 31 leaves each";

/// Publishes an artifact for every model of the plan.
pub fn publish_all(models: &Path, plan: &Plan, seed: u64) -> Result<()> {
    let mut dice = ChaCha8Rng::seed_from_u64(seed);
    for model in &plan.models {
        let features: Vec<usize> = model
            .features
            .iter()
            .copied()
            .filter(|&feature| matches!(plan.features[feature].slot, Slot::Number(_)))
            .collect();
        let trees = (0..N_TREES).map(|_| tree(features.len(), &mut dice)).collect();
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
fn tree(n_inputs: usize, dice: &mut ChaCha8Rng) -> Tree {
    let leaf = |dice: &mut ChaCha8Rng| Node::Leaf(Leaf { value: dice.random_range(-0.1..0.1), cover: 1.0 });
    let (mut nodes, mut leaves) = (vec![leaf(dice)], vec![0]);
    while leaves.len() < N_LEAVES {
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
