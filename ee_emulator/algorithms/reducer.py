"""Reducers of one kind of result each. https://developers.google.com/earth-engine/guides/reducers_intro

Values that are masked do not count. A result is masked where no value counted, except a count, which is then 0.
Which reducers weight their inputs, and the names of outputs, are those of each function's description.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ServiceError
from ..evaluation import statistic
from ..evaluation.reduction import BASIC, _double, _same, _within
from ..evaluation.registry import algorithm
from ..values.array import Array
from ..values.reducer import Output, Reducer, Results, Stack, Typing

_MOST_BUCKETS = 65_536


def _register(name: str, found: Reducer) -> None:
    def apply() -> Reducer:
        return found

    apply.__doc__ = f"https://developers.google.com/earth-engine/apidocs/ee-reducer-{name.lower()}"
    algorithm(f"Reducer.{name}")(apply)


for _name, _reducer in BASIC.items():
    if _name not in ("min", "max", "median", "mode"):
        _register(_name, _reducer)


@algorithm("Reducer.median")
def median(max_buckets: int | None, min_bucket_width: float | None, max_raw: int | None) -> Reducer:
    """The exact median, whatever the buckets. https://developers.google.com/earth-engine/apidocs/ee-reducer-median"""
    return BASIC["median"]


@algorithm("Reducer.mode")
def mode(max_buckets: int | None, min_bucket_width: float | None, max_raw: int | None) -> Reducer:
    """The exact mode, whatever the buckets. https://developers.google.com/earth-engine/apidocs/ee-reducer-mode"""
    return BASIC["mode"]


@algorithm("Reducer.min")
def minimum(num_inputs: int) -> Reducer:
    """The smallest value, and what the other inputs are there. https://developers.google.com/earth-engine/apidocs/ee-reducer-min"""
    return _extreme("min", num_inputs)


@algorithm("Reducer.max")
def maximum(num_inputs: int) -> Reducer:
    """The largest value, and what the other inputs are there. https://developers.google.com/earth-engine/apidocs/ee-reducer-max"""
    return _extreme("max", num_inputs)


def _extreme(name: str, inputs: int) -> Reducer:
    if inputs == 1:
        return BASIC[name]
    if not 1 < inputs <= 1024:
        raise ServiceError(f"Reducer.{name}: 'numInputs' must be between 1 and 1024, got {inputs}.")

    def typing(position: int) -> Typing:
        return lambda types: types[position]

    def compute(values: Sequence[Stack], weights: Sequence[Stack]) -> Results:
        counted = np.logical_and.reduce(list(weights))
        where = statistic.place(values[0], counted, name == "min")
        return [(statistic.pick(stack, where), counted.any(axis=0)) for stack in values]

    outputs = tuple(Output(f"{name}{i or ''}", typing(i)) for i in range(inputs))
    return Reducer(inputs, outputs, compute)


@algorithm("Reducer.minMax")
def min_max() -> Reducer:
    """Both extremes. https://developers.google.com/earth-engine/apidocs/ee-reducer-minmax"""

    def compute(values: Sequence[Stack], weights: Sequence[Stack]) -> Results:
        return [BASIC[name].apply(values, weights)[0] for name in ("min", "max")]

    return Reducer(1, (Output("min", _same), Output("max", _same)), compute)


@algorithm("Reducer.percentile")
def percentile(
    percentiles: list[float],
    output_names: list[str] | None,
    max_buckets: int | None,
    min_bucket_width: float | None,
    max_raw: int | None,
) -> Reducer:
    """Percentiles named p<n>, exact and interpolated linearly (our reading), whatever the buckets.

    https://developers.google.com/earth-engine/apidocs/ee-reducer-percentile
    """
    if not percentiles or any(not 0 <= p <= 100 for p in percentiles):
        raise ServiceError(f"Reducer.percentile: percentiles must lie between 0 and 100, got {percentiles!s:.60}.")
    names = output_names or [f"p{p:g}".replace(".", "_") for p in percentiles]
    if len(names) != len(percentiles):
        raise ServiceError(f"Reducer.percentile: {len(names)} outputNames for {len(percentiles)} percentiles.")

    def compute(values: Sequence[Stack], weights: Sequence[Stack]) -> Results:
        counted = statistic.count(weights[0]) > 0
        return [(found, counted) for found in statistic.percentile(values[0], weights[0], percentiles)]

    return Reducer(1, tuple(Output(name, _within) for name in names), compute, weighted=True)


@algorithm("Reducer.linearFit")
def linear_fit() -> Reducer:
    """Slope and offset of y over x; masked where x does not vary. https://developers.google.com/earth-engine/apidocs/ee-reducer-linearfit"""

    def compute(values: Sequence[Stack], weights: Sequence[Stack]) -> Results:
        both = np.minimum(*weights) if weights[0].dtype != bool else weights[0] & (weights[1] > 0)
        scale, offset, known = statistic.line(values[0].astype(np.float64), values[1].astype(np.float64), both)
        return [(scale, known), (offset, known)]

    return Reducer(2, (Output("scale", _double), Output("offset", _double)), compute, weighted=True)


