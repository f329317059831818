"""Makes the networks of this folder, with inputs and what ONNX Runtime says of them.

    python -m venv venv && venv/bin/pip install -r requirements.txt
    venv/bin/python make.py

A case is a folder: `network.onnx`, `case.toml` (which features and outputs a
model of it has), `inputs.csv` and `expected.csv` (raw scores, a row each, run
one at a time). The same packages make the same bytes.
"""

import csv
import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

HERE = Path(__file__).parent
N_ROWS = 40
FEATURES = ["views_7d", "spent_30d", "mean_gap", "days_since", "hour", "is_member"]
PROBABILITY = [{"name": "probability", "kind": "probability"}]


@dataclass
class Case:
    name: str
    about: str
    model: onnx.ModelProto
    outputs: list[dict]
    features: list[str] = field(default_factory=lambda: FEATURES)
    link: str = "identity"
    # What the artifact has to declare.
    network: dict = field(default_factory=dict)
    # Whether features are missing in some rows.
    has_missing: bool = False
    # By the model's outputs: the graph's output, and the column or the class of it.
    scores: list[tuple] = field(default_factory=list)


def rows(case: Case) -> np.ndarray:
    dice = np.random.default_rng(7)
    values = dice.normal(size=(N_ROWS, len(case.features))) * 2.0
    values[:, -1] = dice.integers(0, 2, size=N_ROWS)
    values[0] = 0.0
    values[1, :-1] = 1e4
    values[2, :-1] = -1e-30
    values[:, case.features.index("hour")] = dice.integers(0, 24, size=N_ROWS)
    if case.has_missing:
        values[3:, : len(case.features) // 2][dice.random((N_ROWS - 3, len(case.features) // 2)) < 0.3] = np.nan
    return values


def feeds(session: onnxruntime.InferenceSession, case: Case, row: np.ndarray) -> dict:
    of_type = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64}
    inputs = session.get_inputs()
    if len(inputs) == 1 and len(inputs[0].shape) == 2:
        return {inputs[0].name: row.reshape(1, -1).astype(of_type[inputs[0].type])}
    named = case.network.get("inputs", {})
    values = {}
    for port in inputs:
        value = row[case.features.index(named.get(port.name, port.name))]
        values[port.name] = np.full([1] * len(port.shape), value).astype(of_type[port.type])
    return values


def score(found: dict, output: str, column) -> float:
    value = found[output]
    if isinstance(value, list):
        return value[0][column]
    return float(np.asarray(value).reshape(1, -1)[0, column])


def write(case: Case) -> None:
    folder = HERE / case.name
    folder.mkdir(exist_ok=True)
    content = case.model.SerializeToString(deterministic=True)
    (folder / "network.onnx").write_bytes(content)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_outputs()]
    inputs = rows(case)
    with (folder / "inputs.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(case.features)
        writer.writerows(["" if math.isnan(value) else repr(float(value)) for value in row] for row in inputs)
    with (folder / "expected.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(f"raw_{index}" for index in range(len(case.scores)))
        for row in inputs:
            found = dict(zip(names, session.run(None, feeds(session, case, row)), strict=True))
            writer.writerow(repr(float(score(found, output, column))) for output, column in case.scores)
    versions = f"onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}"
    lines = [f"about = {json.dumps(case.about)}", f'made_with = "{versions}"', f"link = {json.dumps(case.link)}"]
    lines.append("outputs = [")
    lines += [f'    {{ name = "{output["name"]}", kind = "{output["kind"]}" }},' for output in case.outputs]
    lines.append("]")
    if case.network:
        lines += ["", "[network]"]
        scalars = {key: value for key, value in case.network.items() if key != "inputs"}
        lines += [f"{key} = {json.dumps(value)}" for key, value in scalars.items()]
        if named := case.network.get("inputs"):
            lines += ["", "[network.inputs]"] + [f"{port} = {json.dumps(feature)}" for port, feature in named.items()]
    (folder / "case.toml").write_text("\n".join(lines) + "\n")
    print(f"{case.name:24} {len(content):7} bytes")


def graph_model(nodes, inputs, outputs, weights) -> onnx.ModelProto:
    initializers = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "network", inputs, outputs, initializers)
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8, producer_name="tipoff")
    onnx.checker.check_model(model)
    return model


