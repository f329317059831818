//! How many of some numbers, in order, another one reaches.

use super::ranks::WIDTH;

/// Blocks of sixteen; above them, as often as needed, blocks of the last of each.
#[derive(Debug, Default)]
pub struct Search {
    /// From the top, which is one block. NaN, which is reached by none, fills up
    /// the last of each level, where there is at least one.
    levels: Vec<Vec<[f64; WIDTH]>>,
}

impl Search {
    /// Of numbers that ascend; at the end, they may be NaN.
    pub fn of(ascending: &[f64]) -> Self {
        let mut levels: Vec<Vec<[f64; WIDTH]>> = Vec::new();
        let mut numbers = ascending.to_vec();
        while levels.last().is_none_or(|level| level.len() > 1) {
            let block =
                |at: usize| std::array::from_fn(|n| numbers.get(WIDTH * at + n).copied().unwrap_or(f64::NAN));
            let level: Vec<[f64; WIDTH]> = (0..=numbers.len() / WIDTH).map(block).collect();
            numbers = level.iter().map(|block| block[WIDTH - 1]).collect();
            levels.push(level);
        }
        levels.reverse();
        Self { levels }
    }

    /// How many of the numbers are not greater than `value`; of each block as
    /// `n_reached` says.
    #[inline(always)]
    pub fn n_reached(&self, value: f64, n_reached: impl Fn(f64, &[f64; WIDTH]) -> usize) -> usize {
        self.levels.iter().fold(0, |at, level| WIDTH * at + n_reached(value, &level[at]))
    }
}
