"""Makes the ONNX cases: tree ensembles of scikit-learn, LightGBM and XGBoost as their converters write them, and
such as no converter writes. What they answer is ONNX Runtime's, on the CPU."""

import copy

import numpy as np
import onnxmltools
import onnxruntime
import skl2onnx
import xgboost as xgb
from case import (
    CATEGORIES,
    INFINITE,
    SPECIALS,
    check,
    fresh_folder,
    hard_rows,
    training_data,
    with_categories,
    write_case,
    write_refused,
)
from onnxmltools.convert.common import data_types
from sklearn import ensemble, tree
from sklearn.compose import ColumnTransformer
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from walk_onnx import MODES, OPERATORS, TRANSFORMS, Model

import lightgbm as lgb
import onnx
from onnx import TensorProto, helper, numpy_helper

LIBRARY = "onnx"
OPSETS = {"": 18, "ai.onnx.ml": 3}
LIGHTGBM = {
    "n_estimators": 6,
    "num_leaves": 8,
    "min_child_samples": 5,
    "learning_rate": 0.2,
    "verbosity": -1,
    "random_state": 7,
    "n_jobs": 1,
}
XGBOOST = {"n_estimators": 6, "max_depth": 3, "learning_rate": 0.3, "random_state": 7, "n_jobs": 1}
LARGE = [16_777_215.0, 16_777_216.0, 16_777_217.0, 16_777_219.0, -16_777_217.0]


def facts(covers, objective, note, **more):
    return {
        "library": LIBRARY,
        "version": onnxruntime.__version__,
        "objective": objective,
        "models": ["model.onnx"],
        "tolerance": {"kind": "float32_ulp", "value": 1},
        "covers": covers,
        "note": note,
        **more,
    }


def classes(signal, n):
    return np.digitize(signal, np.quantile(signal, np.linspace(0, 1, n + 1)[1:-1]))


def data(missing=True):
    names, x, signal = training_data()
    if not missing:
        x = np.nan_to_num(x, nan=-1.0)
    # What the converters round, they round before training as well.
    return names, x.astype(np.float32).astype(np.float64), signal


def session(model):
    options = onnxruntime.SessionOptions()
    # Threads share trees out, and so decide the order of sums.
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def feeds(running, rows):
    """Rows as the graph's inputs take them: a matrix, or a column each."""
    types = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64}
    inputs = running.get_inputs()
    parts = [rows] if len(inputs) == 1 else np.split(rows, rows.shape[1], axis=1)
    with np.errstate(over="ignore"):
        return {put.name: part.astype(types[put.type]) for put, part in zip(inputs, parts, strict=True)}


def scores(model, rows):
    running = session(model)
    # A row at a time: that is what is served.
    answers = [running.run(None, feeds(running, row[None]))[-1] for row in rows]
    if isinstance(answers[0], list):
        return np.array([list(answer[0].values()) for answer in answers], dtype=np.float64)
    return np.array([np.ravel(answer) for answer in answers], dtype=np.float64)


def without_transform(model):
    model = copy.deepcopy(model)
    operator = next(node for node in model.graph.node if node.op_type in OPERATORS)
    for attribute in operator.attribute:
        if attribute.name == "post_transform":
            attribute.s = b"NONE"
    return model


def save(name, covers, note, names, x, model, specials=SPECIALS + INFINITE, categories=None):
    folder = fresh_folder(LIBRARY, name)
    onnx.save(model, folder / "model.onnx")

    walker = Model(folder / "model.onnx")
    rows = hard_rows(x, walker.thresholds(), walker.rounds[0], specials, categories, size=1)
    if model.graph.input[0].type.tensor_type.elem_type == TensorProto.INT64:
        rows = np.round(np.nan_to_num(rows))
    output = scores(model, rows)
    raw = scores(without_transform(model), rows)
    if walker.transform == "LOGISTIC" and walker.one_column():
        raw[:, 0] = -raw[:, 1]  # without a transform it may be 1 - s instead of -s
    check(folder, "raw", [walker.raw(row) for row in rows], raw, np.float32, max_ulps=ULPS_OF_WALKER)
    check(folder, "output", [walker.output(row) for row in raw], output, np.float32, max_relative=1e-5)
    objective = f"{walker.operator} {walker.transform}"
    write_case(folder, facts(covers, objective, note, trees=len(walker.trees)), names, rows, raw, output)


