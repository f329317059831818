"""Makes every case again: `python3 tests/models/make.py [--venvs DIRECTORY] [lightgbm | xgboost | catboost | onnx]...`

Python 3.11; the libraries go into virtual environments below DIRECTORY, kept for the next time."""

import argparse
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Script, and the requirements of the environments it runs in.
SCRIPTS = {
    "lightgbm": ["requirements.txt"],
    "xgboost": ["requirements.txt", "requirements-xgboost-2.1.txt", "requirements-xgboost-1.7.txt"],
    "catboost": ["requirements.txt"],
    "onnx": ["requirements.txt"],
}


def environment(venvs, requirements):
    """The Python of an environment that has the requirements."""
    folder = venvs / Path(requirements).stem
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    # Without dependencies of dependencies: old XGBoost asks for gigabytes of CUDA.
    install = [python, "-m", "pip", "install", "--quiet", "-r", HERE / requirements]
    if requirements != "requirements.txt":
        install.append("--no-deps")
    subprocess.run(install, check=True)
    return python


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("libraries", nargs="*", metavar="LIBRARY", help=f"any of {', '.join(SCRIPTS)}; default: all")
    parser.add_argument("--venvs", type=Path, default=Path(tempfile.gettempdir()) / "model-fixture-venvs")
    options = parser.parse_args()
    if unknown := set(options.libraries) - set(SCRIPTS):
        parser.error(f"no such library: {', '.join(sorted(unknown))}")
    settings = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONWARNINGS": "ignore"}
    for library in options.libraries or SCRIPTS:
        for requirements in SCRIPTS[library]:
            python = environment(options.venvs, requirements)
            script = HERE / "make" / f"{library}_cases.py"
            subprocess.run([python, script], check=True, env=settings)
    print(f"{sum(1 for _ in HERE.glob('**/case.toml'))} cases", file=sys.stderr)


if __name__ == "__main__":
    main()
