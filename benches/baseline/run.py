#!/usr/bin/env python3
"""Side by side: the same job by tipoff's engine and by what else one would take."""

import argparse
import json
import os
import platform
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TARGET = ROOT / "target" / "baseline"

N_EVENTS = 1_000_000
# What it is called, its program, whether it is exact, and how many of the
# events it takes by default: as many as keep the run short.
CONTESTANTS = [
    ("Python deques", "deques.py", True, N_EVENTS),
    ("polars, offline", "polars_offline.py", True, N_EVENTS),
    ("Redis buckets", "redis_buckets.py", False, 200_000),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=N_EVENTS, help="at most so many for each (%(default)s)")
    at_most = parser.parse_args().events
    if not 0 < at_most <= N_EVENTS:
        parser.error(f"--events is from 1 to {N_EVENTS}")

    TARGET.mkdir(parents=True, exist_ok=True)
    events = TARGET / "events.csv"
    python = environment()
    tipoff = engine(events, sorted({min(n_events, at_most) for *_, n_events in CONTESTANTS}))

    print(f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors, {rustc()}")
    print("events per CPU second of client and server together\n")
    print(f"{'':<17}{'events':>9}{'CPU s':>8}{'events/s':>11}{'tipoff has':>12}{'ratio':>8}  results")
    failed, notes = False, []
    for name, program, exact, n_events in CONTESTANTS:
        n_events = min(n_events, at_most)
        report = contestant(python, program, events, n_events)
        if "skipped" in report:
            print(f"{name:<17}skipped: {report['skipped']}")
            continue
        ours = tipoff[n_events]
        rate, our_rate = (n_events / it["cpu_seconds"] for it in (report, ours))
        off = deviations(report["checksums"], ours["checksums"])
        result = "the same" if not off else "DIFFERENT" if exact else "approximate"
        print(
            f"{name:<17}{n_events:>9}{report['cpu_seconds']:>8.2f}{rate:>11,.0f}{our_rate:>12,.0f}"
            f"{our_rate / rate:>8.1f}  {result}"
        )
        notes.append(f"{name}: {report['versions']}")
        if off:
            notes.append(f"{name}, off in total: {', '.join(off)}")
        failed |= exact and bool(off)
    print("", *notes, sep="\n")
    return 1 if failed else 0


def environment():
    """A Python that has the packages; without them, those who need one say so."""
    folder = TARGET / "venv"
    python = folder / "bin" / "python"
    requirements = HERE / "requirements.txt"
    try:
        if not (folder / "bin" / "pip").exists():
            venv.create(folder, with_pip=True, clear=True)
        install = [python, "-m", "pip", "install", "--quiet", "--requirement", requirements]
        subprocess.run(install, check=True)
        return python
    except (OSError, subprocess.CalledProcessError):
        print(f"could not install {requirements}; going on with {sys.executable}", file=sys.stderr)
        return sys.executable


def engine(events, report_at):
    """Its report by number of events; writes the events for the others."""
    arguments = ["--export", events, "--report-at", ",".join(map(str, report_at))]
    command = ["cargo", "bench", "--bench", "side_by_side", "--", *arguments]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return {report["events"]: report for report in map(json.loads, done.stdout.splitlines())}


def contestant(python, program, events, n_events):
    # Each in a process of its own: none inherits another's memory.
    command = [python, "-B", HERE / program, events, str(n_events)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def deviations(checksums, expected):
    return [
        f"{feature} {checksums[feature] / expected[feature] - 1:+.1%}"
        if expected[feature]
        else f"{feature} {checksums[feature]} for 0"
        for feature in checksums
        if checksums[feature] != expected[feature]
    ]


def rustc():
    command = ["rustc", "--version"]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
