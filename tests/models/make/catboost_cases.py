"""Makes the CatBoost cases: JSON models as `save_model(format="json")` writes them."""

import numpy as np
from case import (
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
from walk_catboost import Model

import catboost

LIBRARY = "catboost"
BASE = {
    "iterations": 6,
    "depth": 3,
    "learning_rate": 0.3,
    "random_seed": 7,
    "thread_count": 1,
    "verbose": False,
    "allow_writing_files": False,
}
RANKING = ("YetiRank", "PairLogit")
# Its files are large already.
N_CONTRIBUTION_ROWS = 20


def facts(covers, objective, note, **more):
    return {
        "library": LIBRARY,
        "version": catboost.__version__,
        "objective": objective,
        "models": ["model.json"],
        "tolerance": {"kind": "relative", "value": 1e-12},
        "covers": covers,
        "note": note,
        **more,
    }


def labels(objective, signal):
    if objective in ("Logloss", "Focal", *RANKING):
        return (signal > 0.2).astype(float)
    if objective == "CrossEntropy":
        return np.round(1 / (1 + np.exp(-signal)), 3)
    if objective.startswith("MultiClass"):
        return np.digitize(signal, np.quantile(signal, [1 / 3, 2 / 3]))
    if objective == "MultiLogloss":
        return np.column_stack([signal > 0.2, signal < -0.5, np.abs(signal) > 1]).astype(int)
    if objective == "MultiRMSE":
        return np.column_stack([signal, np.round(signal * signal, 2)])
    if objective in ("Poisson", "Tweedie"):
        return np.round(np.exp(signal / 2), 2)
    return np.round(10 * signal, 2)


def train(objective, missing=True, seed=1, **params):
    names, x, signal = training_data(seed)
    if not missing:
        x = np.nan_to_num(x, nan=-1.0)
    name = objective.split(":")[0]
    groups = np.repeat(np.arange(10), 60) if name in RANKING else None
    pool = catboost.Pool(x, labels(name, signal), feature_names=names, group_id=groups)
    model = catboost.CatBoost({**BASE, "loss_function": objective, **params})
    model.fit(pool)
    return names, x, model


def make(name, covers, note="", objective="Logloss", **params):
    save(name, covers, note, *train(objective, **params))


def save(name, covers, note, names, x, model):
    folder = fresh_folder(LIBRARY, name)
    model.save_model(folder / "model.json", format="json")
    # It predicts as it was trained: CatBoost writes decimals that are exact, but reads them less exactly.
    walker = Model(folder / "model.json")
    rows = hard_rows(x, walker.thresholds(), np.float32, SPECIALS + INFINITE, size=1)
    rows = np.concatenate([rows, between_floats(x, walker.thresholds())])
    pool = catboost.Pool(rows, feature_names=names)
    raw = two_dimensional(model.predict(pool, prediction_type="RawFormulaVal"))
    output = outputs(walker, model, pool, raw)
    check(folder, "raw", [walker.raw(row) for row in rows], raw, np.float64)
    check(folder, "output", [walker.output(row) for row in raw.tolist()], output, np.float64, max_relative=1e-14)
    contributions = None
    if explains(walker):
        contributions = model.get_feature_importance(pool, type="ShapValues")
        contributions = contributions.reshape(len(rows), raw.shape[1], -1)[:N_CONTRIBUTION_ROWS]
        sums = contributions.sum(axis=2)
        check(folder, "contributions", sums, raw[:N_CONTRIBUTION_ROWS], np.float64, max_relative=1e-9)
    write_case(
        folder,
        facts(covers, walker.objective, note, trees=len(walker.trees)),
        names,
        rows,
        raw,
        output,
        contributions,
    )


def explains(walker):
    """CatBoost has no ShapValues of scaled models, crashes for single leaves, and for leaves at different depths
    they do not sum to the raw score."""
    trees = [tree for kind, tree in walker.trees if kind == "trees"]
    return walker.scale == 1 and all("split" in tree and len(set(leaf_depths(tree))) == 1 for tree in trees)


def leaf_depths(node, depth=0):
    if "split" not in node:
        return [depth]
    return leaf_depths(node["left"], depth + 1) + leaf_depths(node["right"], depth + 1)


def between_floats(x, thresholds, n=5, seed=5):
    """Plain rows with a value a little above a border, which rounds to it."""
    rng = np.random.default_rng(seed)
    edges = sorted({(feature, value) for feature, values in thresholds.items() for value in values})
    rows = x[rng.integers(len(x), size=min(n, len(edges)))].copy()
    for row, at in zip(rows, rng.permutation(len(edges)), strict=False):
        feature, border = edges[at]
        row[feature] = np.nextafter(np.float64(np.float32(border)), np.inf)
    return rows


def outputs(walker, model, pool, raw):
    """What CatBoost calls by the name of the loss: probabilities or exponents, else the raw values."""
    if walker.objective in ("Poisson", "Tweedie"):
        return two_dimensional(model.predict(pool, prediction_type="Exponent"))
    if walker.objective in ("Logloss", "CrossEntropy", "Focal"):
        return two_dimensional(model.predict(pool, prediction_type="Probability"))[:, 1:]
    if walker.objective in ("MultiClass", "MultiClassOneVsAll", "MultiLogloss"):
        return two_dimensional(model.predict(pool, prediction_type="Probability"))
    return raw


def make_objectives():
    make("logloss", ["sigmoid"])
    make("cross_entropy", ["sigmoid"], objective="CrossEntropy")
    make("focal", ["sigmoid"], objective="Focal:focal_alpha=0.3;focal_gamma=2")
    make("multiclass", ["softmax"], objective="MultiClass", iterations=4, depth=2)
    make("multiclass_one_vs_all", ["sigmoid per class"], objective="MultiClassOneVsAll", iterations=4, depth=2)
    make("multilogloss", ["several labels, sigmoid each"], objective="MultiLogloss", iterations=4, depth=2)
    make("rmse", ["identity; bias is the mean of the labels"], objective="RMSE")
    make("multirmse", ["two targets, a bias each"], objective="MultiRMSE", iterations=4)
    make("mae", ["identity"], objective="MAE")
    make("quantile", ["identity"], objective="Quantile:alpha=0.8")
    make("poisson", ["exp"], objective="Poisson")
    make("tweedie", ["exp"], objective="Tweedie:variance_power=1.5")
    make("yetirank", ["ranking: output = raw"], objective="YetiRank")
    make("pair_logit", ["ranking: output = raw"], objective="PairLogit")


def make_trees():
    make("depthwise", ["trees that are not oblivious"], grow_policy="Depthwise", iterations=3)
    make(
        "depthwise_multiclass",
        ["trees that are not oblivious, a value a class"],
        objective="MultiClass",
        grow_policy="Depthwise",
        iterations=2,
        depth=2,
    )
    make("lossguide", ["unbalanced trees"], grow_policy="Lossguide", max_leaves=10, depth=8, iterations=3)
    make(
        "lossguide_nan_max",
        ["unbalanced trees, NaN above all"],
        objective="RMSE",
        grow_policy="Lossguide",
        max_leaves=10,
        depth=8,
        iterations=3,
        nan_mode="Max",
    )
    make("single_leaf", ["trees of one leaf"], grow_policy="Lossguide", min_data_in_leaf=1_000, iterations=3)
    make("single_tree", ["one tree"], iterations=1)
    make("deep", ["one oblivious tree of 64 leaves"], iterations=1, depth=6)
    make("one_split", ["trees of depth 1"], iterations=12, depth=1)


def make_missing():
    make("nan_min", ["NaN below all"], nan_mode="Min")
    make("nan_max", ["NaN above all"], nan_mode="Max", iterations=10)
    make("nan_forbidden", ["no NaN in training: it passes no border"], nan_mode="Forbidden", missing=False)


def make_changed():
    names, x, model = train("Logloss")
    model.set_scale_and_bias(0.5, -1.25)
    save("scale_and_bias", ["scale 0.5, bias -1.25"], "", names, x, model)
    names, x, model = train("MultiClass", iterations=3, depth=2)
    model.set_scale_and_bias(2.0, [0.5, -0.25, 0.125])
    save("scale_and_biases", ["scale 2, a bias a class"], "", names, x, model)
    names, x, model = train("RMSE", iterations=2)
    _, _, other = train("RMSE", iterations=2, seed=11)
    model = catboost.sum_models([model, other], weights=[0.75, 0.25])
    save("sum_of_models", ["sum_models: no parameters in the file"], "", names, x, model)
    names, x, model = train("Logloss", iterations=20)
    model.shrink(8, 4)
    save("shrunk", ["trees 4 to 7 only"], "", names, x, model)


def make_refused():
    names, x, signal = training_data()
    y = labels("Logloss", signal)
    refuse(
        "uncertainty",
        "RMSEWithUncertainty",
        "its second output is half the logarithm of a variance",
        catboost.Pool(x, labels("RMSE", signal), feature_names=names),
        "RMSEWithUncertainty",
    )
    names, x, signal = with_categories(names, x, signal, {"item": [0, 1, 2, 3, 5, 8, 13, 21]})
    y = labels("Logloss", signal)
    rows = [[*row[:-1], f"item {row[-1]}"] for row in x.tolist()]
    columns = {"feature_names": names, "cat_features": [len(names) - 1]}
    refuse(
        "one_hot",
        "one-hot",
        "one-hot splits compare hashes of texts",
        catboost.Pool(rows, y, **columns),
        one_hot_max_size=255,
    )
    refuse(
        "ctr",
        "CTR",
        "splits on target statistics",
        catboost.Pool(rows, y, **columns),
        one_hot_max_size=1,
    )


def refuse(name, covers, note, pool, objective="Logloss", **params):
    model = catboost.CatBoost({**BASE, "iterations": 3, "depth": 2, "loss_function": objective, **params})
    model.fit(pool)
    folder = fresh_folder("refused", LIBRARY, name)
    model.save_model(folder / "model.json", format="json", pool=pool)
    write_refused(folder, facts([covers], objective, note))


if __name__ == "__main__":
    make_objectives()
    make_trees()
    make_missing()
    make_changed()
    make_refused()
