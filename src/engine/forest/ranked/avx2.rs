//! Walking eight trees a vector.
#![expect(unsafe_code, reason = "gathers take addresses; they are faster than plain code")]

use std::arch::x86_64::{
    __m256i, _CMP_GE_OQ, _mm_loadu_si128, _mm256_add_epi32, _mm256_adds_epu8, _mm256_and_si256,
    _mm256_blendv_epi8, _mm256_broadcastsi128_si256, _mm256_castpd_si256, _mm256_castsi256_ps, _mm256_cmp_pd,
    _mm256_cmpeq_epi8, _mm256_cmpeq_epi32, _mm256_cmpgt_epi32, _mm256_i32gather_epi32, _mm256_loadu_pd,
    _mm256_loadu_si256, _mm256_mask_i32gather_epi32, _mm256_max_epu8, _mm256_movemask_epi8,
    _mm256_movemask_ps, _mm256_or_si256, _mm256_packs_epi16, _mm256_packs_epi32, _mm256_set1_epi8,
    _mm256_set1_epi32, _mm256_set1_pd, _mm256_setr_epi32, _mm256_setzero_si256, _mm256_shuffle_epi8,
    _mm256_slli_epi32, _mm256_srai_epi32, _mm256_srli_epi32, _mm256_srlv_epi32, _mm256_storeu_si256,
    _mm256_sub_epi32, _mm256_xor_si256,
};

use super::batch::{Batch, RowsAndRaw};
use super::layout::{Group, Layout, Slots};
use super::ranks::{self, RowRanks};
use super::rounds::{self, Lanes, Open};
use super::sums::{Sum, Sums};
use super::walk;
use super::wide::{FEW, MORE, MOST, Wide, by_words};

/// Trees of a vector.
const WIDTH: usize = 8;
/// Trees that are walked at once: as many as registers hold.
const LANES: usize = 4 * WIDTH;

pub fn is_available() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("popcnt")
}

pub fn add_leaves(layout: &Layout, row: &[f64], sum: &mut Sum) {
    debug_assert!(is_available());
    // SAFETY: this path is taken only where `is_available` says so.
    unsafe { add_leaves_avx2(layout, row, sum) }
}

#[target_feature(enable = "avx2,popcnt")]
fn add_leaves_avx2(layout: &Layout, row: &[f64], sum: &mut Sum) {
    let ranks = layout.ranker.rank_by(row, |value, thresholds| n_reached(value, thresholds));
    if let Some(symmetric) = &layout.symmetric {
        let look_up = |slots: &_| look_up(&ranks, symmetric.n_slots, slots);
        return symmetric.add_leaves(&layout.groups, sum, look_up);
    }
    let begin = |group: &_, lanes: &mut _| begin(layout, group, &ranks, lanes);
    let walk = |lanes: &mut _, n, depth| walk_lanes(layout, &ranks, lanes, n, depth);
    let keep = |lanes: &_, n, open: &mut Open| open.push(lanes, n, at_split(lanes));
    rounds::add_leaves(layout, sum, begin, walk, keep, |group, ends| walk::read(layout, group, ends));
}

/// [`rounds::add_leaves`]' `begin`.
#[target_feature(enable = "avx2,popcnt")]
#[inline]
fn begin(layout: &Layout, group: &Group, ranks: &RowRanks, lanes: &mut Lanes) {
    let ways = rounds::ways(|split| {
        let tests = &group.upper[split];
        let ranks = look_up(ranks, layout.ranker.n_slots(), &tests.slots);
        let [low, high] = [0, 32].map(|first| {
            let (rank, of_split) = (load(&ranks[first..]), load(&tests.ranks[first..]));
            // Where the greater is the split's.
            let goes_left = _mm256_cmpeq_epi8(_mm256_max_epu8(rank, of_split), of_split);
            u64::from(!_mm256_movemask_epi8(goes_left) as u32)
        });
        high << 32 | low
    });
    for (vector, nodes) in lanes.nodes.as_chunks_mut::<WIDTH>().0.iter_mut().enumerate() {
        let mut below: [_; Group::BELOW] =
            std::array::from_fn(|node| load(&group.below[node][WIDTH * vector..]));
        let mut n = Group::BELOW;
        for way in ways {
            n /= 2;
            let bits = _mm256_set1_epi32((way >> (WIDTH * vector)) as i32);
            let of_lanes = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
            let goes_right = _mm256_cmpeq_epi32(_mm256_and_si256(bits, of_lanes), of_lanes);
            for node in 0..n {
                below[node] = _mm256_blendv_epi8(below[node], below[n + node], goes_right);
            }
        }
        store(nodes, below[0]);
    }
}

