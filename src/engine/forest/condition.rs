//! What a split asks of a value that is there.

use std::sync::Arc;

#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// `input < threshold`: XGBoost, forust, gbdt.
    Less(f64),
    /// `input <= threshold`: LightGBM, scikit-learn.
    LessOrEqual(f64),
    /// Categories, and what else is no threshold.
    OneOf(Ranges),
}

/// A union of ranges of numbers.
///
/// Trainers take whole numbers for categories, but read other numbers as
/// such, too, each in its own way: by ranges all of them can be said.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranges {
    /// `[start, end)` after `[start, end)`, ascending.
    ends: Arc<[f64]>,
}

impl Condition {
    /// Whether it holds for a value that is not NaN.
    pub fn holds(&self, value: f64) -> bool {
        match self {
            Self::Less(threshold) => value < *threshold,
            Self::LessOrEqual(threshold) => value <= *threshold,
            Self::OneOf(ranges) => ranges.contains(value),
        }
    }
}

impl Ranges {
    /// Ranges by their ends; none unless these ascend and pair up.
    pub fn new(ends: Vec<f64>) -> Option<Self> {
        let ascend = ends.is_sorted_by(|a, b| a < b);
        (ascend && ends.len().is_multiple_of(2) && !ends.iter().any(|end| end.is_nan()))
            .then(|| Self { ends: ends.into() })
    }

    /// Those of some `[start, end)`, in any order; they may touch or overlap.
    pub fn of(ranges: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let mut ranges: Vec<(f64, f64)> = ranges.into_iter().filter(|(start, end)| start < end).collect();
        ranges.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut ends: Vec<f64> = Vec::new();
        for (start, end) in ranges {
            match ends.last_mut() {
                Some(last) if start <= *last => *last = last.max(end),
                _ => ends.extend([start, end]),
            }
        }
        Self { ends: ends.into() }
    }

    /// The one number.
    pub fn exactly(value: f64) -> Self {
        Self::of([(value, value.next_up())])
    }

    pub fn contains(&self, value: f64) -> bool {
        self.ends.partition_point(|end| *end <= value) % 2 == 1
    }

    pub fn ends(&self) -> &[f64] {
        &self.ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_what_lies_in_one_of_them() {
        let ranges = Ranges::of([(3.0, 4.0), ((-1.0_f64).next_up(), 1.0), (4.0, 5.0), (9.0, 9.0)]);
        assert_eq!(ranges.ends(), [(-1.0_f64).next_up(), 1.0, 3.0, 5.0]);
        for (value, expected) in [
            (-1.0, false),
            (-0.5, true),
            (-0.0, true),
            (0.9, true),
            (1.0, false),
            (2.9, false),
            (3.0, true),
            (4.5, true),
            (5.0, false),
            (f64::INFINITY, false),
            (f64::NEG_INFINITY, false),
        ] {
            assert_eq!(ranges.contains(value), expected, "{value}");
        }
        assert!(Ranges::exactly(0.5).contains(0.5) && !Ranges::exactly(0.5).contains(0.5_f64.next_up()));
        assert!(Ranges::exactly(0.0).contains(-0.0) && Ranges::exactly(-0.0).contains(0.0));
        assert!(!Ranges::of([]).contains(0.0));
    }

    #[test]
    fn ends_out_of_order_are_no_ranges() {
        for ends in [vec![1.0], vec![1.0, 1.0], vec![2.0, 1.0], vec![1.0, f64::NAN]] {
            assert_eq!(Ranges::new(ends), None);
        }
        assert_eq!(Ranges::new(vec![0.0, 1.0]), Some(Ranges::of([(0.0, 1.0)])));
    }
}
