"""The job that every contestant does, and how it reports."""

import argparse
import csv
import itertools
import json
import platform
import time
from collections import Counter

HOUR = 3_600_000
WINDOWS = {"1h": HOUR, "24h": 24 * HOUR, "7d": 168 * HOUR}
# The order of a vector's values.
FEATURES = [f"{what}_{window}" for window in WINDOWS for what in ("count", "sum", "distinct")] + ["since"]


class Skip(Exception):
    """What is missing, and how to get it."""


def integer_scale(feature):
    """Sums are multiples of a quarter."""
    return 4 if feature.startswith("sum") else 1


def load(path, n_events):
    """(user, time in ms, item, value), in order of arrival."""
    with open(path, newline="") as file:
        rows = itertools.islice(csv.reader(file), 1, n_events + 1)
        return [(int(user), int(time), item, float(value)) for user, time, item, value in rows]


def drive(events, batch_size, apply):
    """Times `apply`, which makes a batch of events their vectors."""
    cpu_seconds, checksums, number = 0.0, Counter(), itertools.count(1)
    for start in range(0, len(events), batch_size):
        batch = events[start : start + batch_size]
        started = time.process_time()
        vectors = apply(batch)
        cpu_seconds += time.process_time() - started
        for vector in vectors:
            n = next(number)
            for feature, value in zip(FEATURES, vector):
                checksums[feature] += n * int(value * integer_scale(feature))
    return {"cpu_seconds": cpu_seconds, "checksums": checksums}


def main(name, run):
    """Runs a contestant: `run(path, n_events)` gives its versions, CPU seconds and checksums."""
    parser = argparse.ArgumentParser(description=name)
    parser.add_argument("events_file")
    parser.add_argument("n_events", type=int)
    args = parser.parse_args()
    try:
        report = run(args.events_file, args.n_events)
        report["versions"] = ", ".join([f"Python {platform.python_version()}", *report.get("versions", [])])
    except Skip as skip:
        report = {"skipped": str(skip)}
    print(json.dumps(report))
