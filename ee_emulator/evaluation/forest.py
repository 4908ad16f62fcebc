"""Random forests of classification and regression trees (Breiman 2001), grown and evaluated in numpy.

The same rows, parameters and seed give the same forest on every machine. A split takes the variable and the threshold
that lower the Gini impurity, or the variance, most: with classes as columns of zeros and ones both are the same sum.
https://developers.google.com/earth-engine/apidocs/ee-classifier-smilerandomforest
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .chance import generator

_CHUNK = 8192
"""Rows that pass through a tree at a time, few enough to stay in the processor's cache."""
_KEPT = 8
"""Forests that are remembered: the tiles of one map train the same one."""


@dataclass(frozen=True)
class Parameters:
    """How a forest is grown; None: the square root of the variables, every row once per tree, leaves without limit."""

    trees: int
    variables: int | None = None
    min_leaf: int = 1
    bag: float | None = None
    max_leaves: int | None = None
    seed: int = 0


class _Split(NamedTuple):
    variable: int
    threshold: float
    gain: float


@dataclass(frozen=True, eq=False)
class Tree:
    """Nodes as arrays; a leaf is its own child. `values` is (nodes, outputs), `bag` the rows it was grown from."""

    variables: NDArray[Any]
    thresholds: NDArray[Any]
    children: NDArray[Any]
    values: NDArray[Any]
    gains: NDArray[Any]
    depth: int
    bag: NDArray[Any]

    def __call__(self, x: NDArray[Any]) -> NDArray[Any]:
        """The outputs of rows of variables: (rows, variables) to (rows, outputs)."""
        flat, first = np.ascontiguousarray(x).reshape(-1), np.arange(len(x)) * x.shape[1]
        node = np.zeros(len(x), np.int64)
        for _ in range(self.depth):
            above = flat.take(first + self.variables.take(node)) > self.thresholds.take(node)
            node = self.children.take(2 * node + above)
        return self.values[node]


