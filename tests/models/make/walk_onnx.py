"""A plain walker of ONNX tree ensembles, to state what ONNX Runtime makes of them and check the committed cases."""

import math
from itertools import takewhile

import numpy as np

import onnx

OPERATORS = ("TreeEnsembleClassifier", "TreeEnsembleRegressor", "TreeEnsemble")
MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ", "BRANCH_MEMBER")
TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")
DOUBLE = onnx.TensorProto.DOUBLE


class Node:
    """A split if it has a mode, else a leaf with `(output, weight)`s."""

    def __init__(self, mode=None, feature=0, value=0.0, missing_is_true=False):
        self.mode, self.feature, self.value, self.missing_is_true = mode, feature, value, missing_is_true
        self.members, self.weights = [], []
        self.of_true = self.of_false = None

    def next(self, x):
        if math.isnan(x) and self.missing_is_true:
            return self.of_true
        holds = {
            "BRANCH_LEQ": x <= self.value,
            "BRANCH_LT": x < self.value,
            "BRANCH_GTE": x >= self.value,
            "BRANCH_GT": x > self.value,
            "BRANCH_EQ": x == self.value,
            "BRANCH_NEQ": x != self.value,
            "BRANCH_MEMBER": x in self.members,
        }
        return self.of_true if holds[self.mode] else self.of_false