def mlp(n_outputs: int, after: str | None, *, element=TensorProto.FLOAT, n_rows="n") -> onnx.ModelProto:
    dice = np.random.default_rng(11)
    of_type = np.float64 if element == TensorProto.DOUBLE else np.float32
    n = len(FEATURES)
    weights = {
        "w1": dice.normal(size=(n, 8)).astype(of_type) * of_type(0.4),
        "b1": dice.normal(size=8).astype(of_type),
        "w2": dice.normal(size=(8, n_outputs)).astype(of_type) * of_type(0.4),
        "b2": dice.normal(size=n_outputs).astype(of_type),
    }
    nodes = [
        helper.make_node("Gemm", ["rows", "w1", "b1"], ["z1"]),
        helper.make_node("Tanh", ["z1"], ["h1"]),
        helper.make_node("Gemm", ["h1", "w2", "b2"], ["z2" if after else "scores"]),
    ]
    if after:
        nodes.append(helper.make_node(after, ["z2"], ["scores"]))
    inputs = [helper.make_tensor_value_info("rows", element, [n_rows, n])]
    outputs = [helper.make_tensor_value_info("scores", element, [n_rows, n_outputs])]
    return graph_model(nodes, inputs, outputs, weights)


def per_feature() -> onnx.ModelProto:
    """Inputs of all element types and both shapes; two are called otherwise than their features."""
    ports = [
        ("views_7d", TensorProto.FLOAT, 2),
        ("spent_30d", TensorProto.DOUBLE, 1),
        ("gap", TensorProto.FLOAT, 1),
        ("days_since", TensorProto.DOUBLE, 2),
        ("hour", TensorProto.INT64, 2),
        ("member", TensorProto.INT64, 1),
    ]
    nodes, columns = [], []
    for name, _, rank in ports:
        nodes.append(helper.make_node("Cast", [name], [f"{name}_float"], to=TensorProto.FLOAT))
        if rank == 1:
            nodes.append(helper.make_node("Reshape", [f"{name}_float", "column"], [f"{name}_column"]))
        columns.append(f"{name}_{'column' if rank == 1 else 'float'}")
    nodes += [
        helper.make_node("Concat", columns, ["rows"], axis=1),
        helper.make_node("MatMul", ["rows", "w"], ["z"]),
        helper.make_node("Sigmoid", ["z"], ["s"]),
        helper.make_node("Reshape", ["s", "flat"], ["probability"]),
    ]
    dice = np.random.default_rng(13)
    weights = {
        "w": dice.normal(size=(len(ports), 1)).astype(np.float32) * np.float32(0.2),
        "column": np.array([-1, 1], dtype=np.int64),
        "flat": np.array([-1], dtype=np.int64),
    }
    # Not in the order of the features.
    inputs = [
        helper.make_tensor_value_info(name, element, ["n"] if rank == 1 else ["n", 1])
        for name, element, rank in reversed(ports)
    ]
    return graph_model(nodes, inputs, [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["n"])], weights)


def two_heads() -> onnx.ModelProto:
    dice = np.random.default_rng(17)
    n = len(FEATURES)
    weights = {
        "w": dice.normal(size=(n, 4)).astype(np.float32),
        "w_spends": dice.normal(size=(4, 1)).astype(np.float32),
        "w_visits": dice.normal(size=(4, 1)).astype(np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["rows", "w"], ["z"]),
        helper.make_node("Tanh", ["z"], ["h"]),
        helper.make_node("MatMul", ["h", "w_spends"], ["spends"]),
        helper.make_node("MatMul", ["h", "w_visits"], ["visits"]),
    ]
    inputs = [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["n", n])]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1]) for name in ("visits", "spends")]
    return graph_model(nodes, inputs, outputs, weights)


def branches() -> onnx.ModelProto:
    """`If` on what all rows sum to: subgraphs that read the graph around them."""
    def branch(name, factor):
        nodes = [helper.make_node("Mul", ["sums", factor], [name])]
        return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)])

    nodes = [
        helper.make_node("ReduceSum", ["rows", "columns"], ["sums"], keepdims=1),
        helper.make_node("ReduceSum", ["sums"], ["total"], keepdims=0),
        helper.make_node("Less", ["total", "zero"], ["is_negative"]),
        helper.make_node(
            "If", ["is_negative"], ["scores"], then_branch=branch("low", "half"), else_branch=branch("high", "two")
        ),
    ]
    weights = {
        "columns": np.array([1], dtype=np.int64),
        "zero": np.array(0.0, dtype=np.float32),
        "half": np.array(0.5, dtype=np.float32),
        "two": np.array(2.0, dtype=np.float32),
    }
    inputs = [helper.make_tensor_value_info("rows", TensorProto.FLOAT, [1, len(FEATURES)])]
    return graph_model(nodes, inputs, [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 1])], weights)


