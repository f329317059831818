"""Makes the XGBoost cases, each as JSON and UBJSON, with the XGBoost that is installed."""

import numpy as np
import xgboost as xgb
from case import (
    CATEGORIES,
    SPECIALS,
    check,
    fresh_folder,
    hard_rows,
    training_data,
    with_categories,
    write_case,
    write_expected,
    write_refused,
)
from walk_xgboost import Model

VERSION = tuple(int(part) for part in xgb.__version__.split(".")[:2])
LIBRARY = f"xgboost-{VERSION[0]}.{VERSION[1]}"
CURRENT = VERSION >= (3, 0)  # the format is what differs between versions: older ones get smaller cases
MODELS = ["model.json", "model.ubj"]
BASE = {"max_depth": 3, "eta": 0.3, "tree_method": "hist", "nthread": 1, "seed": 7}
ITEMS = [0, 1, 2, 3, 5, 8, 13, 21]
# XGBoost refuses rows with infinities; these are as far as a float32 goes.
FAR = [3.4028234663852886e38, -3.4028234663852886e38]


def facts(covers, objective, note, **more):
    return {
        "library": LIBRARY,
        "version": xgb.__version__,
        "objective": objective,
        "models": MODELS,
        "tolerance": {"kind": "float32_ulp", "value": 1},
        "covers": covers,
        "note": note,
        **more,
    }


def labels(objective, signal):
    if objective in ("binary:logistic", "binary:logitraw", "binary:hinge", "rank:pairwise", "rank:ndcg"):
        return (signal > 0.2).astype(float)
    if objective == "reg:logistic":
        return np.round(1 / (1 + np.exp(-signal)), 3)
    if objective.startswith("multi:"):
        return np.digitize(signal, np.quantile(signal, [1 / 3, 2 / 3])).astype(float)
    if objective in ("count:poisson", "reg:gamma", "reg:tweedie", "reg:squaredlogerror"):
        return np.round(np.exp(signal / 2), 2) + 0.01
    if objective.startswith("survival:"):
        return np.round(np.exp(signal / 2), 2) + 0.01
    return np.round(10 * signal, 2)


def matrix(x, types, **more):
    return xgb.DMatrix(x, feature_types=types, enable_categorical=True, nthread=1, **more)


def train(objective, trees, categories, early, targets, params):
    names, x, signal = training_data()
    types = ["q"] * len(names)
    if categories:
        names, x, signal = with_categories(names, x, signal, categories)
        types += ["c"] * len(categories)
    y = labels(objective, signal)
    if targets > 1:
        y = np.column_stack([y, 3 - y / 2 + np.round(np.nan_to_num(x[:, 3]), 2)])
    data = matrix(x, types, feature_names=names, label=y)
    if objective.startswith("rank:"):
        data.set_group([60] * 10)
    if objective == "survival:aft":
        data.set_float_info("label_lower_bound", y)
        data.set_float_info("label_upper_bound", np.where(signal > 1, np.inf, y))
    params = {**BASE, "objective": objective, **params}
    if objective.startswith("multi:"):
        params["num_class"] = 3
    more = {}
    if early:
        _, other_x, other_signal = training_data(seed=11, n=200)
        other = matrix(other_x, types, feature_names=names, label=labels(objective, other_signal))
        more = {"evals": [(other, "valid")], "early_stopping_rounds": 3, "verbose_eval": False}
    return names, x, types, xgb.train(params, data, num_boost_round=trees, **more)


def make(
    name, covers, note="", objective="binary:logistic", trees=8, categories=None, early=False, targets=1, **params
):
    if not CURRENT and not early:
        trees = (trees + 1) // 2
    names, x, types, booster = train(objective, trees, categories, early, targets, params)
    folder = fresh_folder(LIBRARY, name)
    for model in MODELS:
        booster.save_model(folder / model)
    # Only what was saved may decide: predict with what the file gives back.
    booster = xgb.Booster({"nthread": 1}, model_file=folder / MODELS[0])

    walker = Model(folder / MODELS[0])
    odd = {n: CATEGORIES + ITEMS for n, kind in enumerate(types) if kind == "c"}
    rows = hard_rows(x, walker.thresholds(), np.float32, SPECIALS + FAR, odd, size=3 if CURRENT else 1)
    data = matrix(rows, types, feature_names=names)
    raw = booster.predict(data, output_margin=True)
    output = booster.predict(data)
    contributions = booster.predict(data, pred_contribs=True).reshape(len(rows), walker.n_outputs, -1)
    ulps = check(folder, "raw", [walker.raw(row) for row in rows], raw, np.float32, max_ulps=1)
    check(folder, "output", [walker.output(row) for row in raw.reshape(len(rows), -1)], output, np.float32, max_ulps=1)
    if early:
        n_trees = (int(walker.best_iteration) + 1) * walker.trees_per_iteration
        best = (0, int(walker.best_iteration) + 1)
        best_raw = booster.predict(data, output_margin=True, iteration_range=best)
        check(folder, "best raw", [walker.raw(row, n_trees) for row in rows], best_raw, np.float32, max_ulps=1)
        write_expected(folder / "expected_best_iteration.csv", best_raw, booster.predict(data, iteration_range=best))
    write_case(
        folder,
        facts(covers, objective, note, trees=len(walker.trees), walker_ulps=ulps),
        names,
        rows,
        raw,
        output,
        contributions,
    )


