//! Sets of categories as converters write them: a chain of nodes that ask one
//! number after the other, all with the same true child. Each chain becomes one
//! node that asks for the set.

use super::outputs::WeightedTree;
use crate::engine::forest::{Condition, Node, Ranges, Side, Split};

pub fn merge(tree: &mut WeightedTree) {
    let continues = continuations(&tree.nodes);
    let mut sets = Vec::new();
    let mut n_merged = 0;
    for head in (0..tree.nodes.len()).filter(|&node| !continues[node]) {
        let Node::Split(first) = &tree.nodes[head] else { continue };
        let mut whole = first.clone();
        let mut members = Vec::from_iter(member(first));
        while let Node::Split(next) = &tree.nodes[whole.right as usize]
            && continues[whole.right as usize]
        {
            members.extend(member(next));
            whole.right = next.right;
            // Missing values are in no set: they come by, and leave where one of the nodes tells them to.
            if next.missing == Side::Left {
                whole.missing = Side::Left;
            }
            n_merged += 1;
        }
        if members.len() > 1 {
            whole.condition = Condition::OneOf(Ranges::of(members));
            sets.push((head, whole));
        }
    }
    // Those without a head go round in a cycle, and are left for the forest's checks.
    if n_merged == continues.iter().filter(|continues| **continues).count() {
        for (head, set) in sets {
            tree.nodes[head] = Node::Split(set);
        }
        remove(tree, &continues);
    }
}

/// By node, whether it asks on where its only parent left off.
fn continuations(nodes: &[Node]) -> Vec<bool> {
    let mut n_parents = vec![0_u32; nodes.len()];
    let splits = || {
        nodes.iter().filter_map(|node| match node {
            Node::Split(split) => Some(split),
            Node::Leaf(_) => None,
        })
    };
    for split in splits() {
        n_parents[split.left as usize] += 1;
        n_parents[split.right as usize] += 1;
    }
    let mut continues = vec![false; nodes.len()];
    for split in splits() {
        let right = split.right as usize;
        // The first node is the root, whoever claims it.
        if let Node::Split(next) = &nodes[right]
            && right != 0
            && n_parents[right] == 1
            && (split.input, split.left) == (next.input, next.left)
            && member(split).is_some()
            && member(next).is_some()
        {
            continues[right] = true;
        }
    }
    continues
}

/// The one number that a node asks for, as a range.
fn member(split: &Split) -> Option<(f64, f64)> {
    match &split.condition {
        Condition::OneOf(ranges) => match *ranges.ends() {
            [start, end] => Some((start, end)),
            _ => None,
        },
        _ => None,
    }
}

fn remove(tree: &mut WeightedTree, gone: &[bool]) {
    let mut n_kept = 0;
    let places: Vec<u32> = gone
        .iter()
        .map(|&gone| {
            let place = n_kept;
            n_kept += u32::from(!gone);
            place
        })
        .collect();
    let mut gone = gone.iter();
    tree.nodes.retain(|_| gone.next().is_some_and(|gone| !gone));
    for node in &mut tree.nodes {
        if let Node::Split(split) = node {
            split.left = places[split.left as usize];
            split.right = places[split.right as usize];
        }
    }
    for weight in &mut tree.weights {
        weight.node = places[weight.node] as usize;
    }
}
