#!/usr/bin/env python3
"""tipoff's forests against what else would score the same models, through C interfaces in one process."""

import argparse
import os
import platform
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TARGET = ROOT / "target" / "peers"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="i,ii,iii", help="which of the models (%(default)s)")
    parser.add_argument("--rows", type=int, default=20_000, help="distinct rows that are scored (%(default)s)")
    options = parser.parse_args()

    TARGET.mkdir(parents=True, exist_ok=True)
    python = TARGET / "venv" / "bin" / "python"
    if not python.exists():
        venv.create(TARGET / "venv", with_pip=True, clear=True)
    install = [python, "-m", "pip", "install", "--quiet", "--requirement", HERE / "requirements.txt"]
    subprocess.run(install, check=True)
    subprocess.run([python, "-B", HERE / "models.py", TARGET, options.models], check=True)

    print(f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors, {processor()}", flush=True)
    bench = ["cargo", "bench", "--bench", "peers", "--", "--folder", TARGET, "--rows", str(options.rows)]
    return subprocess.run(bench, check=False, cwd=ROOT).returncode


def processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")


if __name__ == "__main__":
    sys.exit(main())
