//! The feature vector: plain values by slot.

use std::sync::Arc;

/// Where a feature's value stands in a [`Vector`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Slot {
    Number(usize),
    Text(usize),
}

/// All features of one profile as of one instant.
///
/// Numbers (booleans are 0 and 1) have NaN for missing, which is what models
/// read; texts have `None`.
#[derive(Clone, Debug, Default)]
pub struct Vector {
    pub numbers: Vec<f64>,
    pub texts: Vec<Option<Arc<str>>>,
}

impl Vector {
    pub fn empty(n_numbers: usize, n_texts: usize) -> Self {
        Self { numbers: vec![f64::NAN; n_numbers], texts: vec![None; n_texts] }
    }

    /// Equal bit for bit, missing values included.
    pub fn same_bits(&self, other: &Self) -> bool {
        self.texts == other.texts
            && self.numbers.len() == other.numbers.len()
            && self.numbers.iter().zip(&other.numbers).all(|(a, b)| a.to_bits() == b.to_bits())
    }
}