# Scores of double precision are answered in single precision.
ULPS_OF_WALKER = 0.5


def from_sklearn(name, covers, model, y, note="", missing=False, zipmap=False, columns=False, double=False):
    names, x, signal = data(missing)
    model.fit(x, y(signal))
    of = skl2onnx.common.data_types.DoubleTensorType if double else skl2onnx.common.data_types.FloatTensorType
    types = [(column, of([None, 1])) for column in names] if columns else [("rows", of([None, len(names)]))]
    options = {id(model): {"zipmap": zipmap}} if hasattr(model, "classes_") else None
    if columns:
        passed_on = ColumnTransformer([("columns", "passthrough", list(range(len(names))))]).fit(x)
        model = make_pipeline(passed_on, model)
    made = skl2onnx.to_onnx(model, initial_types=types, options=options, target_opset=OPSETS)
    save(name, covers, note, names, x, made)


def make_sklearn():
    def binary(signal):
        return (signal > 0.2).astype(int)

    def three(signal):
        return classes(signal, 3)

    def value(signal):
        return np.round(10 * signal, 2)

    def two_values(signal):
        return np.column_stack([signal, signal**2])

    def texts(signal):
        return np.array(["leaves", "stays", "buys"])[three(signal)]

    few = {"n_estimators": 6, "max_depth": 3, "random_state": 7}
    from_sklearn(
        "decision_tree_classifier",
        ["one tree, a weight for each class"],
        tree.DecisionTreeClassifier(max_depth=4, random_state=7),
        binary,
    )
    from_sklearn(
        "decision_tree_regressor", ["one tree"], tree.DecisionTreeRegressor(max_depth=4, random_state=7), value
    )
    from_sklearn(
        "decision_tree_missing",
        ["NaN in training"],
        tree.DecisionTreeClassifier(max_depth=4, random_state=7),
        binary,
        missing=True,
    )
    from_sklearn(
        "random_forest_classifier", ["two classes, ZipMap"], ensemble.RandomForestClassifier(**few), binary, zipmap=True
    )
    from_sklearn("random_forest_multiclass", ["three classes"], ensemble.RandomForestClassifier(**few), three)
    from_sklearn(
        "random_forest_texts", ["labels are texts, ZipMap"], ensemble.RandomForestClassifier(**few), texts, zipmap=True
    )
    from_sklearn("random_forest_regressor", ["mean"], ensemble.RandomForestRegressor(**few), value)
    from_sklearn("random_forest_two_targets", ["two targets"], ensemble.RandomForestRegressor(**few), two_values)
    from_sklearn(
        "random_forest_missing", ["NaN in training"], ensemble.RandomForestRegressor(**few), value, missing=True
    )
    from_sklearn("extra_trees_classifier", ["random thresholds"], ensemble.ExtraTreesClassifier(**few), three)
    from_sklearn("extra_trees_regressor", ["random thresholds"], ensemble.ExtraTreesRegressor(**few), value)
    from_sklearn(
        "gradient_boosting_classifier", ["base value, LOGISTIC"], ensemble.GradientBoostingClassifier(**few), binary
    )
    from_sklearn("gradient_boosting_multiclass", ["SOFTMAX"], ensemble.GradientBoostingClassifier(**few), three)
    from_sklearn("gradient_boosting_regressor", ["base value"], ensemble.GradientBoostingRegressor(**few), value)
    histogram = {"max_iter": 6, "max_leaf_nodes": 8, "random_state": 7}
    from_sklearn(
        "hist_gradient_boosting_classifier",
        ["nodes_missing_value_tracks_true"],
        ensemble.HistGradientBoostingClassifier(**histogram),
        binary,
        missing=True,
    )
    from_sklearn(
        "hist_gradient_boosting_multiclass",
        ["SOFTMAX, missing values"],
        ensemble.HistGradientBoostingClassifier(**histogram),
        three,
        missing=True,
    )
    from_sklearn(
        "hist_gradient_boosting_regressor",
        ["nodes_missing_value_tracks_true"],
        ensemble.HistGradientBoostingRegressor(**histogram),
        value,
        missing=True,
    )
    from_sklearn(
        "input_a_column", ["an input for each column"], ensemble.RandomForestClassifier(**few), three, columns=True
    )
    from_sklearn(
        "double_classifier",
        ["rows in double precision, thresholds in single"],
        ensemble.RandomForestClassifier(**few),
        three,
        double=True,
    )


