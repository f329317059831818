//! Which of a machine's instructions score a forest soonest: measured, as it
//! depends on the processor and on the forest. All give the same bits.

use std::time::{Duration, Instant};

use super::golden::Golden;
use crate::engine::forest::{Path, RankedForest};
use crate::engine::model::Scorer;

/// Rounds, of which the fastest of each path counts: others may use the processor.
const ROUNDS: usize = 3;
const ROWS: usize = 64;

/// The forest on its fastest path over the rows of some golden cases.
pub fn fastest(mut forest: RankedForest, cases: &[Golden]) -> RankedForest {
    let fits = |case: &&Golden| case.inputs.len() == forest.n_inputs();
    let rows: Vec<&[f64]> = cases.iter().filter(fits).map(|case| &case.inputs[..]).take(ROWS).collect();
    let mut best = (Duration::MAX, forest.path());
    if rows.is_empty() || best.1 == Path::Reference {
        return forest;
    }
    let mut raw = vec![0.0; forest.n_outputs()];
    for _ in 0..ROUNDS {
        for &path in Path::available().iter().filter(|path| **path != Path::Reference) {
            forest = forest.with_path(path);
            let start = Instant::now();
            rows.iter().for_each(|row| forest.score(row, &mut raw));
            best = best.min((start.elapsed(), path));
        }
    }
    forest.with_path(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::forest::{Forest, Frame, Leaf, Node, Tree};

    #[test]
    fn the_choice_is_among_the_fast_ones() {
        let tree = || Tree::of(vec![Node::Leaf(Leaf { value: 0.25, cover: 1.0 })]);
        let forest = Forest::new(Frame::single(1, 0.5), vec![tree(), tree()]).expect("valid");
        let case = Golden { inputs: vec![1.0], raw: 1.0, outputs: vec![1.0] };
        for cases in [vec![case], Vec::new()] {
            let ranked = fastest(RankedForest::new(forest.clone()), &cases);
            assert_ne!(ranked.path(), Path::Reference);
            assert!(Path::available().contains(&ranked.path()));
        }
        let slow = RankedForest::new(forest).with_path(Path::Reference);
        assert_eq!(fastest(slow, &[]).path(), Path::Reference);
    }
}
