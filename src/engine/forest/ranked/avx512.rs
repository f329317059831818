//! Walking sixteen trees a vector.
#![expect(unsafe_code, reason = "gathers take addresses; they are several times as fast as plain code")]

use std::arch::x86_64::{
    __m512i, _CMP_GE_OQ, _mm256_add_epi32, _mm256_srli_epi32, _mm512_add_epi32, _mm512_castsi512_pd,
    _mm512_cmp_pd_mask, _mm512_cmpgt_epu8_mask, _mm512_loadu_si512, _mm512_mask_blend_epi8,
    _mm512_mask_blend_epi32, _mm512_mask_cmpgt_epu8_mask, _mm512_mask_i32gather_epi32,
    _mm512_mask_i32gather_pd, _mm512_mask_mov_epi32, _mm512_maskz_compress_epi32, _mm512_maskz_mov_epi8,
    _mm512_movepi8_mask, _mm512_movepi32_mask, _mm512_or_si512, _mm512_permutex2var_epi8,
    _mm512_permutexvar_epi8, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_set1_pd, _mm512_setzero_pd,
    _mm512_slli_epi32, _mm512_srai_epi32, _mm512_srli_epi32, _mm512_storeu_pd, _mm512_storeu_si512,
};

use super::avx2;
use super::layout::{Group, Layout};
use super::ranks;
use super::rounds::{self, Lanes, Open};
use super::sums::Sum;

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