def make_lightgbm():
    def convert(name, covers, model, y, categories=None, zipmap=False, **more):
        names, x, signal = data()
        odd = None
        if categories:
            names, x, signal = with_categories(names, x, signal, {"item": categories})
            odd = {len(names) - 1: CATEGORIES + categories}
        fit = {"categorical_feature": [len(names) - 1]} if categories else {}
        model.fit(x, y(signal), **fit)
        types = [("rows", data_types.FloatTensorType([None, len(names)]))]
        made = onnxmltools.convert_lightgbm(model, initial_types=types, zipmap=zipmap, target_opset=15, **more)
        save(name, covers, "thresholds are rounded to single precision", names, x, made, categories=odd)

    def binary(signal):
        return (signal > 0.2).astype(int)

    convert("lightgbm_binary", ["LOGISTIC, NaN directions"], lgb.LGBMClassifier(**LIGHTGBM), binary)
    convert("lightgbm_zipmap", ["LOGISTIC, ZipMap"], lgb.LGBMClassifier(**LIGHTGBM), binary, zipmap=True)
    convert("lightgbm_multiclass", ["SOFTMAX"], lgb.LGBMClassifier(**LIGHTGBM), lambda signal: classes(signal, 3))
    convert("lightgbm_regression", ["identity"], lgb.LGBMRegressor(**LIGHTGBM), lambda signal: 10 * signal)
    convert(
        "lightgbm_categorical",
        ["categories as chains of BRANCH_EQ"],
        lgb.LGBMClassifier(**LIGHTGBM, max_cat_to_onehot=1, cat_smooth=1.0, max_cat_threshold=3),
        binary,
        categories=[0, 1, 2, 3, 5, 8],
    )


def make_xgboost():
    def convert(name, covers, model, y, **more):
        names, x, signal = data()
        model.fit(x, y(signal))
        types = [("rows", data_types.FloatTensorType([None, len(names)]))]
        made = onnxmltools.convert_xgboost(model, initial_types=types, target_opset=15)
        save(name, covers, "", names, x, made)

    convert("xgboost_binary", ["LOGISTIC"], xgb.XGBClassifier(**XGBOOST), lambda signal: (signal > 0.2).astype(int))
    convert("xgboost_multiclass", ["SOFTMAX"], xgb.XGBClassifier(**XGBOOST), lambda signal: classes(signal, 3))
    convert("xgboost_regression", ["base value"], xgb.XGBRegressor(**XGBOOST), lambda signal: 10 * signal)