@algorithm("Reducer.toList")
def to_list(tuple_size: int | None, num_optional: int) -> Reducer:
    """The inputs as a list, in tuples where a size is given. https://developers.google.com/earth-engine/apidocs/ee-reducer-tolist"""
    size = 1 if tuple_size is None else tuple_size
    if not 1 <= size <= 1024 or not 0 <= num_optional <= size:
        raise ServiceError(f"Reducer.toList: tuples of {tuple_size} with {num_optional} optional are not possible.")

    def compute(values: Sequence[Stack], weights: Sequence[Stack]) -> Results:
        counted = np.logical_and.reduce([w > 0 for w in weights[: size - num_optional] or [np.array(True)]])
        columns = []
        for stack, weight in zip(values, weights, strict=True):
            given = stack.tolist()
            columns.append([v if w else None for v, w in zip(given, (weight > 0).tolist(), strict=True)])
        kept = np.broadcast_to(counted, values[0].shape).tolist()
        if tuple_size is None:
            found: list[Any] = [v for v, k in zip(columns[0], kept, strict=True) if k]
        else:
            found = [list(row) for row, k in zip(zip(*columns, strict=True), kept, strict=True) if k]
        return [(found, np.array(True))]

    return Reducer(size, (Output("list", empty=[]),), compute, numeric=False, optional=num_optional)


@algorithm("Reducer.frequencyHistogram")
def frequency_histogram() -> Reducer:
    """The weight of each value, by its text. https://developers.google.com/earth-engine/apidocs/ee-reducer-frequencyhistogram"""

    def compute(values: Sequence[Stack], weights: Sequence[Stack]) -> Results:
        counted = weights[0] > 0
        kept, mass = values[0][counted], weights[0][counted]
        if kept.dtype == object:
            kept = np.array([str(value) for value in kept])
        found, which = np.unique(kept, return_inverse=True)
        sums = np.bincount(which, mass, minlength=len(found)).tolist()
        names = [text_of(value) for value in found.tolist()]
        return [({n: float(s) for n, s in zip(names, sums, strict=True)}, np.array(True))]

    return Reducer(1, (Output("histogram", empty={}),), compute, weighted=True, numeric=False)


def text_of(value: Any) -> str:
    """A value as the key of a dictionary: whole numbers without a fraction."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


@algorithm("Reducer.histogram")
def histogram(max_buckets: int | None, min_bucket_width: float | None, max_raw: int | None) -> Reducer:
    """Counts in buckets whose width is the least power of two that needs at most `maxBuckets` (default 256) of them.

    The choice of widths is our reading. https://developers.google.com/earth-engine/apidocs/ee-reducer-histogram
    """
    most = 256 if max_buckets is None else max_buckets
    if not 1 <= most <= _MOST_BUCKETS:
        raise ServiceError(f"Reducer.histogram: 'maxBuckets' must be between 1 and {_MOST_BUCKETS}, got {most}.")

    def compute(values: Sequence[Stack], weights: Sequence[Stack]) -> Results:
        counted = weights[0] > 0
        kept, mass = values[0][counted].astype(np.float64), weights[0][counted].astype(np.float64)
        if kept.size == 0:
            return [(None, np.array(False))]
        least, greatest = float(kept.min()), float(kept.max())
        width = 2.0 ** np.ceil(np.log2(max(min_bucket_width or 0, (greatest - least) / most, 2.0**-10)))
        while greatest // width - least // width + 1 > most:
            width *= 2
        start = least // width
        place = (kept // width - start).astype(np.int64)
        sums, moments = np.bincount(place, mass), np.bincount(place, mass * kept)
        means = np.where(sums > 0, moments / np.where(sums > 0, sums, 1), (np.arange(len(sums)) + start + 0.5) * width)
        found = {"bucketMeans": means.tolist(), "bucketMin": start * width, "bucketWidth": float(width)}
        return [({**found, "histogram": sums.tolist()}, np.array(True))]

    return Reducer(1, (Output("histogram"),), compute, weighted=True)


@algorithm("Reducer.fixedHistogram")
def fixed_histogram(min: float, max: float, steps: int, cumulative: bool) -> Reducer:
    """Counts in `steps` buckets of [min, max), as rows of lower edge and count. https://developers.google.com/earth-engine/apidocs/ee-reducer-fixedhistogram"""
    if not 1 <= steps <= _MOST_BUCKETS or not min < max:
        raise ServiceError(f"Reducer.fixedHistogram: {steps} steps of [{min}, {max}) are not possible.")

    def compute(values: Sequence[Stack], weights: Sequence[Stack]) -> Results:
        counted = (weights[0] > 0) & (values[0] >= min) & (values[0] < max)
        place = ((values[0][counted] - min) / ((max - min) / steps)).astype(np.int64)
        sums = np.bincount(np.minimum(place, steps - 1), weights[0][counted].astype(np.float64), minlength=steps)
        edges = min + np.arange(steps) * ((max - min) / steps)
        rows = np.column_stack([edges, np.cumsum(sums) if cumulative else sums])
        return [(Array(rows), np.array(bool(counted.any())))]

    return Reducer(1, (Output("histogram"),), compute, weighted=True)
