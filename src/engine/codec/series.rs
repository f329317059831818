//! A series' bytes: rows column by column, times as differences from the
//! user's last arrival back.

use super::bytes::{Error, Reader, Writer};
use crate::engine::event::Value;
use crate::engine::exact_sum::{ExactSum, Fixed};
use crate::engine::plan::{ColumnKind, ColumnPlan, LifetimePlan, SeriesPlan};
use crate::engine::series::{
    Decay, Distinct, Edge, Lifetime, MAX_MAGNITUDE, NO_NUMBER, Numbers, Series, SlidingSketch, SumOfSquares,
    Tile, TileColumn, Tiles, Totals, key_of, time_cell,
};
use crate::engine::time::Timestamp;

/// More events than any user has.
const MAX_EVENTS: u64 = 1 << 40;
/// Beyond what so many numbers, or their squares, may sum to: a deviation of
/// less is finite.
const MAX_SUM: f64 = 1e153;
const MAX_SUM_OF_SQUARES: f64 = 1e293;

pub(super) fn write_series(out: &mut Writer, plan: &SeriesPlan, series: &Series, last: Timestamp) {
    let rows = series.columns();
    let (times, others) = rows.split_at(1);
    out.varint(times[0].len() as u64);
    let mut later = time_cell(last);
    for &time in times[0].iter().rev() {
        out.varint(later.wrapping_sub(time));
        later = time;
    }
    let (uids, columns) = others.split_at(usize::from(plan.is_ordered));
    uids.iter().copied().flatten().for_each(|&uid| out.compact(uid.into()));
    for (cells, plan) in columns.iter().zip(&plan.columns) {
        cells.iter().for_each(|&cell| write_cell(out, plan.kind, cell));
    }
    out.option(series.tiles(plan), |out, tiles| write_tiles(out, plan, &tiles, last));
    out.list(series.texts(), |out, (_, text)| out.str(text));
    for (lifetime, lifetime_plan) in series.lifetimes().iter().zip(&plan.lifetimes) {
        write_lifetime(out, plan, lifetime_plan, lifetime, last);
    }
    for decay in series.decays() {
        out.compact_i128(decay.landmark().into());
        write_sum(out, decay.sum());
    }
}

pub(super) fn read_series(
    from: &mut Reader<'_>,
    plan: &SeriesPlan,
    last: Timestamp,
) -> Result<Series, Error> {
    let n = from.length("rows")?;
    let mut columns = Vec::with_capacity(plan.n_cells());
    let mut later = time_cell(last);
    let times = (0..n).map(|_| {
        later = later.wrapping_sub(from.varint("row")?);
        Ok(later)
    });
    let mut times = times.collect::<Result<Vec<u64>, Error>>()?;
    times.reverse();
    if !times.is_sorted() {
        return Err(from.invalid("list of times in order"));
    }
    columns.push(times);
    if plan.is_ordered {
        columns.push((0..n).map(|_| from.compact_u64("uid")).collect::<Result<_, _>>()?);
    }
    for plan in &plan.columns {
        columns.push((0..n).map(|_| read_cell(from, plan.kind)).collect::<Result<_, _>>()?);
    }
    let tiles = from.option("tiles", |from| read_tiles(from, plan, last).map(Box::new))?;
    let texts: Vec<_> = from.list("texts", |from| {
        let text = from.arc_str("text")?;
        Ok((key_of(&Value::Text(text.clone())), text))
    })?;
    if !texts.is_sorted_by_key(|(key, _)| *key) {
        return Err(from.invalid("list of texts in order"));
    }
    let lifetimes = plan
        .lifetimes
        .iter()
        .map(|lifetime_plan| read_lifetime(from, plan, lifetime_plan, last))
        .collect::<Result<_, _>>()?;
    let decays = plan
        .decays
        .iter()
        .map(|_| {
            let landmark = from.compact_i128("landmark")?;
            let landmark = i64::try_from(landmark).map_err(|_| from.invalid("landmark"))?;
            Ok(Decay::from_parts(landmark, read_sum(from, MAX_SUM)?))
        })
        .collect::<Result<_, Error>>()?;
    Ok(Series::from_parts(plan, &columns, tiles, texts, lifetimes, decays))
}