class Trees:
    """Random trees, as no converter writes them: any mode, leaves with weights for some outputs."""

    def __init__(self, modes, n_outputs, n_trees=4, depth=3, seed=1, weights=1, negative=True, chain=False):
        self.rng = np.random.default_rng(seed)
        self.modes, self.n_outputs, self.n_weights, self.negative = modes, n_outputs, weights, negative
        self.columns = data()[1].T
        self.roots = [self.chain() if chain else self.node(depth, n) for n in range(n_trees)]

    def node(self, depth, tree):
        if depth == 0:
            outputs = self.rng.permutation(self.n_outputs)[: self.n_weights]
            if self.n_weights == 1:
                outputs = [tree % self.n_outputs]
            weights = np.round(self.rng.normal(size=len(outputs)), 3)
            return [
                (int(n), float(weight if self.negative else abs(weight)))
                for n, weight in zip(outputs, weights, strict=True)
            ]
        mode, feature = str(self.rng.choice(self.modes)), int(self.rng.integers(5))
        values = self.columns[feature][~np.isnan(self.columns[feature])]
        if mode in ("BRANCH_EQ", "BRANCH_NEQ", "BRANCH_MEMBER"):
            feature, values = 1, np.arange(5.0)
        value = float(self.rng.choice(values))
        members = [float(member) for member in self.rng.permutation(values)[:3]]
        return (
            mode,
            feature,
            value,
            members,
            bool(self.rng.integers(2)),
            self.node(depth - 1, tree),
            self.node(depth - 1, tree),
        )

    def chain(self):
        """Questions after single values of a feature, as converters write sets."""
        node = [(0, -1.0)]
        for value in self.rng.permutation(40)[:12]:
            node = ("BRANCH_EQ", 1, float(value), [], bool(self.rng.integers(2)), [(0, 0.5)], node)
        return node

    def classic(self, kind, double=False, missing=True, **more):
        """Attributes of `TreeEnsembleClassifier` ("class") or `TreeEnsembleRegressor` ("target")."""
        nodes = {
            name: []
            for name in (
                "treeids",
                "nodeids",
                "modes",
                "featureids",
                "values",
                "truenodeids",
                "falsenodeids",
                "missing_value_tracks_true",
            )
        }
        leaves = {name: [] for name in ("treeids", "nodeids", "ids", "weights")}
        for tree_id, root in enumerate(self.roots):
            order = [root]
            for id, node in enumerate(order):
                is_leaf = isinstance(node, list)
                mode, feature, value, _, tracks, *children = ("LEAF", 0, 0.0, [], False) if is_leaf else node
                ids = [len(order), len(order) + 1] if children else [0, 0]
                order += children
                for name, entry in zip(nodes, (tree_id, id, mode, feature, value, *ids, int(tracks)), strict=True):
                    nodes[name].append(entry)
                for output, weight in node if is_leaf else ():
                    for name, entry in zip(leaves, (tree_id, id, output, weight), strict=True):
                        leaves[name].append(entry)
        if not missing:
            del nodes["missing_value_tracks_true"]
        attributes = {f"nodes_{name}": values for name, values in nodes.items()}
        attributes |= {f"{kind}_{name}": values for name, values in leaves.items()} | more
        if double:
            for name in ("nodes_values", f"{kind}_weights", "base_values"):
                if name in attributes:
                    attributes[f"{name}_as_tensor"] = tensor(attributes.pop(name), np.float64)
        return attributes

    def unified(self, number=np.float32, **more):
        """Attributes of `TreeEnsemble`."""
        nodes, leaves, roots, members = [], [], [], []
        for root in self.roots:
            roots.append(len(nodes))
            self.lay_out(root, nodes, leaves)
        for mode, *_, node_members in nodes:
            members += [*node_members, np.nan] if mode == "BRANCH_MEMBER" else []
        modes, features, values, tracks, true_leaf, of_true, false_leaf, of_false, _ = zip(*nodes, strict=True)
        attributes = {
            "tree_roots": roots,
            "nodes_modes": tensor([MODES.index(mode) for mode in modes], np.uint8),
            "nodes_featureids": features,
            "nodes_splits": tensor(values, number),
            "nodes_missing_value_tracks_true": tracks,
            "nodes_trueleafs": true_leaf,
            "nodes_truenodeids": of_true,
            "nodes_falseleafs": false_leaf,
            "nodes_falsenodeids": of_false,
            "leaf_targetids": [output for output, _ in leaves],
            "leaf_weights": tensor([weight for _, weight in leaves], number),
            "n_targets": self.n_outputs,
        }
        return attributes | ({"membership_values": tensor(members, number)} if members else {}) | more

    def lay_out(self, node, nodes, leaves):
        """Adds a split and all below it; the index of what it became, and whether that is a leaf."""
        if isinstance(node, list):
            leaves.append(node[0])
            return int(True), len(leaves) - 1
        mode, feature, value, members, tracks, *children = node
        at = len(nodes)
        nodes.append(None)
        (true_leaf, of_true), (false_leaf, of_false) = (self.lay_out(child, nodes, leaves) for child in children)
        nodes[at] = (mode, feature, value, int(tracks), true_leaf, of_true, false_leaf, of_false, members)
        return int(False), at


def tensor(values, number):
    return numpy_helper.from_array(np.array(values, dtype=number))


