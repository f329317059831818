//! Forests scored by the reference walk and by what the machine has, one row
//! after another and many at once; and what their reasons cost.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tipoff::engine::forest::{Condition, Forest, Frame, Leaf, Node, Path, RankedForest, Side, Split, Tree};
use tipoff::engine::model::Scorer;

const N_INPUTS: usize = 40;
/// Thresholds of an input, as of a trainer that puts values into bins.
const N_BINS: u32 = 254;
const N_ROWS: usize = 20_000;
const N_BATCH: usize = 1_024;

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

/// One question a level, as CatBoost makes them.
fn symmetric(depth: u32, dice: &mut ChaCha8Rng) -> Tree {
    let levels: Vec<(u32, Condition, Side)> = (0..depth)
        .map(|_| {
            let missing = if dice.random() { Side::Left } else { Side::Right };
            let threshold = bin(dice.random_range(0..N_BINS));
            (dice.random_range(0..N_INPUTS as u32), Condition::LessOrEqual(threshold), missing)
        })
        .collect();
    let node = |node: u32| {
        let level = (node + 1).ilog2();
        let Some((input, condition, missing)) = levels.get(level as usize).cloned() else {
            return Node::Leaf(Leaf { value: dice.random_range(-0.1..0.1), cover: 1.0 });
        };
        let (left, right) = (2 * node + 1, 2 * node + 2);
        let cover = f64::from(1 << (depth - level));
        Node::Split(Split { input, condition, missing, zero_is_missing: false, left, right, cover })
    };
    Tree::of((0..(1 << (depth + 1)) - 1).map(node).collect())
}

/// More thresholds of an input than a byte counts: the forest is scored by bits.
fn many_thresholds() -> Vec<Tree> {
    let leaf = |value: f64| Node::Leaf(Leaf { value, cover: 1.0 });
    let stump = |at: u32| {
        let (condition, missing) = (Condition::LessOrEqual(f64::from(at) * 3.1 + 0.5), Side::Left);
        let split =
            Split { input: 0, condition, missing, zero_is_missing: false, left: 1, right: 2, cover: 2.0 };
        Tree::of(vec![Node::Split(split), leaf(0.001), leaf(-0.001)])
    };
    (0..256).map(stump).collect()
}

fn forests(dice: &mut ChaCha8Rng) -> Vec<(String, Forest)> {
    let mut forests = Vec::new();
    let mut add = |name: String, trees: Vec<Tree>| {
        forests.push((name, Forest::new(Frame::single(N_INPUTS, 0.0), trees).expect("a valid forest")));
    };
    for (n_trees, n_leaves) in [(100, 31), (500, 63), (1_000, 255)] {
        let trees: Vec<Tree> = (0..n_trees).map(|_| tree(n_leaves, dice)).collect();
        add(format!("{n_trees} trees of {n_leaves} leaves"), trees.clone());
        if n_trees == 500 {
            add("the same and 256 stumps".to_owned(), trees.into_iter().chain(many_thresholds()).collect());
        }
    }
    for (n_trees, depth) in [(100, 5), (500, 6), (1_000, 8)] {
        let trees = (0..n_trees).map(|_| symmetric(depth, dice)).collect();
        add(format!("{n_trees} symmetric trees of depth {depth}"), trees);
    }
    forests
}

fn single_rows(c: &mut Criterion) {
    let mut dice = ChaCha8Rng::seed_from_u64(7);
    let rows: Vec<Vec<f64>> =
        (0..N_ROWS).map(|_| (0..N_INPUTS).map(|_| value(&mut dice)).collect()).collect();
    let batch: Vec<f64> = rows[..N_BATCH].concat();
    for (name, forest) in forests(&mut dice) {
        let mut group = c.benchmark_group(&name);
        for &path in Path::available() {
            let ranked = RankedForest::new(forest.clone()).with_path(path);
            group.throughput(Throughput::Elements(1));
            group.bench_function(BenchmarkId::new("one row", ranked.engine()), |bench| {
                let mut rows = rows.iter().cycle();
                let mut raw = [0.0];
                bench.iter(|| {
                    ranked.score(black_box(rows.next().expect("cycles")), &mut raw);
                    raw[0]
                });
            });
            group.throughput(Throughput::Elements(N_BATCH as u64));
            group.bench_function(BenchmarkId::new("1,024 rows", ranked.engine()), |bench| {
                let mut raw = vec![0.0; N_BATCH];
                bench.iter(|| ranked.score_batch(black_box(&batch), N_BATCH, &mut raw));
            });
        }
        group.throughput(Throughput::Elements(1));
        let covered = forest.with_covers(rows.iter().map(|row| &row[..])).expect("a valid forest");
        group.bench_function("reasons of one row", |bench| {
            let mut rows = rows.iter().cycle();
            bench.iter(|| covered.contributions(black_box(rows.next().expect("cycles")), 0));
        });
    }
}

criterion_group!(benches, single_rows);
criterion_main!(benches);
