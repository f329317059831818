//! Walking sixteen trees a vector.
#![expect(unsafe_code, reason = "gathers take addresses; they are several times as fast as plain code")]

use std::arch::x86_64::{
    __m512i, _mm512_add_epi32, _mm512_loadu_si512, _mm512_mask_blend_epi8, _mm512_mask_blend_epi32,
    _mm512_mask_cmpgt_epu8_mask, _mm512_mask_i32gather_epi32, _mm512_maskz_compress_epi32,
    _mm512_maskz_mov_epi8, _mm512_movepi8_mask, _mm512_movepi32_mask, _mm512_permutex2var_epi8,
    _mm512_permutexvar_epi8, _mm512_set1_epi8, _mm512_srai_epi32, _mm512_srli_epi32, _mm512_storeu_si512,
    _mm512_test_epi32_mask,
};

use super::avx2;
use super::layout::{Group, Layout};
use super::rounds::{self, Lanes, Levels, Open};
use super::sums::Sums;

/// Trees of a vector.
const WIDTH: usize = 16;
/// The lowest byte of each tree.
const LOWEST: u64 = 0x1111_1111_1111_1111;

pub fn is_available() -> bool {
    avx2::is_available()
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vbmi")
}

pub fn add_leaves(layout: &Layout, sums: &Sums, row: &[f64], raw: &mut [f64]) {
    debug_assert!(is_available());
    // SAFETY: this path is taken only where `is_available` says so.
    unsafe { add_leaves_avx512(layout, sums, row, raw) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx2,popcnt")]
fn add_leaves_avx512(layout: &Layout, sums: &Sums, row: &[f64], raw: &mut [f64]) {
    let ranks = layout.ranker.rank_by(row, |value, thresholds| avx2::n_reached(value, thresholds));
    if let Some(symmetric) = &layout.symmetric {
        let look_up = |slots: &_| avx2::look_up(&ranks, symmetric.n_slots, slots);
        return symmetric.add_leaves(&layout.groups, sums, raw, look_up);
    }
    let tables = std::array::from_fn(|at| load(&ranks[64 * at..]));
    match layout.ranker.n_slots() {
        0..=64 => add_groups::<64>(layout, sums, tables, raw),
        65..=128 => add_groups::<128>(layout, sums, tables, raw),
        _ => add_groups::<256>(layout, sums, tables, raw),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx2,popcnt")]
fn add_groups<const SLOTS: usize>(layout: &Layout, sums: &Sums, ranks: [__m512i; 4], raw: &mut [f64]) {
    let begin = |group: &_, lanes: &mut _| begin::<SLOTS>(group, ranks, lanes);
    let walk = |lanes: &mut _, levels| walk_lanes::<SLOTS>(layout, ranks, lanes, levels);
    rounds::add_leaves(layout, sums, raw, begin, walk, |lanes, n, open| keep(lanes, n, open));
}

/// [`rounds::add_leaves`]' `begin`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx2,popcnt")]
#[inline]
fn begin<const SLOTS: usize>(group: &Group, ranks: [__m512i; 4], lanes: &mut Lanes) -> u32 {
    for first in (0..Group::LANES).step_by(WIDTH) {
        let [root, left, right, left_left, left_right, right_left, right_right] =
            std::array::from_fn(|top| load(&group.tops[top][first..]));
        let (at, is_right) = down::<SLOTS>(ranks, load(&lanes.at[first..]), root);
        let is_right = _mm512_test_epi32_mask(is_right, is_right);
        let child = _mm512_mask_blend_epi32(is_right, left, right);
        let (at, goes_on_right) = down::<SLOTS>(ranks, at, child);
        let goes_on_right = _mm512_test_epi32_mask(goes_on_right, goes_on_right);
        let of_left = _mm512_mask_blend_epi32(goes_on_right, left_left, left_right);
        let of_right = _mm512_mask_blend_epi32(goes_on_right, right_left, right_right);
        store(&mut lanes.at[first..], at);
        store(&mut lanes.nodes[first..], _mm512_mask_blend_epi32(is_right, of_left, of_right));
    }
    Group::TOP_LEVELS
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx2,popcnt")]
#[inline]
fn walk_lanes<const SLOTS: usize>(layout: &Layout, ranks: [__m512i; 4], lanes: &mut Lanes, levels: Levels) {
    let mut at = std::array::from_fn(|vector| load(&lanes.at[WIDTH * vector..]));
    let mut nodes = std::array::from_fn(|vector| load(&lanes.nodes[WIDTH * vector..]));
    let [first, second, third, fourth] = levels;
    walk::<SLOTS, 4>(layout, ranks, &mut at, &mut nodes, fourth);
    walk::<SLOTS, 3>(layout, ranks, &mut at, &mut nodes, third - fourth);
    walk::<SLOTS, 2>(layout, ranks, &mut at, &mut nodes, second - third);
    walk::<SLOTS, 1>(layout, ranks, &mut at, &mut nodes, first - second);
    for (vector, (at, nodes)) in at.into_iter().zip(nodes).enumerate() {
        store(&mut lanes.at[WIDTH * vector..], at);
        store(&mut lanes.nodes[WIDTH * vector..], nodes);
    }
}

/// Moves the first `VECTORS` down by `n_levels`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx2,popcnt")]
#[inline]
fn walk<const SLOTS: usize, const VECTORS: usize>(
    layout: &Layout,
    ranks: [__m512i; 4],
    at: &mut [__m512i; 4],
    nodes: &mut [__m512i; 4],
    n_levels: u32,
) {
    for _ in 0..n_levels {
        for (at, node) in at[..VECTORS].iter_mut().zip(&mut *nodes) {
            (*at, _) = down::<SLOTS>(ranks, *at, *node);
            let (all, is_split) = (layout.nodes.as_ptr().cast(), _mm512_movepi32_mask(*node));
            // SAFETY: lanes come from a root by splits, which lead to nodes.
            *node = unsafe { _mm512_mask_i32gather_epi32::<4>(*node, is_split, *at, all) };
        }
    }
}

/// Where the nodes lead, and 1 in lanes that go right.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx2,popcnt")]
#[inline]
fn down<const SLOTS: usize>(ranks: [__m512i; 4], at: __m512i, nodes: __m512i) -> (__m512i, __m512i) {
    let rank = look_up::<SLOTS>(ranks, _mm512_srli_epi32::<8>(nodes));
    let goes_right = _mm512_mask_cmpgt_epu8_mask(LOWEST, rank, nodes);
    let goes_right = _mm512_maskz_mov_epi8(goes_right, _mm512_set1_epi8(1));
    let left = _mm512_add_epi32(at, _mm512_srai_epi32::<16>(nodes));
    (_mm512_add_epi32(left, goes_right), goes_right)
}

/// [`rounds::add_leaves`]' `keep`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx2,popcnt")]
#[inline]
fn keep(lanes: &Lanes, n: usize, open: &mut Open) {
    for first in (0..n).step_by(WIDTH) {
        let nodes = load(&lanes.nodes[first..]);
        let is_used = (1_u32 << WIDTH.min(n - first)) - 1;
        let is_split = _mm512_movepi32_mask(nodes) & is_used as u16;
        let keep = |from, to: &mut [u32]| store(to, _mm512_maskz_compress_epi32(is_split, from));
        keep(load(&lanes.at[first..]), &mut open.at[open.n..]);
        keep(nodes, &mut open.nodes[open.n..]);
        keep(load(&lanes.trees[first..]), &mut open.trees[open.n..]);
        open.n += is_split.count_ones() as usize;
    }
}

/// The ranks of the slots that are the lowest bytes of `slots`; of the leaves'
/// slot any, as no rank is greater than theirs.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx2,popcnt")]
fn look_up<const SLOTS: usize>(ranks: [__m512i; 4], slots: __m512i) -> __m512i {
    if SLOTS == 64 {
        return _mm512_permutexvar_epi8(slots, ranks[0]);
    }
    let low = _mm512_permutex2var_epi8(ranks[0], slots, ranks[1]);
    if SLOTS == 128 {
        return low;
    }
    let high = _mm512_permutex2var_epi8(ranks[2], slots, ranks[3]);
    _mm512_mask_blend_epi8(_mm512_movepi8_mask(slots), low, high)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn store(to: &mut [u32], from: __m512i) {
    assert!(to.len() >= WIDTH);
    // SAFETY: there is room for all sixteen.
    unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), from) }
}

/// Sixty-four bytes.
#[target_feature(enable = "avx512f")]
fn load<T>(from: &[T]) -> __m512i {
    assert!(size_of_val(from) >= 64);
    // SAFETY: as many are there.
    unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
}
