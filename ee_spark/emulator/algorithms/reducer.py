"""Reducers: stacks of values in, one value out. https://developers.google.com/earth-engine/guides/reducers_intro

Values that are masked do not count. A result is masked where no value counted, except a count, which is then 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ServiceError
from ..pixeltype import BOOLEAN, DOUBLE, PixelType
from .registry import algorithm

Stack = NDArray[Any]
"""Values of n inputs, shape (n, …); the validity has the same shape."""


@dataclass(frozen=True, eq=False)
class Reducer:
    """One input, one output `name`: `compute(values, valid)` gives the result for every place of the stack.

    `always` says that the result is valid even where nothing counted, inside the inputs' footprint.
    """

    name: str
    compute: Callable[[Stack, NDArray[Any]], NDArray[Any]]
    typing: Callable[[PixelType], PixelType]
    always: bool = False

    def apply(self, values: Stack, valid: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Values and mask of the result."""
        with np.errstate(all="ignore"):
            result = self.compute(values, valid)
        mask = np.broadcast_to(np.True_, result.shape) if self.always else np.asarray(valid.any(axis=0))
        return result, mask


def _extreme(values: Stack, valid: NDArray[Any], smallest: bool) -> NDArray[Any]:
    bounds = np.finfo(values.dtype) if values.dtype.kind == "f" else np.iinfo(values.dtype)
    if smallest:
        return np.asarray(np.where(valid, values, bounds.max).min(axis=0))
    return np.asarray(np.where(valid, values, bounds.min).max(axis=0))


def _total(values: Stack, valid: NDArray[Any]) -> NDArray[Any]:
    kind = np.int64 if values.dtype.kind in "iu" else np.float64
    return np.asarray(np.where(valid, values, 0).sum(axis=0, dtype=kind))


def _mean(values: Stack, valid: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(_total(values, valid) / np.maximum(valid.sum(axis=0), 1))


def median(values: Stack, valid: NDArray[Any]) -> NDArray[Any]:
    """The middle value, or the mean of the two middle ones."""
    exact = values.dtype.kind == "f" or values.dtype.itemsize <= 2
    wide = values.astype(np.float32 if exact and values.dtype.itemsize <= 4 else np.float64, copy=False)
    ordered = np.sort(np.where(valid, wide, np.inf), axis=0)
    count = np.maximum(valid.sum(axis=0), 1)
    low = np.take_along_axis(ordered, ((count - 1) // 2)[None], axis=0)[0].astype(np.float64)
    high = np.take_along_axis(ordered, (count // 2)[None], axis=0)[0].astype(np.float64)
    return np.asarray((low + high) / 2)


def _pick(values: Stack, valid: NDArray[Any], last: bool) -> NDArray[Any]:
    if last:
        values, valid = values[::-1], valid[::-1]
    where = valid.argmax(axis=0)
    return np.asarray(np.take_along_axis(values, where[None], axis=0)[0])


def _mode(values: Stack, valid: NDArray[Any]) -> NDArray[Any]:
    """The most frequent value, the smallest of several."""
    best = np.zeros(values.shape[1:], values.dtype)
    most = np.zeros(values.shape[1:], np.int64)
    for candidate, counts in zip(values, valid, strict=True):
        votes = np.where(counts, ((values == candidate) & valid).sum(axis=0), 0)
        better = (votes > most) | ((votes == most) & (votes > 0) & (candidate < best))
        best, most = np.where(better, candidate, best), np.where(better, votes, most)
    return best


def _variance(values: Stack, valid: NDArray[Any]) -> NDArray[Any]:
    centred = np.where(valid, values - _mean(values, valid), 0.0)
    return np.asarray((centred**2).sum(axis=0) / np.maximum(valid.sum(axis=0), 1))


def _sum_type(a: PixelType) -> PixelType:
    """A sum of integers is a double: its range has no bound before the stack is known."""
    return PixelType("double")


def _same(a: PixelType) -> PixelType:
    return a


_COUNT = PixelType("int", 0, 2**31 - 1)

BASIC: dict[str, Reducer] = {
    "min": Reducer("min", lambda v, m: _extreme(v, m, True), _same),
    "max": Reducer("max", lambda v, m: _extreme(v, m, False), _same),
    "mean": Reducer("mean", _mean, lambda a: PixelType("double", a.low, a.high)),
    "median": Reducer("median", median, lambda a: PixelType("double", a.low, a.high)),
    "sum": Reducer("sum", _total, _sum_type),
    "product": Reducer("product", lambda v, m: np.where(m, v, 1).prod(axis=0, dtype=np.float64), _sum_type),
    "count": Reducer("count", lambda v, m: m.sum(axis=0), lambda a: _COUNT, always=True),
    "first": Reducer("first", lambda v, m: _pick(v, m, False), _same),
    "last": Reducer("last", lambda v, m: _pick(v, m, True), _same),
    "mode": Reducer("mode", _mode, _same),
    "stdDev": Reducer("stdDev", lambda v, m: np.sqrt(_variance(v, m)), lambda a: DOUBLE),
    "variance": Reducer("variance", _variance, lambda a: DOUBLE),
    "anyNonZero": Reducer("any", lambda v, m: ((v != 0) & m).any(axis=0), lambda a: BOOLEAN),
    "allNonZero": Reducer("all", lambda v, m: ((v != 0) | ~m).all(axis=0), lambda a: BOOLEAN),
}
"""Reducers without parameters by the last part of their Earth Engine name."""


def _register(name: str, found: Reducer) -> None:
    def apply() -> Reducer:
        return found

    apply.__doc__ = f"https://developers.google.com/earth-engine/apidocs/ee-reducer-{name.lower()}"
    algorithm(f"Reducer.{name}")(apply)


for _name in ("mean", "sum", "product", "count", "first", "last", "stdDev", "variance", "anyNonZero", "allNonZero"):
    _register(_name, BASIC[_name])


@algorithm("Reducer.min")
def minimum(num_inputs: int) -> Reducer:
    """The smallest value. https://developers.google.com/earth-engine/apidocs/ee-reducer-min"""
    return _single("min", num_inputs)


@algorithm("Reducer.max")
def maximum(num_inputs: int) -> Reducer:
    """The largest value. https://developers.google.com/earth-engine/apidocs/ee-reducer-max"""
    return _single("max", num_inputs)


def _single(name: str, num_inputs: int) -> Reducer:
    if num_inputs != 1:
        raise ServiceError(f"Reducer.{name} with numInputs {num_inputs} is not implemented by this emulator.")
    return BASIC[name]


@algorithm("Reducer.median")
def _median(max_buckets: int | None, min_bucket_width: float | None, max_raw: int | None) -> Reducer:
    """The exact median, whatever the buckets. https://developers.google.com/earth-engine/apidocs/ee-reducer-median"""
    return BASIC["median"]


@algorithm("Reducer.mode")
def mode(max_buckets: int | None, min_bucket_width: float | None, max_raw: int | None) -> Reducer:
    """The exact mode, whatever the buckets. https://developers.google.com/earth-engine/apidocs/ee-reducer-mode"""
    return BASIC["mode"]