class Model:
    def __init__(self, path):
        graph = onnx.load(path).graph
        operator = next(node for node in graph.node if node.op_type in OPERATORS)
        self.operator = operator.op_type
        at = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in operator.attribute}
        at = {name.removesuffix("_as_tensor"): plain(value) for name, value in at.items()}
        element = input_element(graph, operator.input[0])
        self.number = np.float64 if element == DOUBLE else np.float32
        # Single precision may come before double; whole numbers are compared in single precision, too.
        self.rounds = [*roundings(graph, operator.input[0]), self.number]
        self.base = [self.number(value) for value in at.get("base_values", [])]
        if self.operator == "TreeEnsemble":
            self.read_unified(at)
        else:
            self.read_classic(at, "class" if self.operator == "TreeEnsembleClassifier" else "target")

    def read_classic(self, at, kind):
        nodes, roots = {}, {}
        columns = ("nodes_treeids", "nodes_nodeids", "nodes_modes", "nodes_featureids", "nodes_values")
        missing = at.get("nodes_missing_value_tracks_true") or [0] * len(at["nodes_treeids"])
        for tree, node, mode, feature, value, tracks in zip(*(at[name] for name in columns), missing, strict=True):
            mode = None if mode == "LEAF" else mode
            nodes[tree, node] = Node(mode, feature, self.number(value), tracks == 1)
            roots.setdefault(tree, nodes[tree, node])
        columns = ("nodes_treeids", "nodes_nodeids", "nodes_truenodeids", "nodes_falsenodeids")
        for tree, node, of_true, of_false in zip(*(at[name] for name in columns), strict=True):
            nodes[tree, node].of_true = nodes[tree, of_true]
            nodes[tree, node].of_false = nodes[tree, of_false]
        columns = (f"{kind}_treeids", f"{kind}_nodeids", f"{kind}_ids", f"{kind}_weights")
        for tree, node, output, weight in zip(*(at[name] for name in columns), strict=True):
            nodes[tree, node].weights.append((output, self.number(weight)))
        self.trees, self.nodes = list(roots.values()), list(nodes.values())
        self.classes = None
        if kind == "class":
            self.classes = len(at.get("classlabels_int64s") or at.get("classlabels_strings"))
        self.n_outputs = self.classes or at.get("n_targets", 1)
        self.mean = at.get("aggregate_function", "SUM") == "AVERAGE"
        self.transform = at.get("post_transform", "NONE")

    def read_unified(self, at):
        leaves = []
        for output, weight in zip(at["leaf_targetids"], at["leaf_weights"], strict=True):
            leaves.append(Node())
            leaves[-1].weights.append((output, self.number(weight)))
        members = iter(at.get("membership_values", []))
        self.nodes = []
        columns = ("nodes_modes", "nodes_featureids", "nodes_splits")
        missing = at.get("nodes_missing_value_tracks_true") or [0] * len(at["nodes_modes"])
        for mode, feature, value, tracks in zip(*(at[name] for name in columns), missing, strict=True):
            node = Node(MODES[int(mode)], feature, self.number(value), tracks == 1)
            if node.mode == "BRANCH_MEMBER":
                # Sets are listed in the order of their nodes, with NaN behind each.
                node.members = list(takewhile(lambda member: not math.isnan(member), members))
            self.nodes.append(node)
        for side, flag, child in (("of_true", "trueleafs", "truenodeids"), ("of_false", "falseleafs", "falsenodeids")):
            for node, is_leaf, index in zip(self.nodes, at[f"nodes_{flag}"], at[f"nodes_{child}"], strict=True):
                setattr(node, side, leaves[index] if is_leaf else self.nodes[index])
        self.trees = [self.nodes[root] for root in at["tree_roots"]]
        self.classes, self.n_outputs = None, at.get("n_targets", 1)
        self.mean = at.get("aggregate_function", 1) == 0
        assert at.get("post_transform", 0) == 0, "ONNX Runtime takes it otherwise than it is specified"
        self.transform = "NONE"

    def thresholds(self):
        found = {}
        for node in self.nodes:
            if node.mode:
                values = node.members if node.mode == "BRANCH_MEMBER" else [node.value]
                found.setdefault(node.feature, set()).update(float(value) for value in values)
        return found

    def sums(self, row):
        """By output, the sum of weights in the order of the trees; None where there was none."""
        for number in self.rounds:
            with np.errstate(over="ignore"):
                row = [number(value) for value in row]
        sums = [None] * self.n_outputs
        for node in self.trees:
            while node.mode:
                node = node.next(row[node.feature])
            for output, weight in node.weights:
                sums[output] = weight if sums[output] is None else sums[output] + weight
        if self.mean:
            sums = [None if value is None else value / self.number(len(self.trees)) for value in sums]
        return sums

    def raw(self, row):
        """Scores before `post_transform`."""
        sums = self.sums(row)
        if self.classes == 2 and sums[1] is None:
            # One column, of the second class in spite of its number.
            score = sums[0] + (self.base or [self.number(0)])[0]
            weights = [weight for node in self.nodes for _, weight in node.weights]
            if self.transform == "NONE" and all(weight >= 0 for weight in weights):
                return [self.number(1) - score, score]
            return [-score, score]
        base = self.base or [self.number(0)] * self.n_outputs
        return [base[n] if value is None else value + base[n] for n, value in enumerate(sums)]

    def output(self, raw):
        raw = [float(value) for value in raw]
        if self.n_outputs == 1 or self.transform == "NONE":
            return raw
        if self.transform == "LOGISTIC":
            return [1 / (1 + math.exp(-value)) for value in raw]
        if self.transform == "SOFTMAX" and self.one_column():
            return raw
        powers = [math.exp(value - max(raw)) for value in raw]
        return [power / sum(powers) for power in powers]

    def one_column(self):
        return self.classes == 2 and all(output == 0 for node in self.nodes for output, _ in node.weights)


def plain(value):
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value).tolist()
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list) and value and isinstance(value[0], bytes):
        return [text.decode() for text in value]
    return value


def producer(graph, name):
    return next((node for node in graph.node if name in node.output), None)


def input_element(graph, name):
    """The type of a value's elements."""
    node = producer(graph, name)
    if node is None:
        return next(value for value in graph.input if value.name == name).type.tensor_type.elem_type
    if node.op_type == "Cast":
        return onnx.helper.get_attribute_value(node.attribute[0])
    return input_element(graph, node.input[0])


def roundings(graph, name):
    """What a value's elements have been rounded to, from the graph's input on."""
    node = producer(graph, name)
    before = roundings(graph, node.input[0]) if node else []
    is_single = input_element(graph, name) == onnx.TensorProto.FLOAT
    return [*before, np.float32 if is_single else np.float64]
