"""A plain walker of CatBoost's JSON format, to state its semantics and check the committed cases."""

import json
import math

import numpy as np

F32 = np.float32


class Model:
    def __init__(self, path):
        model = json.loads(path.read_text())
        info = model["model_info"]
        loss = info["params"]["loss_function"] if "params" in info else json.loads(info["loss_function"])
        self.objective = loss["type"]
        self.floats = model["features_info"]["float_features"]
        self.trees = [
            (oblivious, tree) for oblivious in ("oblivious_trees", "trees") for tree in model.get(oblivious, [])
        ]
        self.scale, self.bias = model["scale_and_bias"]

    def splits(self):
        for _, tree in self.trees:
            pending = [tree]
            while pending:
                node = pending.pop()
                yield from node.get("splits") or ()
                if "split" in node:
                    yield node["split"]
                    pending += [node["left"], node["right"]]

    def thresholds(self):
        found = {}
        for split in self.splits():
            column = self.floats[split["float_feature_index"]]["flat_feature_index"]
            found.setdefault(column, set()).add(split["border"])
        return found

    def goes_right(self, split, row):
        feature = self.floats[split["float_feature_index"]]
        with np.errstate(over="ignore"):
            value = F32(row[feature["flat_feature_index"]])
        if math.isnan(value):
            return feature["nan_value_treatment"] == "AsTrue"
        return bool(value > F32(split["border"]))

    def leaf(self, kind, tree, row):
        """The values of the leaf, one for each output."""
        if kind == "oblivious_trees":
            splits = tree["splits"] or []
            leaf = sum(self.goes_right(split, row) << bit for bit, split in enumerate(splits))
            n_outputs = len(tree["leaf_values"]) >> len(splits)
            return tree["leaf_values"][leaf * n_outputs : (leaf + 1) * n_outputs]
        while "split" in tree:
            tree = tree["right" if self.goes_right(tree["split"], row) else "left"]
        return tree["value"] if isinstance(tree["value"], list) else [tree["value"]]

    def raw(self, row):
        sums = [0.0] * len(self.bias)
        for kind, tree in self.trees:
            sums = [before + value for before, value in zip(sums, self.leaf(kind, tree, row), strict=True)]
        return [self.scale * value + bias for value, bias in zip(sums, self.bias, strict=True)]

    def output(self, raw):
        if self.objective in ("Logloss", "CrossEntropy", "Focal", "MultiClassOneVsAll", "MultiLogloss"):
            return [1 / (1 + math.exp(-value)) for value in raw]
        if self.objective == "MultiClass":
            powers = [math.exp(value - max(raw)) for value in raw]
            return [power / sum(powers) for power in powers]
        if self.objective in ("Poisson", "Tweedie"):
            return [math.exp(value) for value in raw]
        return raw
