"""What every library's script shares: training data, hard rows, and writing a case."""

import math
import shutil
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
N_CONTRIBUTION_ROWS = 40

# Around LightGBM's zero (1e-35 as a float32), the smallest floats, and beyond float32.
SPECIALS = [
    math.nan,
    0.0,
    -0.0,
    1e-35,
    -1e-35,
    float(np.float32(1e-35)),
    -float(np.float32(1e-35)),
    float(np.nextafter(np.float64(np.float32(1e-35)), 1.0)),
    9.9e-36,
    1e-45,
    5e-324,
    -5e-324,
    1e30,
    -1e30,
]
INFINITE = [math.inf, -math.inf, 1e300, -1e300]
CATEGORIES = [-1.0, -0.5, 0.5, 1.5, 2.999999, 15.0, 31.0, 32.0, 65_535.0, 65_536.0, 1e6, 16_777_216.0, math.nan, -0.0]
HUGE_CATEGORIES = [2_147_483_647.0, 2_147_483_648.0, 4_294_967_298.0, 1e19, math.inf, -math.inf]


def training_data(seed=1, n=600):
    """Features (half of `clicks` zero, a third of `spend` missing, `constant` unused) and a noisy signal."""
    rng = np.random.default_rng(seed)
    columns = {
        "age": np.round(rng.uniform(0, 100, n), 1),
        "clicks": rng.poisson(1.0, n).astype(float),
        "spend": np.where(rng.random(n) < 0.3, np.nan, np.round(rng.lognormal(1, 1, n), 4)),
        "recency": rng.normal(0, 3, n),
        "rate": np.where(rng.random(n) < 0.15, np.nan, np.round(rng.normal(0, 0.1, n), 3)),
        "constant": np.full(n, 7.0),
    }
    signal = (
        0.02 * columns["age"]
        - 0.6 * (columns["clicks"] == 0)
        + 0.3 * np.nan_to_num(columns["spend"], nan=-2.0)
        - 0.25 * columns["recency"]
        + 4.0 * np.nan_to_num(columns["rate"], nan=0.2)
        + rng.normal(0, 0.5, n)
    )
    return list(columns), np.column_stack(list(columns.values())), signal - signal.mean()


def with_categories(names, x, signal, columns, seed=2):
    """Appends categorical columns, given as name -> the values that occur; every one moves the signal."""
    rng = np.random.default_rng(seed)
    for name, values in columns.items():
        values = np.asarray(values, dtype=float)
        picked = rng.integers(0, len(values), len(x))
        signal = signal + rng.normal(0, 1.5, len(values))[picked]
        column = values[picked]
        column[rng.random(len(x)) < 0.05] = np.nan
        x = np.column_stack([x, column])
        names = [*names, name]
    return names, x, signal


def hard_rows(x, thresholds, float_type=np.float64, specials=(), categories=None, size=3, seed=3):
    """Rows to score: plain ones, and plain ones with one value replaced by a threshold, one of its
    neighbours, a special number or an odd category.

    `thresholds`: feature -> values; `categories`: feature -> values to try; `size`: features that get
    every special number, and a scale for the rest."""
    rng = np.random.default_rng(seed)
    categories = categories or {}

    def plain():
        return x[rng.integers(len(x))].copy()

    def replaced(feature, value):
        row = plain()
        row[feature] = value
        return row

    rows = [plain() for _ in range(15 * size)]
    edges = sorted({(feature, value) for feature, values in thresholds.items() for value in values})
    for at in rng.permutation(len(edges))[: 10 * size]:
        feature, value = edges[at]
        exact = float_type(value)
        for near in (exact, np.nextafter(exact, float_type(np.inf)), np.nextafter(exact, float_type(-np.inf))):
            rows.append(replaced(feature, float(near)))
    numeric = [feature for feature in sorted(thresholds) if feature not in categories]
    for value in specials if numeric else ():
        rows += [replaced(feature, value) for feature in rng.choice(numeric, min(size, len(numeric)), replace=False)]
    rows += [replaced(feature, value) for feature, values in categories.items() for value in values]
    for value in (math.nan, 0.0):
        rows.append(np.full(x.shape[1], value))
    rows = np.array(rows)
    return rows[rng.permutation(len(rows))]


def number(value):
    """The shortest decimal that reads back as the same float64; nothing for a missing value."""
    value = float(value)
    return "" if math.isnan(value) else repr(value)


def write_csv(path, header, rows):
    lines = [",".join(header)]
    lines += [",".join(number(value) for value in row) for row in rows]
    path.write_text("\n".join(lines) + "\n")


def columns_of(prefix, values):
    return [f"{prefix}_{n}" for n in range(values.shape[1])]


def two_dimensional(values):
    values = np.asarray(values, dtype=np.float64)
    return values.reshape(len(values), -1)


def toml(value):
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml(inner) for inner in value) + "]"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return repr(value)


def fresh_folder(*parts):
    folder = ROOT.joinpath(*parts)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def write_expected(path, raw, output):
    raw, output = two_dimensional(raw), two_dimensional(output)
    write_csv(path, columns_of("raw", raw) + columns_of("output", output), np.column_stack([raw, output]))


def write_case(folder, facts, names, rows, raw, output, contributions=None):
    """`contributions`: rows x outputs x (features + 1), the last of each block the expected value."""
    write_csv(folder / "inputs.csv", names, rows)
    write_expected(folder / "expected.csv", raw, output)
    if contributions is not None:
        header = [f"{name}_{k}" for k in range(contributions.shape[1]) for name in [*names, "expected"]]
        flat = contributions.reshape(len(contributions), -1)[:N_CONTRIBUTION_ROWS]
        write_csv(folder / "contributions.csv", header, flat)
    facts = {**facts, "rows": len(rows), "contributions": contributions is not None}
    (folder / "case.toml").write_text("".join(f"{key} = {toml(value)}\n" for key, value in facts.items()))
    report(folder, f"{len(rows)} rows")


def write_refused(folder, facts):
    (folder / "case.toml").write_text("".join(f"{key} = {toml(value)}\n" for key, value in facts.items()))
    report(folder, "to be refused")


def report(folder, text):
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{folder.relative_to(ROOT)}: {text}, {size / 1024:.0f} KiB", flush=True)


def check(folder, what, actual, expected, float_type, max_ulps=0, max_relative=0.0):
    """Ends the run when a walker disagrees with the library by more than both bounds."""
    actual = two_dimensional(actual)
    expected = two_dimensional(expected)
    if actual.shape != expected.shape:
        sys.exit(f"{folder}: {what}: {actual.shape} against {expected.shape}")
    same = (actual == expected) | (np.isnan(actual) & np.isnan(expected))
    with np.errstate(all="ignore"):
        gap = np.where(same, 0.0, np.abs(actual - expected))
        ulps = np.where(same, 0.0, gap / np.spacing(np.abs(expected).astype(float_type)).astype(np.float64))
        relative = np.where(same, 0.0, gap / np.abs(expected))
    worst = np.where((ulps <= max_ulps) | (relative <= max_relative), 0.0, np.where(np.isnan(ulps), np.inf, ulps))
    if worst.max(initial=0.0) > 0:
        row, column = np.unravel_index(worst.argmax(), worst.shape)
        sys.exit(
            f"{folder}: {what}: row {row}, column {column}: walker {actual[row, column]!r},"
            f" library {expected[row, column]!r} ({ulps[row, column]} ulps; {(worst > 0).sum()} differ)"
        )
    return float(ulps.max(initial=0.0))
