"""A plain walker of XGBoost's JSON format, to state its semantics and check the committed cases.

All of it is float32: inputs are rounded first, and leaf values added one after another."""

import ctypes
import json
import math

import numpy as np

F32 = np.float32


def libm(name):
    """A float32 function of the C library, which XGBoost calls; numpy's differ in the last place."""
    function = getattr(ctypes.CDLL("libm.so.6"), name)
    function.restype, function.argtypes = ctypes.c_float, [ctypes.c_float]
    return lambda value: F32(function(value))


exp, log = libm("expf"), libm("logf")


class Tree:
    def __init__(self, fields):
        self.left, self.right = fields["left_children"], fields["right_children"]
        self.feature = fields["split_indices"]
        self.condition = [F32(value) for value in fields["split_conditions"]]
        self.default_left = [bool(value) for value in fields["default_left"]]
        self.split_type = fields.get("split_type") or [0] * len(self.left)
        self.categories = {}
        sizes = zip(fields["categories_nodes"], fields["categories_segments"], fields["categories_sizes"], strict=True)
        for node, start, size in sizes:
            self.categories[node] = set(fields["categories"][start : start + size])

    def leaf(self, row):
        node = 0
        while self.left[node] != -1:
            node = self.left[node] if self.goes_left(node, row[self.feature[node]]) else self.right[node]
        return self.condition[node]

    def goes_left(self, node, value):
        if math.isnan(value):
            return self.default_left[node]
        if self.split_type[node] == 0:
            return value < self.condition[node]
        if value < 0 or value >= 2**24:
            return True  # no category at all
        return int(value) not in self.categories[node]  # those listed go right


class Model:
    def __init__(self, path):
        with open(path) as file:
            learner = json.load(file)["learner"]
        self.objective = learner["objective"]["name"]
        parameters = learner["learner_model_param"]
        self.n_features = int(parameters["num_feature"])
        self.n_outputs = max(int(parameters["num_class"]), int(parameters.get("num_target", 1)))
        scores = parameters["base_score"].strip("[]").split(",")  # a vector since 3.1
        self.base = [self.margin(F32(text)) for text in scores]
        if len(self.base) == 1:
            self.base *= self.n_outputs
        booster = learner["gradient_booster"]
        self.weights = None
        if booster["name"] == "dart":
            self.weights = [F32(value) for value in booster["weight_drop"]]
            booster = booster["gbtree"]
        self.trees = [Tree(fields) for fields in booster["model"]["trees"]]
        self.output_of = booster["model"]["tree_info"]
        self.best_iteration = learner["attributes"].get("best_iteration")
        n_parallel = int(booster["model"]["gbtree_model_param"]["num_parallel_tree"])
        self.trees_per_iteration = n_parallel * self.n_outputs

    def margin(self, score):
        """The stored base score is in the output's unit; trees add to its margin."""
        if self.objective in ("binary:logistic", "reg:logistic"):
            return -log(F32(1) / score - F32(1))
        if self.objective in ("count:poisson", "reg:gamma", "reg:tweedie", "survival:cox", "survival:aft"):
            return log(score)
        return score

    def thresholds(self):
        found = {}
        for tree in self.trees:
            for node, left in enumerate(tree.left):
                if left != -1 and tree.split_type[node] == 0:
                    found.setdefault(tree.feature[node], set()).add(float(tree.condition[node]))
        return found

    def raw(self, row, n_trees=None):
        with np.errstate(over="ignore"):
            row = [F32(value) for value in row]
        sums = list(self.base)
        for n, tree in enumerate(self.trees[:n_trees]):
            value = tree.leaf(row)
            sums[self.output_of[n]] += value if self.weights is None else value * self.weights[n]
        return sums

    def output(self, raw):
        raw = [F32(value) for value in raw]
        if self.objective in ("binary:logistic", "reg:logistic"):
            return [F32(1) / (F32(1) + exp(-value)) for value in raw]
        if self.objective == "binary:hinge":
            return [F32(value > 0) for value in raw]
        if self.objective == "multi:softprob":
            powers = [exp(value - max(raw)) for value in raw]
            total = F32(sum(float(power) for power in powers))  # the only float64
            return [power / total for power in powers]
        if self.objective == "multi:softmax":
            return [F32(int(np.argmax(raw)))]
        if self.objective in ("count:poisson", "reg:gamma", "reg:tweedie", "survival:cox", "survival:aft"):
            return [exp(value) for value in raw]
        return raw