def by_hand(operator, attributes, element=TensorProto.FLOAT, result=TensorProto.FLOAT, opset=3):
    """A model of the operator alone."""
    outputs = [helper.make_tensor_value_info("scores", result, None)]
    if operator == "TreeEnsembleClassifier":
        outputs.insert(0, helper.make_tensor_value_info("labels", TensorProto.INT64, None))
    node = helper.make_node(operator, ["rows"], [output.name for output in outputs], domain="ai.onnx.ml", **attributes)
    rows = helper.make_tensor_value_info("rows", element, [None, 6])
    graph = helper.make_graph([node], "trees", [rows], outputs)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def make_by_hand():
    names, x, _ = data()

    def regressor(name, covers, trees, note="", **more):
        attributes = trees.classic("target", n_targets=trees.n_outputs, **more)
        save(name, covers, note, names, x, by_hand("TreeEnsembleRegressor", attributes))

    def classifier(name, covers, trees, note="", n_classes=2, **more):
        attributes = trees.classic("class", classlabels_int64s=list(range(n_classes)), **more)
        save(name, covers, note, names, x, by_hand("TreeEnsembleClassifier", attributes))

    def unified(name, covers, trees, note="", double=False, **more):
        element = TensorProto.DOUBLE if double else TensorProto.FLOAT
        attributes = trees.unified(np.float64 if double else np.float32, **more)
        save(name, covers, note, names, x, by_hand("TreeEnsemble", attributes, element, element, 5))

    for mode in MODES[:6]:
        name = f"mode_{mode.removeprefix('BRANCH_').lower()}"
        regressor(name, [mode, "nodes_missing_value_tracks_true"], Trees([mode], 1))
    regressor("modes_mixed", ["all modes in one tree"], Trees(MODES[:6], 1, depth=5, n_trees=2))
    regressor("chain_of_categories", ["BRANCH_EQ, one after the other"], Trees([], 1, n_trees=3, chain=True))
    regressor("no_missing_value_tracks_true", ["the attribute is not there"], Trees(MODES[:4], 1), missing=False)
    regressor(
        "average_base_values",
        ["AVERAGE, base values, two targets"],
        Trees(MODES[:2], 2, weights=2),
        aggregate_function="AVERAGE",
        base_values=[0.3, -0.7],
    )
    regressor(
        "regressor_softmax",
        ["post_transform of several targets"],
        Trees(MODES[:2], 3, weights=3),
        post_transform="SOFTMAX",
        base_values=[0.1, 0.2, 0.3],
    )
    regressor(
        "regressor_logistic",
        ["post_transform of one target is none"],
        Trees(MODES[:2], 1),
        "ONNX Runtime ignores it",
        post_transform="LOGISTIC",
    )
    classifier("one_column", ["two classes, one column: 1 - s and s"], Trees(MODES[:2], 1, negative=False))
    classifier("one_column_negative", ["two classes, one column: -s and s"], Trees(MODES[:2], 1))
    classifier(
        "one_column_logistic",
        ["two classes, one column, LOGISTIC"],
        Trees(MODES[:2], 1, negative=False),
        post_transform="LOGISTIC",
        base_values=[0.25],
    )
    classifier(
        "one_column_softmax",
        ["two classes, one column, SOFTMAX"],
        Trees(MODES[:2], 1),
        "ONNX Runtime does not transform it",
        post_transform="SOFTMAX",
    )
    classifier(
        "two_columns_logistic", ["two classes, two columns"], Trees(MODES[:2], 2, weights=2), post_transform="LOGISTIC"
    )
    classifier(
        "two_columns_softmax", ["two classes, two columns"], Trees(MODES[:2], 2, weights=2), post_transform="SOFTMAX"
    )
    classifier(
        "classes_logistic",
        ["a sigmoid for each of three classes"],
        Trees(MODES[:2], 3),
        n_classes=3,
        post_transform="LOGISTIC",
        base_values=[0.1, 0.2, 0.3],
    )
    classifier(
        "classes_sometimes",
        ["leaves have weights of some classes"],
        Trees(MODES[:2], 4, weights=2, n_trees=5),
        n_classes=4,
        post_transform="SOFTMAX",
    )
    for mode in MODES:
        unified(f"unified_{mode.removeprefix('BRANCH_').lower()}", [f"TreeEnsemble, {mode}"], Trees([mode], 1))
    unified("unified_double", ["TreeEnsemble in double precision"], Trees(MODES, 1, depth=4), double=True)
    unified("unified_average", ["TreeEnsemble, AVERAGE"], Trees(MODES, 1), aggregate_function=0)
    unified("unified_targets", ["TreeEnsemble, three targets"], Trees(MODES, 3, n_trees=6))
    attributes = Trees(MODES[:4], 1).classic("target", double=True, n_targets=1, base_values=[0.3])
    save(
        "regressor_tensors",
        ["float64 tensors, rows in double precision"],
        "",
        names,
        x,
        by_hand("TreeEnsembleRegressor", attributes, TensorProto.DOUBLE),
    )
    attributes = Trees(MODES[:4], 3, weights=3).classic(
        "class", double=True, classlabels_int64s=[0, 1, 2], post_transform="SOFTMAX"
    )
    save(
        "classifier_tensors",
        ["float64 tensors, rows in double precision"],
        "",
        names,
        x,
        by_hand("TreeEnsembleClassifier", attributes, TensorProto.DOUBLE),
    )
    attributes = Trees(MODES[:4], 3, weights=3, seed=4).classic("class", classlabels_int64s=[0, 1, 2])
    at = attributes["nodes_modes"].index("BRANCH_LEQ")
    attributes["nodes_values"][at] = LARGE[1]
    whole = np.round(np.nan_to_num(x))
    whole[:, attributes["nodes_featureids"][at]] = np.resize(LARGE, len(x))
    save(
        "whole_numbers",
        ["rows of int64, compared in single precision"],
        "",
        names,
        whole,
        by_hand("TreeEnsembleClassifier", attributes, TensorProto.INT64),
        specials=(),
    )


