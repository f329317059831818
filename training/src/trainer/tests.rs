use ::gbdt::decision_tree::Data;
use ndarray::Array2;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tipoff::engine::forest::{Condition, Node, Side, Split, Tree};
use tipoff::engine::model::Link;

use super::*;

const SETTINGS: Settings = Settings { n_trees: 30, depth: 4, learning_rate: 0.3, seed: 1 };

fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// A label that depends on two inputs and on whether the third is missing;
/// the fourth is a count, the fifth never missing.
fn data(n_rows: usize, seed: u64) -> (Array2<f64>, Vec<f64>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut x = Array2::zeros((n_rows, 5));
    let mut y = Vec::with_capacity(n_rows);
    for mut row in x.rows_mut() {
        for input in 0..4 {
            row[input] = if uniform(&mut rng) < 0.2 { f64::NAN } else { 4.0 * uniform(&mut rng) - 2.0 };
        }
        row[3] = (row[3] * 3.0).round();
        row[4] = uniform(&mut rng) / 3.0;
        let raw = row[0].max(-2.0) + 2.0 * f64::from(row[1] > 0.3) + 1.5 * f64::from(row[2].is_nan()) - 1.5;
        y.push(f64::from(uniform(&mut rng) < Link::Logistic.apply(raw)));
    }
    (x, y)
}

fn splits(forest: &Forest) -> impl Iterator<Item = &Split> {
    forest.trees().iter().flat_map(|tree| &tree.nodes).filter_map(|node| match node {
        Node::Split(split) => Some(split),
        Node::Leaf(_) => None,
    })
}

fn depth(tree: &Tree, node: usize) -> usize {
    match &tree.nodes[node] {
        Node::Leaf(_) => 0,
        Node::Split(split) => 1 + depth(tree, split.left as usize).max(depth(tree, split.right as usize)),
    }
}

/// Rows of other values, and of values on every threshold and beside it.
fn probes(forest: &Forest) -> Array2<f64> {
    let (random, _) = data(500, 99);
    let mut probes: Vec<f64> = random.iter().copied().collect();
    for (index, split) in splits(forest).enumerate() {
        let Condition::Less(threshold) = split.condition else { panic!("{split:?}") };
        // A trainer in single precision takes the numbers beside it for the threshold.
        let single = threshold as f32;
        let beside = [single.next_down(), single.next_up()].map(f64::from);
        for at in [threshold.next_down(), threshold, threshold.next_up(), beside[0], beside[1]] {
            let mut row = random.row(index % random.nrows()).to_vec();
            row[split.input as usize] = at;
            probes.extend(row);
        }
    }
    for constant in [f64::NAN, 0.0, -0.0, 1e300, -1e300, f64::INFINITY, f64::NEG_INFINITY] {
        probes.extend([constant; 5]);
    }
    Array2::from_shape_vec((probes.len() / 5, 5), probes).expect("rows of five")
}

#[test]
fn forust_is_exported_bit_for_bit() {
    let (x, y) = data(3_000, 1);
    let booster = forust::fit(SETTINGS, x.view(), &y).expect("fits");
    let forest = forust::export(&booster, 5).expect("exports");
    assert_eq!(forest.trees().len(), 30);
    assert!(splits(&forest).any(|split| split.missing == Side::Left));
    assert!(splits(&forest).any(|split| split.missing == Side::Right));
    let probes = probes(&forest);
    let columns: Vec<f64> = probes.t().iter().copied().collect();
    let own = booster.predict(&forust_ml::Matrix::new(&columns, probes.nrows(), 5), false);
    for (own, row) in own.iter().zip(probes.rows()) {
        assert_eq!(own.to_bits(), forest.raw(&row.to_vec()).to_bits(), "{row}");
    }
}

