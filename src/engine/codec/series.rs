//! A series' bytes: rows column by column, times as differences.

use super::bytes::{Error, Reader, Writer};
use crate::engine::exact_sum::{ExactSum, Fixed};
use crate::engine::plan::{ColumnKind, ColumnPlan, SeriesPlan};
use crate::engine::series::{
    Decay, Distinct, Edge, Lifetime, MAX_MAGNITUDE, NO_NUMBER, Numbers, Series, SlidingSketch, SumOfSquares,
    Tile, TileColumn, Tiles, Totals,
};

/// More events than any user has.
const MAX_EVENTS: u64 = 1 << 40;
/// Beyond what so many numbers, or their squares, may sum to: a deviation of
/// less is finite.
const MAX_SUM: f64 = 1e153;
const MAX_SUM_OF_SQUARES: f64 = 1e293;

/// The cell of 1970-01-01: times after it are small differences to it.
const YEAR_1970: u64 = 1 << 63;

pub(super) fn write_series(out: &mut Writer, plan: &SeriesPlan, series: &Series) {
    let rows = series.columns();
    let (times, others) = rows.split_at(1);
    out.varint(times[0].len() as u64);
    let mut earlier = YEAR_1970;
    for &time in times[0] {
        out.varint(time.wrapping_sub(earlier));
        earlier = time;
    }
    for (cells, kind) in others.iter().zip(kinds(plan)) {
        cells.iter().for_each(|&cell| write_cell(out, kind, cell));
    }
    out.option(series.tiles(plan), |out, tiles| write_tiles(out, plan, &tiles));
    out.list(series.texts(), |out, (key, text)| {
        out.u64(*key);
        out.str(text);
    });
    for (lifetime, plan) in series.lifetimes().iter().zip(&plan.lifetimes) {
        write_lifetime(out, lifetime, plan.numbers, plan.distinct);
    }
    for decay in series.decays() {
        out.i64(decay.landmark());
        write_sum(out, decay.sum());
    }
}

pub(super) fn read_series(from: &mut Reader<'_>, plan: &SeriesPlan) -> Result<Series, Error> {
    let n = from.length("rows")?;
    let mut columns = Vec::with_capacity(plan.n_cells());
    let mut time = YEAR_1970;
    let times = (0..n).map(|_| {
        time = time.wrapping_add(from.varint("row")?);
        Ok(time)
    });
    let times = times.collect::<Result<Vec<u64>, Error>>()?;
    if !times.is_sorted() {
        return Err(from.invalid("list of times in order"));
    }
    columns.push(times);
    for kind in kinds(plan) {
        columns.push((0..n).map(|_| read_cell(from, kind)).collect::<Result<_, Error>>()?);
    }
    let tiles = from.option("tiles", |from| read_tiles(from, plan).map(Box::new))?;
    let texts = from.list("texts", |from| Ok((from.u64("key")?, from.arc_str("text")?)))?;
    let lifetimes = plan
        .lifetimes
        .iter()
        .map(|plan| read_lifetime(from, plan.numbers, plan.distinct))
        .collect::<Result<_, _>>()?;
    let decays = plan
        .decays
        .iter()
        .map(|_| Ok(Decay::from_parts(from.i64("landmark")?, read_sum(from, MAX_SUM)?)))
        .collect::<Result<_, Error>>()?;
    Ok(Series::from_parts(plan, &columns, tiles, texts, lifetimes, decays))
}

/// The forms of the cells after a row's time; uids are kept as keys are.
fn kinds(plan: &SeriesPlan) -> impl Iterator<Item = ColumnKind> {
    let uid = plan.is_ordered.then_some(ColumnKind::Key);
    uid.into_iter().chain(plan.columns.iter().map(|column| column.kind))
}

/// Whole numbers and short fractions have their zeros at the end.
fn write_cell(out: &mut Writer, kind: ColumnKind, cell: u64) {
    match kind {
        ColumnKind::Number => out.varint(cell.swap_bytes()),
        ColumnKind::Key => out.u64(cell),
    }
}

fn read_cell(from: &mut Reader<'_>, kind: ColumnKind) -> Result<u64, Error> {
    match kind {
        ColumnKind::Number => {
            let cell = from.varint("number")?.swap_bytes();
            let is_valid = cell == NO_NUMBER || f64::from_bits(cell).abs() <= MAX_MAGNITUDE;
            is_valid.then_some(cell).ok_or_else(|| from.invalid("number"))
        }
        ColumnKind::Key => from.u64("key"),
    }
}