def make_refused():
    names, x, signal = data(missing=False)
    y = (signal > 0.2).astype(int)
    rows = [("rows", skl2onnx.common.data_types.FloatTensorType([None, len(names)]))]

    def refuse(name, covers, note, model):
        folder = fresh_folder("refused", LIBRARY, name)
        onnx.save(model, folder / "model.onnx")
        operators = {node.op_type for node in model.graph.node}
        objective = next((operator for operator in OPERATORS if operator in operators), "")
        write_refused(folder, facts([covers], objective, note))

    scaled = make_pipeline(StandardScaler(), tree.DecisionTreeClassifier(max_depth=2, random_state=7)).fit(x, y)
    refuse(
        "scaler",
        "Scaler",
        "computes before the trees",
        skl2onnx.to_onnx(scaled, initial_types=rows, target_opset=OPSETS),
    )
    network = MLPClassifier([4], random_state=7, max_iter=20).fit(x, y)
    refuse("network", "MatMul", "no trees", skl2onnx.to_onnx(network, initial_types=rows, target_opset=OPSETS))
    for function in ("MIN", "MAX"):
        attributes = Trees(MODES[:2], 1).classic("target", n_targets=1, aggregate_function=function)
        refuse(
            f"aggregate_{function.lower()}", function, "no sum of trees", by_hand("TreeEnsembleRegressor", attributes)
        )
    for transform in ("SOFTMAX_ZERO", "PROBIT"):
        attributes = Trees(MODES[:2], 3, weights=3).classic(
            "class", classlabels_int64s=[0, 1, 2], post_transform=transform
        )
        refuse(transform.lower(), transform, "no link of ours", by_hand("TreeEnsembleClassifier", attributes))
    for number, transform in enumerate(TRANSFORMS[1:3], 1):
        model = by_hand("TreeEnsemble", Trees(MODES, 3).unified(post_transform=number), opset=5)
        note = "ONNX Runtime takes 1 for LOGISTIC and 2 for SOFTMAX, against the specification"
        refuse(f"unified_{transform.lower()}", f"post_transform {number}", note, model)


if __name__ == "__main__":
    make_sklearn()
    make_lightgbm()
    make_xgboost()
    make_by_hand()
    make_refused()