pub fn add_leaves(layout: &Layout, row: &[f64], sum: &mut Sum) {
    debug_assert!(is_available());
    // SAFETY: this path is taken only where `is_available` says so.
    unsafe { add_leaves_avx512(layout, row, sum) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx2,popcnt")]
fn add_leaves_avx512(layout: &Layout, row: &[f64], sum: &mut Sum) {
    let ranks = layout.ranker.rank_by(row, |value, thresholds| n_reached(value, thresholds));
    if let Some(symmetric) = &layout.symmetric {
        let look_up = |slots: &_| avx2::look_up(&ranks, symmetric.n_slots, slots);
        return symmetric.add_leaves(&layout.groups, sum, look_up);
    }
    let tables = std::array::from_fn(|at| load(&ranks[64 * at..]));
    match layout.ranker.n_slots() {
        0..=64 => add_groups::<64>(layout, tables, sum),
        65..=128 => add_groups::<128>(layout, tables, sum),
        _ => add_groups::<256>(layout, tables, sum),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx2,popcnt")]
fn add_groups<const SLOTS: usize>(layout: &Layout, ranks: [__m512i; 4], sum: &mut Sum) {
    let begin = |group: &_, lanes: &mut _| begin::<SLOTS>(group, ranks, lanes);
    let walk = |lanes: &mut _, n, depth| walk_lanes::<SLOTS>(layout, ranks, lanes, n, depth);
    let keep = |lanes: &_, n, open: &mut _| keep(lanes, n, open);
    rounds::add_leaves(layout, sum, begin, walk, keep, |group, ends| read(layout, group, ends));
}

/// [`rounds::add_leaves`]' `begin`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx2,popcnt")]
#[inline]
fn begin<const SLOTS: usize>(group: &Group, ranks: [__m512i; 4], lanes: &mut Lanes) {
    let ways = rounds::ways(|split| {
        let tests = &group.upper[split];
        _mm512_cmpgt_epu8_mask(look_up::<SLOTS>(ranks, load(&tests.slots)), load(&tests.ranks))
    });
    for (vector, nodes) in lanes.nodes.as_chunks_mut::<WIDTH>().0.iter_mut().enumerate() {
        let mut below: [_; Group::BELOW] =
            std::array::from_fn(|node| load(&group.below[node][WIDTH * vector..]));
        let mut n = Group::BELOW;
        for way in ways {
            n /= 2;
            for node in 0..n {
                let goes_right = (way >> (WIDTH * vector)) as u16;
                below[node] = _mm512_mask_blend_epi32(goes_right, below[node], below[n + node]);
            }
        }
        store(nodes, below[0]);
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx2,popcnt")]
#[inline]
fn walk_lanes<const SLOTS: usize>(
    layout: &Layout,
    ranks: [__m512i; 4],
    lanes: &mut Lanes,
    n: usize,
    depth: u32,
) {
    match n.div_ceil(WIDTH) {
        1 => walk::<SLOTS, 1>(layout, ranks, lanes, depth),
        2 => walk::<SLOTS, 2>(layout, ranks, lanes, depth),
        3 => walk::<SLOTS, 3>(layout, ranks, lanes, depth),
        _ => walk::<SLOTS, 4>(layout, ranks, lanes, depth),
    }
}

/// The first vectors.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx2,popcnt")]
#[inline]
fn walk<const SLOTS: usize, const VECTORS: usize>(
    layout: &Layout,
    ranks: [__m512i; 4],
    lanes: &mut Lanes,
    depth: u32,
) {
    let mut at: [_; VECTORS] = std::array::from_fn(|vector| load(&lanes.at[WIDTH * vector..]));
    let mut nodes: [_; VECTORS] = std::array::from_fn(|vector| load(&lanes.nodes[WIDTH * vector..]));
    for _ in 0..depth {
        for (at, node) in at.iter_mut().zip(&mut nodes) {
            *at = _mm512_add_epi32(*at, next::<SLOTS>(ranks, *node));
            let (all, is_split) = (layout.nodes.as_ptr().cast(), _mm512_movepi32_mask(*node));
            // SAFETY: splits lead to nodes.
            *node = unsafe { _mm512_mask_i32gather_epi32::<4>(*node, is_split, *at, all) };
        }
    }
    for (vector, (at, nodes)) in at.into_iter().zip(nodes).enumerate() {
        let at_leaf = at_leaf(next::<SLOTS>(ranks, nodes));
        let is_split = _mm512_movepi32_mask(nodes);
        store(&mut lanes.at[WIDTH * vector..], at);
        store(&mut lanes.nodes[WIDTH * vector..], _mm512_mask_mov_epi32(at_leaf, is_split, nodes));
    }
}

/// By how much nodes lead on, if they are splits, else to which leaf.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx2,popcnt")]
#[inline]
fn next<const SLOTS: usize>(ranks: [__m512i; 4], nodes: __m512i) -> __m512i {
    let rank = look_up::<SLOTS>(ranks, _mm512_srli_epi32::<8>(nodes));
    let goes_right = _mm512_mask_cmpgt_epu8_mask(LOWEST, rank, nodes);
    let goes_right = _mm512_maskz_mov_epi8(goes_right, _mm512_set1_epi8(1));
    _mm512_add_epi32(_mm512_srai_epi32::<16>(nodes), goes_right)
}

/// [`layout::at_leaf`]
#[target_feature(enable = "avx512f")]
#[inline]
fn at_leaf(numbers: __m512i) -> __m512i {
    _mm512_or_si512(_mm512_slli_epi32::<16>(numbers), _mm512_set1_epi32(0xffff))
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

/// [`rounds::add_leaves`]' `read`.
#[target_feature(enable = "avx512f,avx512dq")]
#[inline]
fn read(layout: &Layout, group: &Group, ends: &[u32; Group::LANES]) -> [f64; Group::LANES] {
    let mut leaves = [0.0; Group::LANES];
    for (vector, leaves) in leaves.as_chunks_mut::<{ WIDTH / 2 }>().0.iter_mut().enumerate() {
        let first = WIDTH / 2 * vector;
        let at = _mm256_add_epi32(
            avx2::load(&group.values[first..]),
            _mm256_srli_epi32::<16>(avx2::load(&ends[first..])),
        );
        let is_tree = group.is_tree() >> first;
        // SAFETY: the leaves of a tree are counted from where its values begin.
        let values = unsafe {
            _mm512_mask_i32gather_pd::<8>(_mm512_setzero_pd(), is_tree as u8, at, layout.values.as_ptr())
        };
        // SAFETY: there is room for all eight.
        unsafe { _mm512_storeu_pd(leaves.as_mut_ptr(), values) }
    }
    leaves
}

/// The ranks of the slots that are the lowest bytes of `slots`; of leaves any, as no rank
/// is greater than theirs.
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

/// How many of the thresholds are not greater than `value`.
#[target_feature(enable = "avx512f,avx512dq,popcnt")]
#[inline]
fn n_reached(value: f64, thresholds: &[f64; ranks::WIDTH]) -> usize {
    let value = _mm512_set1_pd(value);
    let [low, high] = [0, 8].map(|first| {
        let thresholds = _mm512_castsi512_pd(load(&thresholds[first..]));
        _mm512_cmp_pd_mask::<_CMP_GE_OQ>(value, thresholds)
    });
    (u16::from(high) << 8 | u16::from(low)).count_ones() as usize
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
