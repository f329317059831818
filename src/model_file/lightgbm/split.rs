//! The question of a split, from a threshold and its `decision_type`.

use crate::engine::forest::{Condition, Ranges, Side, ZERO};

const CATEGORICAL: u8 = 1;
const DEFAULT_LEFT: u8 = 2;

/// What a split asks, and where what is missing goes.
pub struct Question {
    pub condition: Condition,
    pub missing: Side,
    pub zero_is_missing: bool,
}

/// A `decision_type`, as its bits have it.
#[derive(Clone, Copy)]
pub enum Decision {
    Categorical,
    Numerical { missing: Missing, default: Side },
}

/// What is missing and goes the default way.
#[derive(Clone, Copy, PartialEq)]
pub enum Missing {
    /// Nothing: NaN is 0.
    None,
    /// 0, and so NaN.
    Zero,
    Nan,
}

impl Decision {
    /// None if the bits are of no such type.
    pub fn of(bits: u32) -> Option<Self> {
        let bits = u8::try_from(bits).ok().filter(|bits| *bits < 16)?;
        let missing = match bits >> 2 {
            0 => Missing::None,
            1 => Missing::Zero,
            2 => Missing::Nan,
            _ => return None,
        };
        let default = if bits & DEFAULT_LEFT == 0 { Side::Right } else { Side::Left };
        // Of categories, what is missing is none, whatever these say.
        Some(if bits & CATEGORICAL == 0 { Self::Numerical { missing, default } } else { Self::Categorical })
    }
}

/// Ranges of categories whose bits are set, at most: one that goes on from a word
/// to the next counts twice.
pub fn n_ranges(words: &[u32]) -> usize {
    words.iter().map(|word| (word & !(word << 1)).count_ones() as usize).sum()
}

impl Question {
    pub fn numerical(threshold: f64, missing: Missing, default: Side) -> Self {
        // As the numbers that count as 0 do.
        let of_zero = if 0.0 <= threshold { Side::Left } else { Side::Right };
        // A threshold among these has all of them on one side.
        let threshold = match of_zero {
            Side::Left if threshold < ZERO => ZERO,
            Side::Right if threshold >= -ZERO => (-ZERO).next_down(),
            _ => threshold,
        };
        Self {
            condition: Condition::LessOrEqual(threshold),
            missing: if missing == Missing::None { of_zero } else { default },
            zero_is_missing: missing == Missing::Zero,
        }
    }

    /// Of the categories whose bits are set in `words`; at most 2^31 of them.
    pub fn categorical(words: &[u32]) -> Self {
        let mut ends: Vec<f64> = Vec::new();
        let with_bits = words.iter().enumerate().filter(|(_, word)| **word != 0);
        for category in with_bits.flat_map(|(index, &word)| {
            (0..u32::BITS)
                .filter(move |bit| word >> bit & 1 == 1)
                .map(move |bit| 32.0 * index as f64 + f64::from(bit))
        }) {
            match ends.last_mut() {
                Some(end) if *end == category => *end += 1.0,
                // Numbers down to -1, but not that, are cut to 0.
                _ if category == 0.0 => ends.extend([(-1.0_f64).next_up(), 1.0]),
                _ => ends.extend([category, category + 1.0]),
            }
        }
        let ranges = Ranges::new(ends).expect("categories ascend");
        Self { condition: Condition::OneOf(ranges), missing: Side::Right, zero_is_missing: false }
    }
}