#[target_feature(enable = "avx2,popcnt")]
#[inline]
fn walk_lanes(layout: &Layout, ranks: &RowRanks, lanes: &mut Lanes, n: usize, depth: u32) {
    let halves = lanes.at.as_chunks_mut::<LANES>().0.iter_mut().zip(lanes.nodes.as_chunks_mut::<LANES>().0);
    for ((at, nodes), first) in halves.zip((0..n).step_by(LANES)) {
        match n - first > LANES / 2 {
            true => walk::<4>(layout, ranks, at, nodes, depth),
            false => walk::<2>(layout, ranks, at, nodes, depth),
        }
    }
}

pub fn add_wide_leaves(wide: &Wide, row: &[f64], sum: &mut Sum) {
    debug_assert!(is_available());
    type Add = unsafe fn(&Wide, &[f64], &mut Sum);
    let add: [Add; 3] =
        [add_wide_leaves_avx2::<FEW>, add_wide_leaves_avx2::<MORE>, add_wide_leaves_avx2::<MOST>];
    // SAFETY: this path is taken only where `is_available` says so.
    unsafe { by_words(wide, add)(wide, row, sum) }
}

#[target_feature(enable = "avx2,popcnt")]
fn add_wide_leaves_avx2<const WORDS: usize>(wide: &Wide, row: &[f64], sum: &mut Sum) {
    let n_reached = |value, thresholds: &_| n_reached(value, thresholds);
    wide.add_leaves_by::<WORDS>(row, sum, n_reached, |wide, words, group| walk_wide(wide, words, group));
}

#[target_feature(enable = "avx2,popcnt")]
#[inline]
fn walk_wide(wide: &Wide, words: &[u64], group: &Group) -> [u32; Group::LANES] {
    let mut ends = group.roots;
    for lanes in ends.as_chunks_mut::<LANES>().0 {
        let mut at = std::array::from_fn(|vector| _mm256_slli_epi32::<1>(load(&lanes[WIDTH * vector..])));
        wide_levels(wide, words, &mut at, group.depth);
        for (vector, at) in at.into_iter().enumerate() {
            store(&mut lanes[WIDTH * vector..], _mm256_srli_epi32::<1>(at));
        }
    }
    ends
}

/// Moves down by `n_levels`.
#[target_feature(enable = "avx2,popcnt")]
#[inline]
fn wide_levels(wide: &Wide, words: &[u64], at: &mut [__m256i; 4], n_levels: u32) {
    let nodes: *const i32 = wide.nodes.as_ptr().cast();
    for _ in 0..n_levels {
        for at in &mut *at {
            // SAFETY: roots are nodes, nodes lead to nodes, and each has two parts.
            let test = unsafe { _mm256_i32gather_epi32::<4>(nodes, *at) };
            // SAFETY: as before.
            let child = unsafe { _mm256_i32gather_epi32::<4>(nodes.add(1), *at) };
            // SAFETY: there is a bit of every test, and these are halves of words.
            let half =
                unsafe { _mm256_i32gather_epi32::<4>(words.as_ptr().cast(), _mm256_srli_epi32::<5>(test)) };
            let within = _mm256_and_si256(test, _mm256_set1_epi32(31));
            let bit = _mm256_and_si256(_mm256_srlv_epi32(half, within), _mm256_set1_epi32(1));
            *at = _mm256_add_epi32(child, _mm256_add_epi32(bit, bit));
        }
    }
}

pub fn score_batch(batch: &Batch, layout: &Layout, sums: &Sums, rows: RowsAndRaw) {
    debug_assert!(is_available());
    // SAFETY: this path is taken only where `is_available` says so.
    unsafe { score_batch_avx2(batch, layout, sums, rows) }
}

#[target_feature(enable = "avx2,popcnt")]
fn score_batch_avx2(batch: &Batch, layout: &Layout, sums: &Sums, rows: RowsAndRaw) {
    batch.score(&layout.ranker, sums, rows, |value, thresholds| n_reached(value, thresholds));
}

/// The ranks in the slots, of which there are `n_slots`.
#[target_feature(enable = "avx2,popcnt")]
#[inline]
pub fn look_up(ranks: &RowRanks, n_slots: usize, slots: &Slots) -> [u8; Group::LANES] {
    const TABLE: usize = 16;
    let mut found = [0; Group::LANES];
    for (slots, found) in slots.as_chunks::<32>().0.iter().zip(found.as_chunks_mut::<32>().0) {
        let slots = load(slots);
        let mut of_tables = _mm256_setzero_si256();
        for (number, table) in ranks.as_chunks::<TABLE>().0.iter().take(n_slots.div_ceil(TABLE)).enumerate() {
            // SAFETY: a table is sixteen bytes.
            let table = _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(table.as_ptr().cast()) });
            // Bytes of slots in the table are 0x70 to 0x7f; of others they are greater, and give 0.
            let place = _mm256_xor_si256(slots, _mm256_set1_epi8((TABLE * number) as i8));
            let place = _mm256_adds_epu8(place, _mm256_set1_epi8(0x70));
            of_tables = _mm256_or_si256(of_tables, _mm256_shuffle_epi8(table, place));
        }
        // SAFETY: there is room for all 32.
        unsafe { _mm256_storeu_si256(found.as_mut_ptr().cast(), of_tables) }
    }
    found
}

