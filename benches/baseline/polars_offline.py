"""The windows of all events at once, by polars' rolling groups: exact, offline, on all cores."""

import time

import job

try:
    import polars as pl
except ImportError:
    pl = None


def load(path, n_events):
    types = {"item": pl.Categorical}
    events = pl.read_csv(path, schema_overrides=types, n_rows=n_events)
    return events.with_columns(pl.col("time").cast(pl.Datetime("ms"))).with_row_index("number", offset=1)


def vectors(events):
    """A row for each event, with its number."""
    events = events.sort("user", "time")
    columns = [events.select("number")]
    for window in job.WINDOWS:
        groups = events.rolling("time", period=window, closed="right", group_by="user")
        table = groups.agg(
            pl.len().alias(f"count_{window}"),
            pl.sum("value").alias(f"sum_{window}"),
            pl.n_unique("item").alias(f"distinct_{window}"),
            pl.last("time").alias("last"),
        )
        columns.append(table.select(pl.selectors.ends_with(f"_{window}")))
    since = (pl.col("time") - pl.col("last")).dt.total_milliseconds().alias("since")
    return pl.concat([*columns, table.select(since)], how="horizontal")


def checksum(feature):
    integer = (pl.col(feature) * job.integer_scale(feature)).cast(pl.Int64)
    return (integer * pl.col("number")).sum().alias(feature)


def run(path, n_events):
    if pl is None:
        raise job.Skip("no Python package polars (pip install -r benches/baseline/requirements.txt)")
    events = load(path, n_events)
    started = time.process_time()
    table = vectors(events)
    cpu_seconds = time.process_time() - started
    checksums = table.select(map(checksum, job.FEATURES)).row(0, named=True)
    return {"cpu_seconds": cpu_seconds, "checksums": checksums, "versions": [f"polars {pl.__version__}"]}


if __name__ == "__main__":
    job.main(__doc__, run)