fn write_tiles(out: &mut Writer, plan: &SeriesPlan, tiles: &Tiles) {
    out.list(tiles.tiles.iter(), |out, tile| {
        out.time(tile.first);
        out.time(tile.last);
        out.varint(u64::from(tile.n_rows));
        for (column, plan) in tile.columns.iter().zip(&plan.columns) {
            out.varint(u64::from(column.before.n));
            out.option(column.first, Writer::u64);
            if plan.kind == ColumnKind::Number {
                out.varint(u64::from(column.before.n_wide));
                out.u128(column.before.sum.0 as u128);
                column.before.squares.parts().into_iter().for_each(|part| out.u128(part));
                [column.extremes, column.wide].into_iter().for_each(|(a, b)| {
                    out.f64(a);
                    out.f64(b);
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

fn read_tiles(from: &mut Reader<'_>, plan: &SeriesPlan) -> Result<Tiles, Error> {
    let tiles: Vec<Tile> = from.list("tiles", |from| {
        Ok(Tile {
            first: from.time("tile")?,
            last: from.time("tile")?,
            n_rows: read_u32(from)?,
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
    let first = from.option("cell", |from| from.u64("cell"))?;
    let mut column = TileColumn { first, ..TileColumn::of(plan, Totals { n, ..Totals::default() }, &[]) };
    if plan.kind == ColumnKind::Number {
        column.before.n_wide = read_u32(from)?;
        column.before.sum = Fixed(from.u128("sum")? as i128);
        column.before.squares = SumOfSquares::from_parts([from.u128("squares")?, from.u128("squares")?]);
        column.extremes = (from.f64("extremes")?, from.f64("extremes")?);
        column.wide = (from.f64("wide")?, from.f64("wide")?);
    }
    Ok(column)
}

fn read_u32(from: &mut Reader<'_>) -> Result<u32, Error> {
    u32::try_from(from.varint("count")?).map_err(|_| from.invalid("count"))
}

fn write_lifetime(out: &mut Writer, lifetime: &Lifetime, numbers: bool, distinct: bool) {
    out.varint(lifetime.n);
    if lifetime.n == 0 {
        return;
    }
    for edge in [lifetime.first, lifetime.last] {
        out.time(edge.time);
        out.u64(edge.uid);
        out.u64(edge.cell);
    }
    if numbers {
        let numbers = lifetime.numbers.as_deref().cloned().unwrap_or_default();
        write_sum(out, &numbers.sum);
        write_sum(out, &numbers.squares);
        out.f64(numbers.least);
        out.f64(numbers.greatest);
    }
    if distinct {
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

fn read_lifetime(from: &mut Reader<'_>, numbers: bool, distinct: bool) -> Result<Lifetime, Error> {
    let mut lifetime = Lifetime { n: from.varint("lifetime")?, ..Lifetime::default() };
    if lifetime.n == 0 {
        return Ok(lifetime);
    }
    if lifetime.n > MAX_EVENTS {
        return Err(from.invalid("number of events"));
    }
    let mut edge = || Ok(Edge { time: from.time("edge")?, uid: from.u64("edge")?, cell: from.u64("edge")? });
    (lifetime.first, lifetime.last) = (edge()?, edge()?);
    if numbers {
        lifetime.numbers = Some(Box::new(Numbers {
            sum: read_sum(from, MAX_SUM)?,
            squares: read_sum(from, MAX_SUM_OF_SQUARES)?,
            least: from.f64("least")?,
            greatest: from.f64("greatest")?,
        }));
    }
    if distinct {
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

fn write_sum(out: &mut Writer, sum: &ExactSum) {
    out.u128(sum.fixed().0 as u128);
    out.list(sum.wide().iter(), |out, part| out.f64(*part));
}

/// A sum of magnitude at most `max`.
fn read_sum(from: &mut Reader<'_>, max: f64) -> Result<ExactSum, Error> {
    let fixed = Fixed(from.u128("sum")? as i128);
    let wide: Vec<f64> = from.list("sum", |from| from.f64("sum"))?;
    let is_valid = wide.iter().all(|part| part.abs() <= max);
    is_valid.then(|| ExactSum::from_parts(fixed, wide)).ok_or_else(|| from.invalid("sum"))
}