@dataclass(frozen=True, eq=False)
class Forest:
    """Trees whose outputs are averaged: shares of classes, or a number."""

    trees: tuple[Tree, ...]

    def __call__(self, x: NDArray[Any]) -> NDArray[Any]:
        """The mean output of the trees: float64 (rows, variables) to (rows, outputs)."""
        found = np.zeros((len(x), self.trees[0].values.shape[1]))
        for start in range(0, len(x), _CHUNK):
            part = x[start : start + _CHUNK]
            for tree in self.trees:
                found[start : start + _CHUNK] += tree(part)
        return found / len(self.trees)

    def unseen(self, x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """For the training rows: the mean output of the trees that did not see each, and how many these are."""
        total, count = np.zeros((len(x), self.trees[0].values.shape[1])), np.zeros(len(x))
        for tree in self.trees:
            out = np.setdiff1d(np.arange(len(x)), tree.bag)
            total[out] += tree(x[out])
            count[out] += 1
        return total / np.maximum(count, 1)[:, None], count

    def importance(self, variables: int) -> NDArray[Any]:
        """How much each variable's splits lowered the impurity, summed over the trees."""
        found = np.zeros(variables)
        for tree in self.trees:
            np.add.at(found, tree.variables, tree.gains)
        return found


def trained(parameters: Parameters, x: NDArray[Any], y: NDArray[Any], check: Callable[[], None]) -> Forest:
    """The forest of float64 rows of variables (n, f) with outputs (n, k); `check` is called between nodes, to stop.

    Rows of classes are bagged class by class, so that every tree knows every class.
    """
    key = (parameters, x.shape, y.shape, x.tobytes(), y.tobytes())
    return _remembered(_Key(key, check))


class _Key:
    """The arguments of a training, equal where it would give the same forest."""

    def __init__(self, content: tuple[Any, ...], check: Callable[[], None]) -> None:
        self.content = content
        self.check = check

    def __hash__(self) -> int:
        return hash(self.content)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.content == other.content


@lru_cache(maxsize=_KEPT)
def _remembered(key: _Key) -> Forest:
    parameters, x_shape, y_shape, x_bytes, y_bytes = key.content
    x, y = np.frombuffer(x_bytes).reshape(x_shape), np.frombuffer(y_bytes).reshape(y_shape)
    trees = []
    for number in range(parameters.trees):
        random = generator(parameters.seed, number)
        bag = np.concatenate(list(_bagged(y, parameters.bag, random)))
        trees.append(_grown(x, y, bag, parameters, random, key.check))
    return Forest(tuple(trees))


def _bagged(y: NDArray[Any], share: float | None, random: np.random.Generator) -> Iterator[NDArray[Any]]:
    """The rows of one tree: a share of each class without repetition; for the whole with repetition, as bootstraps."""
    groups = [np.arange(len(y))] if y.shape[1] == 1 else [np.flatnonzero(column) for column in y.T]
    for rows in groups:
        if share is None:
            yield rows
        else:
            yield random.choice(rows, max(1, round(share * len(rows))), replace=share == 1)


def _grown(
    x: NDArray[Any],
    y: NDArray[Any],
    bag: NDArray[Any],
    parameters: Parameters,
    random: np.random.Generator,
    check: Callable[[], None],
) -> Tree:
    """One tree, the best split first."""
    wanted = parameters.variables or max(1, int(np.sqrt(x.shape[1])))
    splits: list[_Split] = []
    children: list[tuple[int, int]] = []
    values: list[NDArray[Any]] = []
    depths: list[int] = []
    waiting: list[tuple[float, int, _Split, NDArray[Any]]] = []

    def add(rows: NDArray[Any], depth: int) -> None:
        check()
        number = len(values)
        splits.append(_Split(0, np.inf, 0))
        children.append((number, number))
        values.append(y[rows].mean(axis=0))
        depths.append(depth)
        found = _best_split(x, y, rows, wanted, parameters.min_leaf, random)
        if found is not None:
            heapq.heappush(waiting, (-found.gain, number, found, rows))

    add(bag, 0)
    leaves = 1
    while waiting and (parameters.max_leaves is None or leaves < parameters.max_leaves):
        _, number, split, rows = heapq.heappop(waiting)
        above = x[rows, split.variable] > split.threshold
        splits[number], children[number] = split, (len(values), len(values) + 1)
        add(rows[~above], depths[number] + 1)
        add(rows[above], depths[number] + 1)
        leaves += 1
    return Tree(
        np.array([split.variable for split in splits]),
        np.array([split.threshold for split in splits]),
        np.array(children).reshape(-1),
        np.array(values),
        np.array([split.gain for split in splits]),
        max(depths),
        bag,
    )


def _best_split(
    x: NDArray[Any], y: NDArray[Any], rows: NDArray[Any], wanted: int, least: int, random: np.random.Generator
) -> _Split | None:
    """The best of `wanted` variables drawn at random (of more, until one of them splits the rows); None for a leaf."""
    count = len(rows)
    outputs = y[rows]
    if count < 2 * least or not np.ptp(outputs, axis=0).any():
        return None
    outputs = outputs - outputs.mean(axis=0)  # the gain does not change, its rounding does
    sizes = np.arange(least, count - least + 1)
    best: _Split | None = None
    for tried, variable in enumerate(random.permutation(x.shape[1]).tolist()):
        if tried >= wanted and best is not None:
            break
        column = x[rows, variable]
        order = np.argsort(column, kind="stable")
        column = column[order]
        possible = column[sizes - 1] < column[sizes]
        if not possible.any():
            continue
        below = np.cumsum(outputs[order], axis=0)[least - 1 : count - least]
        # what is above is minus what is below, since the outputs are centred
        gains = np.where(possible, (below * below).sum(axis=1) * (1 / sizes + 1 / (count - sizes)), -1)
        at = int(gains.argmax())
        if best is None or gains[at] > best.gain:
            low, high = float(column[sizes[at] - 1]), float(column[sizes[at]])
            middle = low / 2 + high / 2
            best = _Split(variable, middle if low <= middle < high else low, float(gains[at]))
    return best
