//! What any bytes that may be a model file must be: refused, or a model that scores.

use tipoff::engine::forest::{Path, RankedForest};
use tipoff::engine::model::Scorer;
use tipoff::model_file::{Error, TreeModel};

/// What inputs may be; a row has one of them throughout, or all in turn.
const VALUES: [f64; 8] = [f64::NAN, 0.0, -0.0, 1.0, -1.5, 3e38, f64::INFINITY, f64::NEG_INFINITY];

/// Bytes of the longest reason that a refusal gives.
const MAX_REASON: usize = 1_000;

/// # Panics
/// A refusal is longer than a line of a log may be; or scores are not finite,
/// not the same by all paths, or not the sum of their contributions.
pub fn check(read: fn(&[u8]) -> Result<TreeModel, Error>, content: &[u8]) {
    let model = match read(content) {
        Ok(model) => model,
        Err(error) => return assert!(error.to_string().len() < MAX_REASON, "{error}"),
    };
    let forest = &model.forest;
    let fast = Path::available().iter().map(|&path| RankedForest::new(forest.clone()).with_path(path));
    let fast: Vec<RankedForest> = fast.collect();
    let in_turn = VALUES.iter().copied().cycle().take(forest.n_inputs()).collect();
    let rows = VALUES.map(|value| vec![value; forest.n_inputs()]);
    for row in rows.into_iter().chain([in_turn]) {
        let mut raw = vec![0.0; forest.n_outputs()];
        forest.score(&row, &mut raw);
        assert!(raw.iter().all(|raw| raw.is_finite()), "{raw:?}");
        for fast in &fast {
            let mut of_fast = vec![f64::NAN; forest.n_outputs()];
            fast.score(&row, &mut of_fast);
            let same = of_fast.iter().zip(&raw).all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(same, "{of_fast:?} by {:?}, not {raw:?}", fast.path());
        }
        if let Some(contributions) = forest.contributions(&row, 0) {
            assert_eq!(contributions.len(), forest.n_inputs() + 1);
        }
        model.link.apply_all(&mut raw);
        assert!(raw.iter().all(|output| !output.is_nan()), "{raw:?}");
    }
}
