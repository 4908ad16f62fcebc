"""Reducers of one input, by the last part of their Earth Engine name.

Values that are masked do not count. A result is masked where no value counted, except a count, which is then 0.
Which reducers weight their inputs, and the names of outputs, are those of each function's description.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..values.pixeltype import BOOLEAN, DOUBLE, INT64, PixelType
from ..values.reducer import Output, Reducer, Results, Stack, single
from . import statistic


def _double(types: Sequence[PixelType]) -> PixelType:
    return DOUBLE


def _same(types: Sequence[PixelType]) -> PixelType:
    return types[0]


def _within(types: Sequence[PixelType]) -> PixelType:
    """A double between the least and the greatest input."""
    return PixelType("double", types[0].low, types[0].high)


def _boolean(types: Sequence[PixelType]) -> PixelType:
    return BOOLEAN


def _number(types: Sequence[PixelType]) -> PixelType:
    return PixelType("int", 0, 2**31 - 1)


def _long(types: Sequence[PixelType]) -> PixelType:
    return types[0] if types[0].precision == "int" else INT64


def _bits(values: Stack, weights: Stack, operation: Any, start: int) -> Any:
    return operation.reduce(np.where(weights > 0, values.astype(np.int64), start), axis=0)


BASIC: dict[str, Reducer] = {
    "min": single("min", lambda v, w: statistic.extreme(v, w, True), _same),
    "max": single("max", lambda v, w: statistic.extreme(v, w, False), _same),
    "mean": single("mean", statistic.mean, _within, weighted=True),
    "median": single("median", statistic.median, _within, weighted=True),
    "sum": single("sum", statistic.total, _double, weighted=True, empty=0),
    "product": single("product", lambda v, w: np.where(w, v, 1).prod(axis=0, dtype=np.float64), _double),
    "count": single("count", lambda v, w: statistic.count(w), _number, always=True, numeric=False),
    "countEvery": single("count", lambda v, w: np.full(v.shape[1:], len(v)), _number, always=True, numeric=False),
    "countDistinct": single("count", statistic.distinct, _number, always=True, numeric=False),
    "countDistinctNonNull": single("count", statistic.distinct, _number, always=True, numeric=False),
    "countRuns": single("count", statistic.changes, _number, always=True, numeric=False),
    "first": single("first", lambda v, w: statistic.edge(v, w, False), _same, numeric=False),
    "firstNonNull": single("first", lambda v, w: statistic.edge(v, w, False), _same, numeric=False),
    "last": single("last", lambda v, w: statistic.edge(v, w, True), _same, numeric=False),
    "lastNonNull": single("last", lambda v, w: statistic.edge(v, w, True), _same, numeric=False),
    "mode": single("mode", statistic.mode, _same, weighted=True),
    "stdDev": single("stdDev", lambda v, w: np.sqrt(statistic.variance(v, w)), _double, weighted=True),
    "variance": single("variance", statistic.variance, _double, weighted=True),
    "anyNonZero": single("any", lambda v, w: ((v != 0) & w).any(axis=0), _boolean),
    "allNonZero": single("all", lambda v, w: ((v != 0) | ~w).all(axis=0), _boolean),
    "or": single("any", lambda v, w: ((v != 0) & w).any(axis=0), _boolean),
    "and": single("all", lambda v, w: ((v != 0) | ~w).all(axis=0), _boolean),
    "bitwiseAnd": single("bitwiseAnd", lambda v, w: _bits(v, w, np.bitwise_and, -1), _long),
    "bitwiseOr": single("bitwiseOr", lambda v, w: _bits(v, w, np.bitwise_or, 0), _long),
}
"""Reducers without parameters, and median and mode, by the last part of their Earth Engine name."""


def _sample(name: str, root: bool) -> Reducer:
    """A statistic of a sample: nothing for a single value."""

    def compute(values: Sequence[Stack], weights: Sequence[Stack]) -> Results:
        found = statistic.variance(values[0], weights[0], sample=True)
        return [(np.sqrt(found) if root else found, statistic.count(weights[0]) > 1)]

    return Reducer(1, (Output(name, _double),), compute, weighted=True)


BASIC |= {"sampleStdDev": _sample("stdDev", True), "sampleVariance": _sample("variance", False)}