#[test]
fn gbdt_is_exported_bit_for_bit_on_the_original_inputs() {
    let (x, y) = data(1_500, 1);
    let settings = Settings { n_trees: 10, ..SETTINGS };
    let fills = gbdt::fills(x.view()).expect("fills");
    assert_eq!(fills.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, true, true, false]);
    let model = gbdt::fit(settings, x.view(), &y, &fills).expect("fits");
    let forest = gbdt::export(&model, &fills).expect("exports");
    let mut probes = probes(&forest);
    for mut row in probes.rows_mut() {
        // Missing where never seen missing has no answer of the trainer's own.
        if row[4].is_nan() {
            row[4] = 0.1;
        }
    }
    let own =
        model.predict(&gbdt::rows(probes.view(), &fills).map(|row| Data::new_test_data(row, None)).collect());
    for (own, row) in own.iter().zip(probes.rows()) {
        let row = row.to_vec();
        // The trainer adds halves of log-odds, in f32.
        let sum = (forest.raw(&row) / 2.0) as f32;
        assert_eq!((1.0 / (1.0 + (-2.0 * sum).exp())).to_bits(), own.to_bits(), "{row:?}");
        assert!((Link::Logistic.apply(forest.raw(&row)) - f64::from(*own)).abs() < 1e-6);
    }
}

#[test]
fn both_trainers_find_the_signal_and_do_so_again() {
    let (x, y) = data(4_000, 2);
    let (valid_x, valid_y) = data(2_000, 3);
    let base_rate = valid_y.iter().sum::<f64>() / valid_y.len() as f64;
    let loss_of = |probability: &dyn Fn(&[f64]) -> f64| -> f64 {
        let losses = valid_x.rows().into_iter().zip(&valid_y).map(|(row, &y)| {
            let p = probability(&row.to_vec());
            if y == 1.0 { -p.ln() } else { -(1.0 - p).ln() }
        });
        losses.sum::<f64>() / valid_y.len() as f64
    };
    let constant = loss_of(&|_| base_rate);
    for trainer in [&Forust(SETTINGS) as &dyn Trainer, &Gbdt(Settings { n_trees: 12, ..SETTINGS })] {
        let train = || fit(trainer, (x.view(), &y), (valid_x.view(), &valid_y)).expect("fits");
        let forest = train();
        let loss = loss_of(&|row| Link::Logistic.apply(forest.raw(row)));
        assert!(loss < 0.9 * constant, "{}: {loss} is no better than {constant}", trainer.name());
        assert_eq!(forest, train(), "{} is not deterministic", trainer.name());
        assert_eq!(forest.trees()[0].nodes[0].cover(), 4_000.0);
        assert_eq!(forest.trees().iter().map(|tree| depth(tree, 0)).max(), Some(SETTINGS.depth));
        assert!(forest.expected().is_some());
    }
}

#[test]
fn trees_that_do_not_help_are_dropped() {
    let (x, _) = data(1_000, 4);
    // Labels that say nothing: whatever is learnt after the first tree is noise.
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut coin = || (0..1_000).map(|_| f64::from(uniform(&mut rng) < 0.3)).collect::<Vec<_>>();
    let forest = fit(&Forust(SETTINGS), (x.view(), &coin()), (x.view(), &coin())).expect("fits");
    assert!(forest.trees().len() < 5, "{} trees", forest.trees().len());
}

#[test]
fn what_cannot_be_trained_on_is_said() {
    let (x, y) = data(100, 6);
    let refused = |x: &Array2<f64>, y: &[f64], expected: &str| {
        let result = fit(&Forust(SETTINGS), (x.view(), y), (x.view(), y));
        let error = format!("{:#}", result.expect_err("refused"));
        assert!(error.contains(expected), "{error}");
    };
    refused(&x, &y[1..], "100 rows, but 99 labels");
    refused(&x, &[1.0; 100], "100 of 100 training rows have the label");
    refused(&x, &[0.5; 100], "neither 0 nor 1");
    refused(&Array2::zeros((100, 0)), &y, "no numeric feature");
    let mut infinite = x.clone();
    infinite[(7, 2)] = f64::INFINITY;
    refused(&infinite, &y, "row 7, input 2 is inf");
}
