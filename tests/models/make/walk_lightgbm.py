"""A plain walker of LightGBM's text format, to state its semantics and check the committed cases."""

import math

ZERO = 1.0000000180025095e-35  # 1e-35 as a float32


class Tree:
    def __init__(self, fields):
        def numbers(key, kind):
            return [kind(text) for text in fields.get(key, "").split()]

        self.feature = numbers("split_feature", int)
        self.threshold = numbers("threshold", float)
        self.decision_type = numbers("decision_type", int)
        self.left = numbers("left_child", int)
        self.right = numbers("right_child", int)
        self.leaf_value = numbers("leaf_value", float)
        self.cat_boundaries = numbers("cat_boundaries", int)
        self.cat_threshold = numbers("cat_threshold", int)

    def leaf(self, row):
        if not self.feature:
            return 0
        node = 0
        while node >= 0:
            node = self.left[node] if self.goes_left(node, row[self.feature[node]]) else self.right[node]
        return ~node

    def goes_left(self, node, value):
        kind = self.decision_type[node]
        if kind & 1:
            return self.has_category(int(self.threshold[node]), value)
        default_left, missing = bool(kind & 2), kind >> 2 & 3
        if math.isnan(value) and missing != 2:
            value = 0.0
        is_missing = abs(value) <= ZERO if missing == 1 else missing == 2 and math.isnan(value)
        return default_left if is_missing else value <= self.threshold[node]

    def has_category(self, cat, value):
        if math.isnan(value):
            return False
        category = int(value) if -(2**31) - 1 < value < 2**31 else -1  # towards zero: -0.5 is category 0
        if category < 0:
            return False
        words = self.cat_threshold[self.cat_boundaries[cat] : self.cat_boundaries[cat + 1]]
        return category // 32 < len(words) and bool(words[category // 32] >> category % 32 & 1)


class Model:
    def __init__(self, text):
        blocks = text.split("end of trees")[0].split("\nTree=")
        lines = blocks[0].splitlines()
        header = dict(line.split("=", 1) for line in lines if "=" in line)
        self.objective = header.get("objective", "").split()
        self.n_outputs = int(header["num_tree_per_iteration"])
        self.average = "average_output" in lines
        self.trees = [
            Tree(dict(line.split("=", 1) for line in block.splitlines() if "=" in line)) for block in blocks[1:]
        ]

    def thresholds(self):
        found = {}
        for tree in self.trees:
            for feature, kind, value in zip(tree.feature, tree.decision_type, tree.threshold, strict=True):
                if not kind & 1:
                    found.setdefault(feature, set()).add(value)
        return found

    def raw(self, row):
        sums = [0.0] * self.n_outputs
        # Values within LightGBM's zero are dropped before the walk.
        row = [0.0 if abs(value) <= ZERO else value for value in row]
        for n, tree in enumerate(self.trees):
            sums[n % self.n_outputs] += tree.leaf_value[tree.leaf(row)]
        return sums

    def output(self, raw):
        """The link. A random forest's raw score is the sum; its mean goes through the link."""
        if self.average:
            raw = [value / (len(self.trees) // self.n_outputs) for value in raw]
        name, options = (
            (self.objective or [""])[0],
            dict(option.split(":") for option in self.objective[1:] if ":" in option),
        )
        sigmoid = float(options.get("sigmoid", 1))
        if name in ("binary", "multiclassova"):
            return [1 / (1 + math.exp(-sigmoid * value)) for value in raw]
        if name == "cross_entropy":
            return [1 / (1 + math.exp(-value)) for value in raw]
        if name == "cross_entropy_lambda":
            return [math.log1p(math.exp(value)) for value in raw]
        if name == "multiclass":
            powers = [math.exp(value - max(raw)) for value in raw]
            return [power / sum(powers) for power in powers]
        if name in ("poisson", "gamma", "tweedie"):
            return [math.exp(value) for value in raw]
        if "sqrt" in self.objective:
            return [math.copysign(value * value, value) for value in raw]
        return raw