/// Whole numbers and short fractions have zeros at the end; keys are all bits.
fn write_cell(out: &mut Writer, kind: ColumnKind, cell: u64) {
    match kind {
        ColumnKind::Number => out.compact(cell.into()),
        ColumnKind::Key => out.u64(cell),
    }
}

fn read_cell(from: &mut Reader<'_>, kind: ColumnKind) -> Result<u64, Error> {
    match kind {
        ColumnKind::Number => {
            let cell = from.compact_u64("number")?;
            let is_valid = cell == NO_NUMBER || f64::from_bits(cell).abs() <= MAX_MAGNITUDE;
            is_valid.then_some(cell).ok_or_else(|| from.invalid("number"))
        }
        ColumnKind::Key => from.u64("key"),
    }
}

fn write_tiles(out: &mut Writer, plan: &SeriesPlan, tiles: &Tiles, last: Timestamp) {
    out.list(tiles.tiles.iter(), |out, tile| {
        out.time_before(last, tile.last);
        out.time_before(tile.last, tile.first);
        out.varint(u64::from(tile.n_rows));
        for (column, plan) in tile.columns.iter().zip(&plan.columns) {
            out.varint(u64::from(column.before.n));
            out.option(column.first, |out, cell| write_cell(out, plan.kind, cell));
            if plan.kind == ColumnKind::Number {
                out.varint(u64::from(column.before.n_wide));
                out.compact_i128(column.before.sum.0);
                column.before.squares.parts().into_iter().for_each(|part| out.compact(part));
                [column.extremes, column.wide].into_iter().for_each(|(a, b)| {
                    out.compact_f64(a);
                    out.compact_f64(b);
                });
            }
        }
    });
    for sketch in tiles.sketches.iter().flatten() {
        for register in sketch.registers() {
            out.list(register.iter(), |out, entry| out.varint(*entry));
        }
    }
}

fn read_tiles(from: &mut Reader<'_>, plan: &SeriesPlan, last: Timestamp) -> Result<Tiles, Error> {
    let tiles: Vec<Tile> = from.list("tiles", |from| {
        let last = from.time_before(last, "tile")?;
        Ok(Tile {
            first: from.time_before(last, "tile")?,
            last,
            n_rows: read_u32(from)?,
            n_later: 0,
            columns: plan
                .columns
                .iter()
                .map(|plan| read_tile_column(from, plan))
                .collect::<Result<_, _>>()?,
        })
    })?;
    if tiles.is_empty() {
        return Err(from.invalid("list of tiles"));
    }
    let sketches = plan.columns.iter().map(|plan| {
        if !plan.distinct {
            return Ok(None);
        }
        let registers = 0..SlidingSketch::N_REGISTERS;
        let registers = registers.map(|_| from.list("register", |from| from.varint("register")));
        let registers = registers.collect::<Result<_, Error>>()?;
        SlidingSketch::from_registers(registers).map(Some).ok_or_else(|| from.invalid("sketch"))
    });
    Ok(Tiles { tiles, sketches: sketches.collect::<Result<_, Error>>()? })
}

fn read_tile_column(from: &mut Reader<'_>, plan: &ColumnPlan) -> Result<TileColumn, Error> {
    let n = read_u32(from)?;
    let first = from.option("cell", |from| read_cell(from, plan.kind))?;
    let mut column = TileColumn { first, ..TileColumn::of(plan, Totals { n, ..Totals::default() }, &[]) };
    if plan.kind == ColumnKind::Number {
        column.before.n_wide = read_u32(from)?;
        column.before.sum = Fixed(from.compact_i128("sum")?);
        column.before.squares =
            SumOfSquares::from_parts([from.compact("squares")?, from.compact("squares")?]);
        column.extremes = (from.compact_f64("extremes")?, from.compact_f64("extremes")?);
        column.wide = (from.compact_f64("wide")?, from.compact_f64("wide")?);
    }
    Ok(column)
}

fn read_u32(from: &mut Reader<'_>) -> Result<u32, Error> {
    u32::try_from(from.varint("count")?).map_err(|_| from.invalid("count"))
}

