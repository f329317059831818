"""Makes the LightGBM cases: text models as `save_model` writes them."""

import numpy as np
from case import (
    CATEGORIES,
    HUGE_CATEGORIES,
    INFINITE,
    SPECIALS,
    check,
    fresh_folder,
    hard_rows,
    training_data,
    two_dimensional,
    with_categories,
    write_case,
    write_refused,
)
from walk_lightgbm import Model

import lightgbm as lgb

LIBRARY = "lightgbm"
BASE = {
    "num_leaves": 8,
    "learning_rate": 0.2,
    "min_data_in_leaf": 5,
    "verbosity": -1,
    "seed": 7,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
}
FEW_ITEMS = [0, 1, 2, 3, 5, 8, 13, 21]
MANY_ITEMS = list(range(0, 400, 3))
LARGE_ITEMS = [3, 65_535, 65_536, 70_001, 131_072, 200_003]


def facts(covers, objective, note, **more):
    return {
        "library": LIBRARY,
        "version": lgb.__version__,
        "objective": objective,
        "models": ["model.txt"],
        "tolerance": {"kind": "relative", "value": 1e-12},
        "covers": covers,
        "note": note,
        **more,
    }


def labels(objective, signal, n_classes):
    if objective in ("binary", "lambdarank"):
        return (signal > 0.2).astype(float)
    if objective in ("cross_entropy", "cross_entropy_lambda"):
        return np.round(1 / (1 + np.exp(-signal)), 3)
    if objective in ("multiclass", "multiclassova"):
        return np.digitize(signal, np.quantile(signal, np.linspace(0, 1, n_classes + 1)[1:-1])).astype(float)
    if objective in ("poisson", "tweedie", "gamma"):
        return np.round(np.exp(signal / 2), 2) + 0.01
    return np.round(10 * signal, 2)


def make(
    name,
    covers,
    note="",
    objective="regression",
    trees=8,
    categories=None,
    predict=None,
    train=None,
    signal_of=None,
    **params,
):
    names, x, signal = training_data()
    if signal_of:
        signal = signal_of(dict(zip(names, x.T, strict=True)), signal)
    categorical = []
    if categories:
        names, x, signal = with_categories(names, x, signal, categories)
        categorical = list(range(len(names) - len(categories), len(names)))
    n_classes = params.get("num_class", 1)
    y = labels(objective if isinstance(objective, str) else "regression", signal, n_classes)
    data = lgb.Dataset(
        x,
        label=y,
        feature_name=names,
        categorical_feature=categorical,
        group=[60] * 10 if objective == "lambdarank" else None,
        free_raw_data=False,
    )
    booster = lgb.train({**BASE, "objective": objective, **params}, data, num_boost_round=trees, **(train or {}))
    folder = fresh_folder(LIBRARY, name)
    booster.save_model(folder / "model.txt", **(predict or {}))

    walker = Model((folder / "model.txt").read_text())
    odd = {feature: CATEGORIES + HUGE_CATEGORIES + FEW_ITEMS + LARGE_ITEMS for feature in categorical}
    rows = hard_rows(x, walker.thresholds(), specials=SPECIALS + INFINITE, categories=odd)
    loaded = lgb.Booster(model_file=folder / "model.txt")
    raw = two_dimensional(loaded.predict(rows, raw_score=True))
    output = two_dimensional(loaded.predict(rows))
    contributions = loaded.predict(rows, pred_contrib=True).reshape(len(rows), raw.shape[1], -1)
    check(folder, "raw", [walker.raw(row) for row in rows], raw, np.float64)
    check(folder, "output", [walker.output(row) for row in raw.tolist()], output, np.float64, max_relative=1e-14)
    check(folder, "contributions", contributions.sum(axis=2), raw, np.float64, max_relative=1e-9)
    write_case(
        folder,
        facts(covers, " ".join(walker.objective), note, trees=len(walker.trees)),
        names,
        rows,
        raw,
        output,
        contributions,
    )


def make_objectives():
    make("binary", ["sigmoid"], objective="binary")
    make("binary_sigmoid_scale", ["sigmoid scale 2.5"], objective="binary", sigmoid=2.5)
    make("binary_no_average", ["boost_from_average off"], objective="binary", boost_from_average=False)
    make("binary_unbalance", ["is_unbalance"], objective="binary", is_unbalance=True)
    make("cross_entropy", ["sigmoid without a scale"], objective="cross_entropy")
    make("cross_entropy_lambda", ["log1p(exp(raw))"], objective="cross_entropy_lambda")
    make("multiclass", ["softmax"], objective="multiclass", num_class=3, trees=5)
    make(
        "multiclassova", ["sigmoid per class, scale 1.5"], objective="multiclassova", num_class=3, sigmoid=1.5, trees=5
    )
    make("regression", ["identity"])
    make("regression_sqrt", ["sign(raw) * raw^2"], reg_sqrt=True)
    for objective in ("poisson", "tweedie", "gamma"):
        make(objective, ["exp"], objective=objective)
    for objective in ("quantile", "regression_l1", "huber", "fair", "mape"):
        make(objective, ["identity"], objective=objective, trees=4)
    make("lambdarank", ["ranking: output = raw"], objective="lambdarank")
    make("custom_objective", ["no objective in the file: output = raw"], objective=squared_error)


