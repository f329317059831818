//! One row scored after another by forests of three sizes: the reference walk
//! against what the machine has.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tipoff::engine::forest::{Condition, Forest, Frame, Leaf, Node, Path, RankedForest, Side, Split, Tree};
use tipoff::engine::model::Scorer;

const N_INPUTS: usize = 40;
/// Thresholds of an input, as of a trainer that puts values into bins.
const N_BINS: u32 = 254;
const N_ROWS: usize = 20_000;

/// Counts and amounts: many are 0, many are missing.
fn value(dice: &mut ChaCha8Rng) -> f64 {
    match dice.random_range(0..100) {
        0..30 => 0.0,
        30..49 => f64::NAN,
        _ => bin(dice.random_range(0..N_BINS)) + dice.random_range(-1.0..1.0),
    }
}

fn bin(number: u32) -> f64 {
    f64::from(number) * 3.7
}

/// Splits a random leaf until there are enough.
fn tree(n_leaves: usize, dice: &mut ChaCha8Rng) -> Tree {
    let leaf = |dice: &mut ChaCha8Rng| Node::Leaf(Leaf { value: dice.random_range(-0.1..0.1), cover: 0.0 });
    let (mut nodes, mut leaves) = (vec![leaf(dice)], vec![0]);
    while leaves.len() < n_leaves {
        let at = leaves.swap_remove(dice.random_range(0..leaves.len()));
        let (left, right) = (nodes.len() as u32, nodes.len() as u32 + 1);
        nodes.extend([leaf(dice), leaf(dice)]);
        leaves.extend([left as usize, right as usize]);
        nodes[at] = Node::Split(Split {
            input: dice.random_range(0..N_INPUTS as u32),
            condition: Condition::LessOrEqual(bin(dice.random_range(0..N_BINS))),
            missing: if dice.random() { Side::Left } else { Side::Right },
            zero_is_missing: false,
            left,
            right,
            cover: 0.0,
        });
    }
    Tree::of(nodes)
}

fn single_rows(c: &mut Criterion) {
    let mut dice = ChaCha8Rng::seed_from_u64(7);
    let rows: Vec<Vec<f64>> =
        (0..N_ROWS).map(|_| (0..N_INPUTS).map(|_| value(&mut dice)).collect()).collect();
    let mut group = c.benchmark_group("one row");
    for (n_trees, n_leaves) in [(100, 31), (500, 63), (1_000, 255)] {
        let trees = (0..n_trees).map(|_| tree(n_leaves, &mut dice)).collect();
        let forest = Forest::new(Frame::single(N_INPUTS, 0.0), trees).expect("a valid forest");
        for &path in Path::available() {
            let ranked = RankedForest::new(forest.clone()).with_path(path);
            let name = format!("{n_trees} trees of {n_leaves} leaves");
            group.bench_function(BenchmarkId::new(name, format!("{path:?}")), |bench| {
                let mut rows = rows.iter().cycle();
                let mut raw = [0.0];
                bench.iter(|| {
                    ranked.score(black_box(rows.next().expect("cycles")), &mut raw);
                    raw[0]
                });
            });
        }
    }
}

criterion_group!(benches, single_rows);
criterion_main!(benches);
