//! Walking eight trees a vector.
#![expect(unsafe_code, reason = "gathers take addresses; they are faster than plain code")]

use std::arch::x86_64::{
    __m256i, _CMP_GE_OQ, _mm_loadu_si128, _mm256_add_epi32, _mm256_adds_epu8, _mm256_and_si256,
    _mm256_blendv_epi8, _mm256_broadcastsi128_si256, _mm256_castpd_si256, _mm256_castsi256_ps, _mm256_cmp_pd,
    _mm256_cmpgt_epi32, _mm256_i32gather_epi32, _mm256_loadu_pd, _mm256_loadu_si256,
    _mm256_mask_i32gather_epi32, _mm256_movemask_epi8, _mm256_movemask_ps, _mm256_or_si256,
    _mm256_packs_epi16, _mm256_packs_epi32, _mm256_set1_epi8, _mm256_set1_epi32, _mm256_set1_pd,
    _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_slli_epi32, _mm256_srai_epi32, _mm256_srli_epi32,
    _mm256_srlv_epi32, _mm256_storeu_si256, _mm256_sub_epi32, _mm256_xor_si256,
};

use super::batch::{Batch, RowsAndRaw};
use super::layout::{Group, Layout};
use super::ranks::{self, RowRanks};
use super::rounds::{self, Lanes, Levels};
use super::sums::Sums;
use super::symmetric::Slots;
use super::wide::{FEW, MORE, MOST, Wide, by_words};

/// Trees of a vector.
const WIDTH: usize = 8;
/// Trees that are walked at once: as many as registers hold.
const LANES: usize = 2 * Group::VECTOR;

pub fn is_available() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("popcnt")
}

pub fn add_leaves(layout: &Layout, sums: &Sums, row: &[f64], raw: &mut [f64]) {
    debug_assert!(is_available());
    // SAFETY: this path is taken only where `is_available` says so.
    unsafe { add_leaves_avx2(layout, sums, row, raw) }
}

#[target_feature(enable = "avx2,popcnt")]
fn add_leaves_avx2(layout: &Layout, sums: &Sums, row: &[f64], raw: &mut [f64]) {
    let ranks = layout.ranker.rank_by(row, |value, thresholds| n_reached(value, thresholds));
    if let Some(symmetric) = &layout.symmetric {
        let look_up = |slots: &_| look_up(&ranks, symmetric.n_slots, slots);
        return symmetric.add_leaves(&layout.groups, sums, raw, look_up);
    }
    let begin = |group: &_, lanes: &mut _| begin(group, &ranks, lanes);
    let walk = |lanes: &mut _, levels| walk_lanes(layout, &ranks, lanes, levels);
    rounds::add_leaves(layout, sums, raw, begin, walk, |lanes, n, open| open.push(lanes, n, at_split(lanes)));
}

/// [`rounds::add_leaves`]' `begin`.
#[target_feature(enable = "avx2,popcnt")]
#[inline]
fn begin(group: &Group, ranks: &RowRanks, lanes: &mut Lanes) -> u32 {
    for first in (0..Group::LANES).step_by(WIDTH) {
        let [root, left, right, left_left, left_right, right_left, right_right] =
            std::array::from_fn(|top| load(&group.tops[top][first..]));
        let (at, is_right) = down(ranks, load(&lanes.at[first..]), root);
        let (at, goes_on_right) = down(ranks, at, _mm256_blendv_epi8(left, right, is_right));
        let of_left = _mm256_blendv_epi8(left_left, left_right, goes_on_right);
        let of_right = _mm256_blendv_epi8(right_left, right_right, goes_on_right);
        store(&mut lanes.at[first..], at);
        store(&mut lanes.nodes[first..], _mm256_blendv_epi8(of_left, of_right, is_right));
    }
    Group::TOP_LEVELS
}

#[target_feature(enable = "avx2,popcnt")]
#[inline]
fn walk_lanes(layout: &Layout, ranks: &RowRanks, lanes: &mut Lanes, levels: Levels) {
    let halves = lanes.at.as_chunks_mut::<LANES>().0.iter_mut().zip(lanes.nodes.as_chunks_mut::<LANES>().0);
    for ((at_lanes, node_lanes), &[first, second]) in halves.zip(levels.as_chunks::<2>().0) {
        let mut at = std::array::from_fn(|vector| load(&at_lanes[WIDTH * vector..]));
        let mut nodes = std::array::from_fn(|vector| load(&node_lanes[WIDTH * vector..]));
        walk::<4>(layout, ranks, &mut at, &mut nodes, second);
        walk::<2>(layout, ranks, &mut at, &mut nodes, first - second);
        for (vector, (at, nodes)) in at.into_iter().zip(nodes).enumerate() {
            store(&mut at_lanes[WIDTH * vector..], at);
            store(&mut node_lanes[WIDTH * vector..], nodes);
        }
    }
}

