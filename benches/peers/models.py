"""Makes the data and the models that are compared, once: `models.py FOLDER MODELS`.

What is there already is kept; `peers.json` says where everything is."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import catboost
import lightgbm as lgb
import numpy as np
import onnxmltools
import onnxruntime
import xgboost as xgb
from onnxmltools.convert.common.data_types import FloatTensorType

import onnx

FOLDER = Path(sys.argv[1])
N_ROWS, N_INPUTS = 200_000, 40
N_SCORED = 40_000
# Trees, leaves, depth of symmetric trees of as many leaves.
SIZES = {"i": (100, 31, 5), "ii": (500, 63, 6), "iii": (1_000, 255, 8)}


def behaviour(n, seed):
    """Counts, amounts, recencies and rates of users, and whether they buy: 30 % zeros, 19 % missing."""
    rng = np.random.default_rng(seed)
    activity = rng.gamma(0.6, 1.0, n)
    x = np.empty((n, N_INPUTS))
    for column in range(N_INPUTS):
        scale = activity * rng.uniform(0.2, 3.0)
        kind = column % 4
        if kind == 0:
            x[:, column] = rng.poisson(scale)
        elif kind == 1:
            x[:, column] = np.round(scale * rng.lognormal(2.0, 1.0, n), 2)
        elif kind == 2:
            x[:, column] = np.round(rng.exponential(30.0, n) / (0.2 + activity), 3)
        else:
            x[:, column] = rng.beta(1.0 + scale, 3.0)
        zeros, missing = rng.uniform(size=n), rng.uniform(size=n)
        x[zeros < 0.37 * rng.uniform(0.5, 1.0) * (1 if kind else 0.3), column] = 0.0
        x[missing < rng.uniform(0.10, 0.30), column] = np.nan
    known = np.nan_to_num(x)
    signal = sum(
        rng.normal(0, 1) * np.log1p(known[:, column]) + rng.normal(0, 0.6) * (known[:, column] == 0)
        for column in range(N_INPUTS)
    )
    signal += 0.5 * np.sin(known[:, 2] / 5) * np.log1p(known[:, 1]) - 0.4 * np.isnan(x[:, 5])
    signal = (signal - signal.mean()) / signal.std()
    return x, (rng.uniform(size=n) < 1 / (1 + np.exp(-2 * signal))).astype(int)


def lightgbm_model(path, x, y, trees, leaves):
    params = {
        "objective": "binary",
        "num_leaves": leaves,
        "learning_rate": 0.05,
        "min_data_in_leaf": 20,
        "verbosity": -1,
        "seed": 7,
        "num_threads": 2,
    }
    lgb.train(params, lgb.Dataset(x, y), trees).save_model(path)


def xgboost_model(path, x, y, trees, leaves):
    params = {
        "objective": "binary:logistic",
        "max_leaves": leaves,
        "max_depth": 0,
        "grow_policy": "lossguide",
        "eta": 0.05,
        "seed": 7,
        "nthread": 2,
    }
    xgb.train(params, xgb.DMatrix(x, y), trees).save_model(path)


def catboost_model(path, x, y, trees, depth):
    model = catboost.CatBoost(
        {
            "loss_function": "Logloss",
            "iterations": trees,
            "depth": depth,
            "learning_rate": 0.05,
            "random_seed": 7,
            "thread_count": 2,
            "verbose": False,
            "allow_writing_files": False,
        }
    )
    model.fit(x, y)
    model.save_model(path, format="json")
    model.save_model(path.with_suffix(".cpp"), format="cpp")


def onnx_model(path, source):
    types = [("rows", FloatTensorType([None, N_INPUTS]))]
    booster = lgb.Booster(model_file=source)
    # With a ZipMap the scores would come as maps: leave it out.
    onnx.save(onnxmltools.convert_lightgbm(booster, initial_types=types, zipmap=False, target_opset=15), path)


def lleaves_library(path, source):
    import lleaves

    compiled = path.with_suffix(".o")
    model = lleaves.Model(model_file=source)
    model.compile(cache=compiled, raw_score=True, froot_func_name="forest_root")
    subprocess.run(["cc", "-shared", "-o", path, compiled], check=True)


def catboost_library(path, source):
    # Exported for C++ 11; as many flags as its own users would give.
    command = [
        "c++",
        "-O3",
        "-march=native",
        "-std=c++17",
        "-shared",
        "-fPIC",
        "-o",
        path,
        f'-DMODEL="{source}"',
        Path(__file__).with_name("catboost.cc"),
    ]
    subprocess.run(command, check=True)


def made(path, make, *arguments):
    """The path, or nothing if it cannot be made."""
    if not path.exists():
        print(f"making {path.name}", flush=True)
        try:
            # At once or not at all: what is there is taken to be whole.
            part = path.with_name(f"part-{path.name}")
            make(part, *arguments)
            for suffix in {path.suffix, ".cpp"}:
                if part.with_suffix(suffix).exists():
                    shutil.move(part.with_suffix(suffix), path.with_suffix(suffix))
        except Exception as error:  # noqa: BLE001 - whatever a peer cannot do, the others can
            print(f"skipped {path.name}: {type(error).__name__}: {error}", flush=True)
            return None
    return str(path)


def library(package, pattern):
    return str(next(Path(package.__file__).parent.glob(pattern)))


def main():
    x, y = behaviour(N_ROWS, 1)
    print(f"{(x == 0).mean():.1%} zeros, {np.isnan(x).mean():.1%} missing, {y.mean():.1%} positive", flush=True)
    rows = FOLDER / "rows.f64"
    x[:N_SCORED].astype("<f8").tofile(rows)
    models = []
    for name in sys.argv[2].split(","):
        trees, leaves, depth = SIZES[name]
        at = {
            "name": name,
            "n_trees": trees,
            "n_leaves": leaves,
            "lightgbm": made(FOLDER / f"{name}.txt", lightgbm_model, x, y, trees, leaves),
        }
        at["onnx"] = made(FOLDER / f"{name}.onnx", onnx_model, at["lightgbm"])
        if name == "ii":
            at["xgboost"] = made(FOLDER / f"{name}.ubj", xgboost_model, x, y, trees, leaves)
        # (iii) takes minutes and gigabytes.
        if name != "iii":
            at["lleaves"] = made(FOLDER / f"{name}-lleaves.so", lleaves_library, at["lightgbm"])
            at["catboost"] = made(FOLDER / f"{name}.json", catboost_model, x, y, trees, depth)
            at["catboost_library"] = made(FOLDER / f"{name}-catboost.so", catboost_library, FOLDER / f"{name}.cpp")
        models.append(at)
    peers = {
        "rows": str(rows),
        "n_inputs": N_INPUTS,
        "lightgbm": library(lgb, "lib/lib_lightgbm.*"),
        "xgboost": library(xgb, "lib/libxgboost.*"),
        "onnxruntime": library(onnxruntime, "capi/libonnxruntime.*"),
        "models": models,
    }
    (FOLDER / "peers.json").write_text(json.dumps(peers, indent=2))


if __name__ == "__main__":
    main()