def training_data(n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    dice = np.random.default_rng(19)
    inputs = dice.normal(size=(400, len(FEATURES)))
    score = inputs @ dice.normal(size=len(FEATURES)) + dice.normal(size=400)
    return inputs, np.digitize(score, np.quantile(score, np.arange(1, n_classes) / n_classes))


def logistic(zipmap: bool) -> onnx.ModelProto:
    inputs, classes = training_data(2)
    missing = np.random.default_rng(23).random(inputs.shape) < 0.2
    pipeline = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression())
    pipeline.fit(np.where(missing, np.nan, inputs), classes)
    types = [("X", FloatTensorType([None, len(FEATURES)]))]
    return convert_sklearn(pipeline, "pipeline", types, options={"zipmap": zipmap}, target_opset=17)


def mlp_classifier() -> onnx.ModelProto:
    inputs, classes = training_data(3)
    labels = np.array(["bronze", "silver", "gold"])[classes]
    pipeline = make_pipeline(StandardScaler(), MLPClassifier((8,), max_iter=2000, random_state=1))
    pipeline.fit(inputs, labels)
    types = [("X", FloatTensorType([None, len(FEATURES)]))]
    return convert_sklearn(pipeline, "pipeline", types, target_opset=17)


def classes(names: list[str]) -> list[dict]:
    return [{"name": name, "kind": "class_probability"} for name in names]


def cases() -> list[Case]:
    in_order = ["bronze", "gold", "silver"]
    return [
        Case("mlp_sigmoid", "a probability of its own", mlp(1, "Sigmoid"), PROBABILITY, scores=[("scores", 0)]),
        Case("mlp_logits", "log-odds, and the link declared", mlp(1, None), PROBABILITY, link="logistic",
             scores=[("scores", 0)]),
        Case("mlp_softmax", "three classes", mlp(3, "Softmax"), classes(["none", "one", "more"]),
             scores=[("scores", column) for column in range(3)]),
        Case("mlp_softmax_logits", "three classes, and the link declared", mlp(3, None),
             classes(["none", "one", "more"]), link="softmax", scores=[("scores", column) for column in range(3)]),
        Case("mlp_columns", "columns that are declared", mlp(3, None),
             [{"name": "last", "kind": "value"}, {"name": "first", "kind": "value"}],
             network={"columns": [2, 0]}, scores=[("scores", 2), ("scores", 0)]),
        Case("mlp_double", "in double precision", mlp(1, "Sigmoid", element=TensorProto.DOUBLE), PROBABILITY,
             scores=[("scores", 0)]),
        Case("mlp_one_row", "made for one row at a time", mlp(1, "Sigmoid", n_rows=1), PROBABILITY,
             scores=[("scores", 0)]),
        Case("per_feature", "an input a feature", per_feature(), PROBABILITY,
             network={"inputs": {"gap": "mean_gap", "member": "is_member"}}, scores=[("probability", 0)]),
        Case("two_heads", "outputs by name", two_heads(),
             [{"name": "spends", "kind": "value"}, {"name": "visits", "kind": "value"}],
             scores=[("spends", 0), ("visits", 0)]),
        Case("branches", "subgraphs", branches(), [{"name": "value", "kind": "value"}], scores=[("scores", 0)]),
        Case("sklearn_zipmap", "a pipeline with missing features; label and scores by class", logistic(zipmap=True),
             PROBABILITY, has_missing=True, scores=[("output_probability", 1)]),
        Case("sklearn_tensor", "the same without ZipMap", logistic(zipmap=False), PROBABILITY,
             has_missing=True, scores=[("probabilities", 1)]),
        Case("sklearn_classes", "classes that are texts", mlp_classifier(), classes(in_order),
             scores=[("output_probability", name) for name in in_order]),
    ]


if __name__ == "__main__":
    for case in cases():
        write(case)
