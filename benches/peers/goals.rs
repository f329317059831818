//! What is to be reached, next to what was.

use super::timing::Figures;

/// By the instructions that walk the trees: the share of LightGBM's p50 on models (i), (ii) and (iii).
const OF_LIGHTGBM: [(&str, [f64; 3]); 3] =
    [("Avx512", [0.10, 0.10, 0.04]), ("Avx2", [0.22, 0.22, 0.10]), ("Portable", [0.26, 0.26, 0.13])];

/// A figure, and the most or the least that it may be.
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// Prints each goal of the model; `figures` is of a contestant by name, `best` is our fastest.
pub fn print<'a>(model: &str, best: &str, figures: impl Fn(&str) -> Option<&'a Figures>) {
    let (Some(lightgbm), Some(ours)) = (figures("LightGBM"), figures(best)) else { return };
    let (lleaves, onnx, xgboost) = (figures("lleaves"), figures("ONNX Runtime"), figures("XGBoost"));
    if let Some(size) = ["i", "ii", "iii"].iter().position(|name| *name == model) {
        for (path, shares) in OF_LIGHTGBM {
            let share = figures(&format!("tipoff {path}")).map(|it| it.single.p50 / lightgbm.single.p50);
            line(&format!("{path}, p50 of LightGBM's"), share, Bound::AtMost(shares[size]));
            if best.ends_with(path) {
                let share = figures(super::IN_PARTS).map(|it| it.single.p50 / lightgbm.single.p50);
                line(&format!("{path} in parts, p50 of LightGBM's"), share, Bound::AtMost(shares[size]));
            }
        }
    }
    let p50_of = |peer: Option<&Figures>| peer.map(|peer| ours.single.p50 / peer.single.p50);
    if model != "iii" {
        line("p50 of lleaves'", p50_of(lleaves), Bound::AtMost(0.35));
    }
    line("p50 of ONNX Runtime's", p50_of(onnx), Bound::AtMost(0.10));
    line("p99 of p50", Some(ours.alone.p99 / ours.alone.p50), Bound::AtMost(1.5));
    line("cold, of LightGBM's", Some(ours.cold.p50 / lightgbm.cold.p50), Bound::AtMost(0.25));
    line("p50 of two threads, of one's", Some(ours.of_two.p50 / ours.alone.p50), Bound::AtMost(1.1));
    line("CPU of loading, of LightGBM's", Some(ours.load_ms / lightgbm.load_ms), Bound::AtMost(1.0));
    if model == "ii" {
        let times = |peer: &Figures| ours.batch_rows_per_second / peer.batch_rows_per_second;
        line("batch, times LightGBM's", Some(times(lightgbm)), Bound::AtLeast(12.0));
        line("batch, times lleaves'", lleaves.map(times), Bound::AtLeast(2.3));
        line("batch, times XGBoost's", xgboost.map(times), Bound::AtLeast(7.0));
    }
    if let (Some(ours), Some(peer)) = (figures("tipoff, of CatBoost"), figures("CatBoost C++")) {
        let share = ours.single.p50 / peer.single.p50;
        line("symmetric trees, p50 of CatBoost's", Some(share), Bound::AtMost(1.0));
    }
}

fn line(what: &str, figure: Option<f64>, bound: Bound) {
    let Some(figure) = figure else {
        println!("  {what:<36}       -  not here");
        return;
    };
    let (words, bound, is_met) = match bound {
        Bound::AtMost(most) => ("at most", most, figure <= most),
        Bound::AtLeast(least) => ("at least", least, figure >= least),
    };
    println!("  {what:<36}{figure:>8.3}  {words} {bound}: {}", if is_met { "met" } else { "missed" });
}