pub fn add_wide_leaves(wide: &Wide, sums: &Sums, row: &[f64], raw: &mut [f64]) {
    debug_assert!(is_available());
    type Add = unsafe fn(&Wide, &Sums, &[f64], &mut [f64]);
    let add: [Add; 3] =
        [add_wide_leaves_avx2::<FEW>, add_wide_leaves_avx2::<MORE>, add_wide_leaves_avx2::<MOST>];
    // SAFETY: this path is taken only where `is_available` says so.
    unsafe { by_words(wide, add)(wide, sums, row, raw) }
}

#[target_feature(enable = "avx2,popcnt")]
fn add_wide_leaves_avx2<const WORDS: usize>(wide: &Wide, sums: &Sums, row: &[f64], raw: &mut [f64]) {
    let n_reached = |value, thresholds: &_| n_reached(value, thresholds);
    wide.add_leaves_by::<WORDS>(sums, row, raw, n_reached, |wide, words, group| {
        walk_wide(wide, words, group)
    });
}

#[target_feature(enable = "avx2,popcnt")]
#[inline]
fn walk_wide(wide: &Wide, words: &[u64], group: &Group) -> [u32; Group::LANES] {
    let mut ends = group.roots;
    let depths = group.depths.as_chunks::<2>().0;
    for (lanes, &[first, second]) in ends.as_chunks_mut::<LANES>().0.iter_mut().zip(depths) {
        let mut at = std::array::from_fn(|vector| _mm256_slli_epi32::<1>(load(&lanes[WIDTH * vector..])));
        wide_levels::<4>(wide, words, &mut at, second);
        wide_levels::<2>(wide, words, &mut at, first - second);
        for (vector, at) in at.into_iter().enumerate() {
            store(&mut lanes[WIDTH * vector..], _mm256_srli_epi32::<1>(at));
        }
    }
    ends
}

/// Moves the first `VECTORS` down by `n_levels`.
#[target_feature(enable = "avx2,popcnt")]
#[inline]
fn wide_levels<const VECTORS: usize>(wide: &Wide, words: &[u64], at: &mut [__m256i; 4], n_levels: u32) {
    let nodes: *const i32 = wide.nodes.as_ptr().cast();
    for _ in 0..n_levels {
        for at in &mut at[..VECTORS] {
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

/// How many of the thresholds are not greater than `value`: masks of 512 bits are
/// slower to count.
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

/// Moves the first `VECTORS` down by `n_levels`.
#[target_feature(enable = "avx2,popcnt")]
#[inline]
fn walk<const VECTORS: usize>(
    layout: &Layout,
    ranks: &RowRanks,
    at: &mut [__m256i; 4],
    nodes: &mut [__m256i; 4],
    n_levels: u32,
) {
    for _ in 0..n_levels {
        for (at, node) in at[..VECTORS].iter_mut().zip(&mut *nodes) {
            (*at, _) = down(ranks, *at, *node);
            let (all, is_split) = (layout.nodes.as_ptr().cast(), *node);
            // SAFETY: lanes come from a root by splits, which lead to nodes.
            *node = unsafe { _mm256_mask_i32gather_epi32::<4>(*node, all, *at, is_split) };
        }
    }
}

/// Where the nodes lead, and all bits of those lanes that go right.
#[target_feature(enable = "avx2")]
#[inline]
fn down(ranks: &RowRanks, at: __m256i, nodes: __m256i) -> (__m256i, __m256i) {
    let byte = _mm256_set1_epi32(0xff);
    let slot = _mm256_and_si256(_mm256_srli_epi32::<8>(nodes), byte);
    // SAFETY: a slot is a byte, and there are three ranks more than that makes.
    let rank = unsafe { _mm256_i32gather_epi32::<1>(ranks.as_ptr().cast(), slot) };
    let goes_right = _mm256_cmpgt_epi32(_mm256_and_si256(rank, byte), _mm256_and_si256(nodes, byte));
    let left = _mm256_add_epi32(at, _mm256_srai_epi32::<16>(nodes));
    // All bits are -1.
    (_mm256_sub_epi32(left, goes_right), goes_right)
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
fn load<T>(from: &[T]) -> __m256i {
    assert!(size_of_val(from) >= 32);
    // SAFETY: as many are there.
    unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
}