fn write_lifetime(
    out: &mut Writer,
    series_plan: &SeriesPlan,
    plan: &LifetimePlan,
    lifetime: &Lifetime,
    last: Timestamp,
) {
    out.varint(lifetime.n);
    if lifetime.n == 0 {
        return;
    }
    let kind = plan.column.map(|column| series_plan.columns[column].kind);
    write_edge(out, kind, lifetime.last, last);
    if lifetime.n > 1 {
        write_edge(out, kind, lifetime.first, lifetime.last.time);
    }
    if plan.numbers {
        let numbers = lifetime.numbers.as_deref().cloned().unwrap_or_default();
        write_sum(out, &numbers.sum);
        write_sum(out, &numbers.squares);
        out.compact_f64(numbers.least);
        out.compact_f64(numbers.greatest);
    }
    if plan.distinct {
        match lifetime.distinct.as_deref().unwrap_or(&Distinct::default()) {
            Distinct::Exact(keys) => {
                out.bool(false);
                out.list(keys.iter(), |out, key| out.u64(*key));
            }
            Distinct::Sketched(registers) => {
                out.bool(true);
                out.list(registers.iter(), |out, rank| out.u8(*rank));
            }
        }
    }
}

fn read_lifetime(
    from: &mut Reader<'_>,
    series_plan: &SeriesPlan,
    plan: &LifetimePlan,
    last: Timestamp,
) -> Result<Lifetime, Error> {
    let mut lifetime = Lifetime { n: from.varint("lifetime")?, ..Lifetime::default() };
    if lifetime.n == 0 {
        return Ok(lifetime);
    }
    if lifetime.n > MAX_EVENTS {
        return Err(from.invalid("number of events"));
    }
    let kind = plan.column.map(|column| series_plan.columns[column].kind);
    lifetime.last = read_edge(from, kind, last)?;
    lifetime.first = if lifetime.n > 1 { read_edge(from, kind, lifetime.last.time)? } else { lifetime.last };
    if plan.numbers {
        lifetime.numbers = Some(Box::new(Numbers {
            sum: read_sum(from, MAX_SUM)?,
            squares: read_sum(from, MAX_SUM_OF_SQUARES)?,
            least: from.compact_f64("least")?,
            greatest: from.compact_f64("greatest")?,
        }));
    }
    if plan.distinct {
        lifetime.distinct = Some(Box::new(read_distinct(from)?));
    }
    Ok(lifetime)
}

fn read_distinct(from: &mut Reader<'_>) -> Result<Distinct, Error> {
    if !from.bool("distinct keys")? {
        return from.list("keys", |from| from.u64("key")).map(Distinct::Exact);
    }
    let registers: Vec<u8> = from.list("registers", |from| from.u8("register"))?;
    Distinct::from_registers(&registers).ok_or_else(|| from.invalid("sketch"))
}

/// An edge not after `later`; without a column its cell says nothing.
fn write_edge(out: &mut Writer, kind: Option<ColumnKind>, edge: Edge, later: Timestamp) {
    out.time_before(later, edge.time);
    out.compact(edge.uid.into());
    if let Some(kind) = kind {
        write_cell(out, kind, edge.cell);
    }
}

fn read_edge(from: &mut Reader<'_>, kind: Option<ColumnKind>, later: Timestamp) -> Result<Edge, Error> {
    Ok(Edge {
        time: from.time_before(later, "edge")?,
        uid: from.compact_u64("edge")?,
        cell: kind.map_or(Ok(0), |kind| read_cell(from, kind))?,
    })
}

fn write_sum(out: &mut Writer, sum: &ExactSum) {
    out.compact_i128(sum.fixed().0);
    out.list(sum.wide().iter(), |out, part| out.compact_f64(*part));
}

/// A sum of magnitude at most `max`.
fn read_sum(from: &mut Reader<'_>, max: f64) -> Result<ExactSum, Error> {
    let fixed = Fixed(from.compact_i128("sum")?);
    let wide: Vec<f64> = from.list("sum", |from| from.compact_f64("sum"))?;
    let is_valid = wide.iter().all(|part| part.abs() <= max);
    is_valid.then(|| ExactSum::from_parts(fixed, wide)).ok_or_else(|| from.invalid("sum"))
}