/// How many of the thresholds are not greater than `value`.
#[target_feature(enable = "avx2,popcnt")]
#[inline]
pub fn n_reached(value: f64, thresholds: &[f64; ranks::WIDTH]) -> usize {
    let value = _mm256_set1_pd(value);
    let quarters = thresholds.as_chunks::<4>().0;
    let [a, b, c, d] = [0, 1, 2, 3].map(|quarter| {
        // SAFETY: there are four.
        let thresholds = unsafe { _mm256_loadu_pd(quarters[quarter].as_ptr()) };
        _mm256_castpd_si256(_mm256_cmp_pd::<_CMP_GE_OQ>(value, thresholds))
    });
    let two_bytes_each = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
    _mm256_movemask_epi8(two_bytes_each).count_ones() as usize / 2
}

/// The first vectors.
#[target_feature(enable = "avx2,popcnt")]
#[inline]
fn walk<const VECTORS: usize>(
    layout: &Layout,
    ranks: &RowRanks,
    at_lanes: &mut [u32; LANES],
    node_lanes: &mut [u32; LANES],
    depth: u32,
) {
    let mut at: [_; VECTORS] = std::array::from_fn(|vector| load(&at_lanes[WIDTH * vector..]));
    let mut nodes: [_; VECTORS] = std::array::from_fn(|vector| load(&node_lanes[WIDTH * vector..]));
    for _ in 0..depth {
        for (at, node) in at.iter_mut().zip(&mut nodes) {
            *at = _mm256_add_epi32(*at, next(ranks, *node));
            let (all, is_split) = (layout.nodes.as_ptr().cast(), *node);
            // SAFETY: splits lead to nodes.
            *node = unsafe { _mm256_mask_i32gather_epi32::<4>(*node, all, *at, is_split) };
        }
    }
    for (vector, (at, nodes)) in at.into_iter().zip(nodes).enumerate() {
        let (at_leaf, is_split) = (at_leaf(next(ranks, nodes)), _mm256_srai_epi32::<31>(nodes));
        store(&mut at_lanes[WIDTH * vector..], at);
        store(&mut node_lanes[WIDTH * vector..], _mm256_blendv_epi8(at_leaf, nodes, is_split));
    }
}

/// By how much nodes lead on, if they are splits, else to which leaf.
#[target_feature(enable = "avx2")]
#[inline]
fn next(ranks: &RowRanks, nodes: __m256i) -> __m256i {
    let byte = _mm256_set1_epi32(0xff);
    let slot = _mm256_and_si256(_mm256_srli_epi32::<8>(nodes), byte);
    // SAFETY: a slot is a byte, and there are three ranks more than that makes.
    let rank = unsafe { _mm256_i32gather_epi32::<1>(ranks.as_ptr().cast(), slot) };
    let goes_right = _mm256_cmpgt_epi32(_mm256_and_si256(rank, byte), _mm256_and_si256(nodes, byte));
    // All bits are -1.
    _mm256_sub_epi32(_mm256_srai_epi32::<16>(nodes), goes_right)
}

/// [`layout::at_leaf`]
#[target_feature(enable = "avx2")]
#[inline]
fn at_leaf(numbers: __m256i) -> __m256i {
    _mm256_or_si256(_mm256_slli_epi32::<16>(numbers), _mm256_set1_epi32(0xffff))
}

/// A bit for each lane that is at a split.
#[target_feature(enable = "avx2")]
#[inline]
fn at_split(lanes: &Lanes) -> u64 {
    (0..Group::LANES).step_by(WIDTH).fold(0, |all, first| {
        let signs = _mm256_movemask_ps(_mm256_castsi256_ps(load(&lanes.nodes[first..])));
        all | u64::from(signs as u32) << first
    })
}

#[target_feature(enable = "avx2")]
#[inline]
fn store(to: &mut [u32], from: __m256i) {
    assert!(to.len() >= WIDTH);
    // SAFETY: there is room for all eight.
    unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), from) }
}

/// Thirty-two bytes.
#[target_feature(enable = "avx2")]
pub fn load<T>(from: &[T]) -> __m256i {
    assert!(size_of_val(from) >= 32);
    // SAFETY: as many are there.
    unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
}
