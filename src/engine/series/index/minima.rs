//! The least number of every suffix of some rows.

/// The rows that are less than all later ones, by position: a monotonic stack.
///
/// The least number from a row on is that of the first of them that is not
/// before it. Of rows in random order there are few, about the logarithm of
/// their number; of rows in rising order, all.
#[derive(Clone, Debug, Default)]
pub struct Minima {
    rows: Vec<Minimum>,
}

#[derive(Clone, Copy, Debug)]
struct Minimum {
    number: f64,
    position: u32,
}

impl Minima {
    /// Takes in the number of a row after all others.
    pub fn push(&mut self, position: usize, number: f64) {
        while self.rows.pop_if(|last| last.number >= number).is_some() {}
        self.rows.push(Minimum { number, position: position as u32 });
    }

    /// Takes in the number of a row before others, which have moved on by
    /// one; a row without a number (NaN) only moves them.
    pub fn insert(&mut self, position: usize, number: f64) {
        let at = self.rows.partition_point(|row| (row.position as usize) < position);
        self.rows[at..].iter_mut().for_each(|row| row.position += 1);
        if number.is_nan() || self.rows.get(at).is_some_and(|later| later.number <= number) {
            return;
        }
        let first = self.rows[..at].partition_point(|row| row.number < number);
        self.rows.splice(first..at, [Minimum { number, position: position as u32 }]);
    }

    /// The least number from `position` on; NaN if there is none.
    pub fn from(&self, position: usize) -> f64 {
        let at = self.rows.partition_point(|row| (row.position as usize) < position);
        self.rows.get(at).map_or(f64::NAN, |row| row.number)
    }

    /// Forgets the first `n` positions; the others go down by so much.
    pub fn drop_positions(&mut self, n: usize) {
        let gone = self.rows.partition_point(|row| (row.position as usize) < n);
        self.rows.drain(..gone);
        self.rows.iter_mut().for_each(|row| row.position -= n as u32);
    }
}