def squared_error(scores, data):
    return scores - data.get_label(), np.ones_like(scores)


def make_boosting():
    bagging = {"bagging_fraction": 0.7, "bagging_freq": 1, "feature_fraction": 0.8}
    make("rf_binary", ["average_output"], objective="binary", boosting="rf", **bagging)
    make("rf_regression", ["average_output"], boosting="rf", **bagging)
    make(
        "rf_multiclass",
        ["average_output per class"],
        objective="multiclass",
        num_class=3,
        boosting="rf",
        trees=4,
        **bagging,
    )
    make(
        "dart",
        ["DART: weights are already in the leaf values"],
        objective="binary",
        boosting="dart",
        drop_rate=0.5,
        trees=12,
    )
    make("goss", ["GOSS sampling"], objective="binary", data_sample_strategy="goss")
    make("single_leaf", ["trees of one leaf"], trees=3, min_data_in_leaf=400)
    make(
        "single_leaf_multiclass",
        ["trees of one leaf"],
        objective="multiclass",
        num_class=3,
        trees=2,
        min_data_in_leaf=400,
    )
    make("no_trees_left", ["a model cut to its first tree"], objective="binary", predict={"num_iteration": 1})
    make(
        "start_iteration", ["a model saved from its third tree on"], objective="binary", predict={"start_iteration": 2}
    )
    make("deep", ["one deep tree"], trees=2, num_leaves=60, min_data_in_leaf=2)
    make_early_stopped()


def make_early_stopped():
    _, x, signal = training_data(seed=11, n=200)
    valid = {
        "valid_sets": [lgb.Dataset(x, label=labels("binary", signal, 1))],
        "callbacks": [lgb.early_stopping(3, verbose=False)],
    }
    make(
        "early_stopped",
        ["early stopping: the file holds the trees up to the best iteration only"],
        objective="binary",
        learning_rate=0.9,
        trees=30,
        train=valid,
    )


def make_missing():
    make("zero_as_missing", ["missing type zero"], objective="binary", zero_as_missing=True)
    make("missing_disabled", ["missing type none: NaN is 0"], objective="binary", use_missing=False)
    make(
        "nan_or_not",
        ["threshold inf: all numbers on one side, NaN on the other"],
        signal_of=lambda columns, signal: 5.0 * np.isnan(columns["rate"]) + 0.1 * signal,
    )
    make("nan_directions", ["missing type NaN, both default directions"], objective="binary", trees=20, num_leaves=5)


def make_categorical():
    make(
        "categorical",
        ["categorical sets", "unseen, negative, fractional, huge categories"],
        objective="binary",
        categories={"item": FEW_ITEMS},
        cat_smooth=1.0,
        max_cat_to_onehot=1,
    )
    make(
        "categorical_onehot",
        ["one category a split"],
        objective="binary",
        categories={"item": FEW_ITEMS},
        max_cat_to_onehot=16,
    )
    make(
        "categorical_many",
        ["134 categories, sets of many words"],
        objective="binary",
        categories={"item": MANY_ITEMS},
        cat_smooth=1.0,
        min_data_per_group=5,
        max_cat_threshold=64,
    )
    make(
        "categorical_large",
        ["categories above 2^16"],
        objective="binary",
        categories={"item": LARGE_ITEMS},
        trees=3,
        num_leaves=4,
        cat_smooth=1.0,
        min_data_per_group=5,
    )
    make(
        "categorical_no_missing",
        ["categorical sets with use_missing=false"],
        objective="binary",
        categories={"item": FEW_ITEMS},
        use_missing=False,
        cat_smooth=1.0,
    )
    make(
        "categorical_zero_as_missing",
        ["categorical sets with zero_as_missing"],
        objective="binary",
        categories={"item": FEW_ITEMS},
        zero_as_missing=True,
        cat_smooth=1.0,
    )


def make_refused():
    names, x, signal = training_data()
    data = lgb.Dataset(x, label=signal, feature_name=names)
    booster = lgb.train({**BASE, "objective": "regression", "linear_tree": True}, data, num_boost_round=3)
    folder = fresh_folder("refused", LIBRARY, "linear_tree")
    booster.save_model(folder / "model.txt")
    write_refused(folder, facts(["linear_tree"], "regression", "leaves hold linear models (is_linear=1)"))


if __name__ == "__main__":
    make_objectives()
    make_boosting()
    make_missing()
    make_categorical()
    make_refused()
