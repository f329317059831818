//! What HyperLogLog sketches have in common (Flajolet et al., "HyperLogLog", 2007).

/// Ranks of 64-bit keys reach so far, with no bit taken for the index.
const MAX_RANK: usize = 65;

/// The register of a key among `2^index_bits`, and its rank there: the place
/// of the first bit set in the rest of the key.
pub fn place(key: u64, index_bits: u32) -> (usize, u8) {
    let rest = key << index_bits | 1 << (index_bits - 1);
    ((key >> (u64::BITS - index_bits)) as usize, rest.leading_zeros() as u8 + 1)
}

/// The greatest rank that [`place`] gives.
pub const fn max_rank(index_bits: u32) -> u8 {
    (u64::BITS - index_bits) as u8 + 1
}

/// How many registers have each rank as their greatest, 0 where there was no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ranks([u16; MAX_RANK + 1]);

impl Ranks {
    pub fn none() -> Self {
        Self([0; MAX_RANK + 1])
    }

    pub fn add(&mut self, rank: u8) {
        self.0[usize::from(rank)] += 1;
    }

    /// Of a register that had `old` and has `new`.
    pub fn exchange(&mut self, old: u8, new: u8) {
        self.0[usize::from(old)] -= 1;
        self.0[usize::from(new)] += 1;
    }

    /// How many distinct keys leave these ranks. The standard error is
    /// `1.04 / sqrt(registers)`, without a bias for few or many (Ertl, "New
    /// cardinality estimation algorithms for HyperLogLog sketches", 2017,
    /// algorithm 6).
    pub fn estimate(&self, index_bits: u32) -> f64 {
        let (m, greatest) = (f64::from(1_u32 << index_bits), usize::from(max_rank(index_bits)));
        let share = |rank: usize| f64::from(self.0[rank]) / m;
        let mut sum = m * tau(1.0 - share(greatest));
        // Above the greatest rank there is, nothing has been added.
        let highest = if sum > 0.0 { greatest } else { self.0.iter().rposition(|&n| n > 0).unwrap_or(0) + 1 };
        for rank in (1..highest).rev() {
            sum = 0.5 * (sum + f64::from(self.0[rank]));
        }
        sum += m * sigma(share(0));
        // Full registers would say that there is no end of them.
        (m * m / (2.0 * std::f64::consts::LN_2 * sum)).min(u64::MAX as f64)
    }
}

impl FromIterator<u8> for Ranks {
    fn from_iter<T: IntoIterator<Item = u8>>(ranks: T) -> Self {
        ranks.into_iter().fold(Self::none(), |mut all, rank| {
            all.add(rank);
            all
        })
    }
}

/// What registers without a key add; infinite if all are.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut sum, mut weight) = (x, 1.0);
    loop {
        x *= x;
        let before = sum;
        sum += x * weight;
        weight += weight;
        if sum == before {
            return sum;
        }
    }
}

/// What registers of the greatest rank take away.
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut sum, mut weight) = (1.0 - x, 1.0);
    loop {
        x = x.sqrt();
        let before = sum;
        weight *= 0.5;
        sum -= (1.0 - x).powi(2) * weight;
        if sum == before {
            return sum / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_is_the_place_of_the_first_bit_after_the_index() {
        assert_eq!(place(u64::MAX, 8), (255, 1));
        assert_eq!(place(0x01_40_00_00_00_00_00_00, 8), (1, 2));
        assert_eq!(place(1, 8), (0, 56));
        assert_eq!(place(0xff << 56, 8), (255, max_rank(8)));
        assert_eq!(place(0, 12), (0, max_rank(12)));
    }

    #[test]
    fn the_ends_are_finite_and_nothing_is_zero() {
        let all = |rank| std::iter::repeat_n(rank, 256).collect::<Ranks>();
        assert_eq!(all(0).estimate(8), 0.0);
        assert!(all(1).estimate(8).is_finite());
        assert_eq!(all(max_rank(8)).estimate(8), u64::MAX as f64);
    }
}