def make_objectives():
    make("binary_logistic", ["sigmoid"])
    make("binary_logistic_base_score", ["base score 0.2, a probability"], base_score=0.2)
    make("binary_logitraw", ["logit as the output"], objective="binary:logitraw")
    make("binary_hinge", ["output is 0 or 1"], objective="binary:hinge")
    make("multi_softprob", ["softmax"], objective="multi:softprob", trees=4)
    make("multi_softmax", ["output is the class"], objective="multi:softmax", trees=4)
    make("squarederror", ["identity"], objective="reg:squarederror")
    make("squarederror_base_score", ["base score -3.5"], objective="reg:squarederror", base_score=-3.5)
    make("reg_logistic", ["sigmoid"], objective="reg:logistic")
    make("squaredlogerror", ["identity"], objective="reg:squaredlogerror")
    make("absoluteerror", ["identity; leaves refitted"], objective="reg:absoluteerror")
    for objective in ("reg:gamma", "reg:tweedie", "count:poisson"):
        make(objective.split(":")[1], ["exp"], objective=objective)
    make("rank_pairwise", ["ranking: output = raw"], objective="rank:pairwise")
    make("survival_cox", ["exp"], objective="survival:cox")
    make("survival_aft", ["exp"], objective="survival:aft")
    if VERSION >= (2, 0):
        make("quantile", ["identity, two quantiles"], objective="reg:quantileerror", quantile_alpha=[0.2, 0.8], trees=4)


def make_boosters():
    make("dart", ["DART weights"], booster="dart", rate_drop=0.5, trees=12)
    make("dart_multi", ["DART weights per class"], objective="multi:softprob", booster="dart", rate_drop=0.5, trees=4)
    forest = {"num_parallel_tree": 4, "subsample": 0.7, "colsample_bynode": 0.7}
    make("random_forest", ["num_parallel_tree, one round"], trees=1, eta=1.0, **forest)
    make(
        "boosted_forest_multi", ["num_parallel_tree, classes and rounds"], objective="multi:softprob", trees=2, **forest
    )
    make("multi_target", ["one tree a target"], objective="reg:squarederror", targets=2, trees=4)
    make("early_stopped", ["best_iteration"], "Booster.predict uses every tree", eta=1.0, trees=30, early=True)
    make("single_leaf", ["trees of one leaf"], trees=2, min_child_weight=1e6)
    make("default_directions", ["default_left both ways"], trees=16, max_depth=2)
    make("lossguide", ["max_leaves, unbalanced trees"], trees=4, max_depth=0, max_leaves=12, grow_policy="lossguide")
    make("exact", ["tree_method=exact: thresholds between values"], tree_method="exact")


def make_categorical():
    items = {"item": ITEMS}
    make("categorical_onehot", ["one category a split"], categories=items, max_cat_to_onehot=64)
    make("categorical_partition", ["sets of categories"], categories=items, max_cat_to_onehot=1)
    many = {"item": list(range(0, 300, 3))}
    make(
        "categorical_many", ["100 categories, sets of several words"], categories=many, max_cat_to_onehot=1, max_depth=4
    )


def make_refused():
    _, _, _, booster = train("binary:logistic", 3, None, False, 1, {"booster": "gblinear", "tree_method": "auto"})
    save_refused(booster, "gblinear", "binary:logistic", "a linear model, no trees")
    if VERSION >= (2, 0):
        more = {"multi_strategy": "multi_output_tree"}
        _, _, _, booster = train("reg:squarederror", 3, None, False, 2, more)
        save_refused(booster, "multi_output_tree", "reg:squarederror", "leaves hold vectors (size_leaf_vector > 1)")


def save_refused(booster, name, objective, note):
    folder = fresh_folder("refused", LIBRARY, name)
    for model in MODELS:
        booster.save_model(folder / model)
    write_refused(folder, facts([name], objective, note))


if __name__ == "__main__":
    make_objectives()
    make_boosters()
    make_categorical()
    make_refused()
