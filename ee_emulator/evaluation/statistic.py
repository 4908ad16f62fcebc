"""Statistics along the first axis of stacks with weights, in plain numpy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Stack = NDArray[Any]


def count(weights: Stack) -> NDArray[Any]:
    """How many inputs count."""
    return np.asarray((weights > 0).sum(axis=0))


def total(values: Stack, weights: Stack) -> NDArray[Any]:
    """The weighted sum; whole numbers stay whole where the weights are all or nothing."""
    if weights.dtype != bool:
        return np.asarray((np.where(weights > 0, values, 0) * weights.astype(np.float64)).sum(axis=0))
    kind = np.int64 if values.dtype.kind in "iub" else np.float64
    return np.asarray(np.where(weights, values, 0).sum(axis=0, dtype=kind))


def mean(values: Stack, weights: Stack) -> NDArray[Any]:
    """The weighted mean."""
    mass = weights.sum(axis=0, dtype=np.float64)
    return np.asarray(total(values, weights) / np.where(mass > 0, mass, 1))


def variance(values: Stack, weights: Stack, sample: bool = False) -> NDArray[Any]:
    """The weighted variance; of a sample, divided by n - 1 instead of n."""
    centred = np.where(weights > 0, values - mean(values, weights), 0.0)
    result = mean(centred**2, weights)
    if not sample:
        return result
    n = count(weights)
    return np.asarray(result * n / np.where(n > 1, n - 1, np.nan))


def extreme(values: Stack, weights: Stack, smallest: bool) -> NDArray[Any]:
    """The least or greatest value."""
    bounds = np.finfo(values.dtype) if values.dtype.kind == "f" else np.iinfo(values.dtype)
    if smallest:
        return np.asarray(np.where(weights > 0, values, bounds.max).min(axis=0))
    return np.asarray(np.where(weights > 0, values, bounds.min).max(axis=0))


def place(values: Stack, weights: Stack, smallest: bool) -> NDArray[Any]:
    """Where along the first axis the first extreme value is."""
    wide = values.astype(np.float64) if values.dtype.kind != "f" else values
    limit = np.inf if smallest else -np.inf
    kept = np.where(weights > 0, wide, limit)
    return np.asarray(kept.argmin(axis=0) if smallest else kept.argmax(axis=0))


def pick(values: Stack, where: NDArray[Any]) -> NDArray[Any]:
    """The values at one place each of the first axis."""
    return np.asarray(np.take_along_axis(values, where[None], axis=0)[0])


def edge(values: Stack, weights: Stack, last: bool) -> NDArray[Any]:
    """The first or last value that counts."""
    if last:
        values, weights = values[::-1], weights[::-1]
    return pick(values, (weights > 0).argmax(axis=0))


def median(values: Stack, weights: Stack) -> NDArray[Any]:
    """The middle value, or the mean of the two middle ones; with unequal weights as `percentile`."""
    if weights.dtype != bool:
        return percentile(values, weights, (50,))[0]
    exact = values.dtype.kind == "f" or values.dtype.itemsize <= 2
    wide = values.astype(np.float32 if exact and values.dtype.itemsize <= 4 else np.float64, copy=False)
    ordered = np.sort(np.where(weights, wide, np.inf), axis=0)
    n = np.maximum(weights.sum(axis=0), 1)
    low = pick(ordered, (n - 1) // 2).astype(np.float64)
    high = pick(ordered, n // 2).astype(np.float64)
    return np.asarray((low + high) / 2)


def percentile(values: Stack, weights: Stack, percentiles: Sequence[float]) -> list[NDArray[Any]]:
    """Percentiles by linear interpolation: 0 is the least value, 50 the median, 100 the greatest.

    With weights, the value of rank k lies at (sum of the weights before it) / (sum of all others' weights).
    """
    wide = values.astype(np.float64)
    order = np.argsort(np.where(weights > 0, wide, np.inf), axis=0, kind="stable")
    ordered = np.take_along_axis(wide, order, axis=0)
    if weights.dtype == bool:
        n = weights.sum(axis=0)
        return [_ranked(ordered, np.maximum(n - 1, 0) * (p / 100)) for p in percentiles]
    mass = np.take_along_axis(weights.astype(np.float64), order, axis=0)
    before = np.cumsum(mass, axis=0) - mass
    rest = mass.sum(axis=0) - mass
    at = np.where(mass > 0, before / np.where(rest > 0, rest, 1), np.inf)
    return [_interpolated(ordered, at, p / 100) for p in percentiles]


def _ranked(ordered: Stack, rank: NDArray[Any]) -> NDArray[Any]:
    low = np.floor(rank).astype(np.int64)
    high = np.ceil(rank).astype(np.int64)
    a, b = pick(ordered, low), pick(ordered, high)
    return np.asarray(a + (b - a) * (rank - low))


def _interpolated(ordered: Stack, at: Stack, share: float) -> NDArray[Any]:
    high = np.minimum((at < share).sum(axis=0), np.maximum(np.isfinite(at).sum(axis=0) - 1, 0))
    low = np.maximum(high - 1, 0)
    a, b, start, stop = pick(ordered, low), pick(ordered, high), pick(at, low), pick(at, high)
    gap = stop - start
    part = np.where(gap > 0, (share - start) / np.where(gap > 0, gap, 1), 1.0)
    return np.asarray(a + (b - a) * np.clip(part, 0, 1))


def runs(values: Stack, weights: Stack) -> tuple[Stack, Stack]:
    """The values in order, and at each of them the weight of its equals up to there."""
    wide = values.astype(np.float64)
    order = np.argsort(np.where(weights > 0, wide, np.inf), axis=0, kind="stable")
    ordered = np.take_along_axis(values, order, axis=0)
    mass = np.take_along_axis(weights.astype(np.float64), order, axis=0)
    cumulated = np.cumsum(mass, axis=0)
    places = np.arange(len(mass)).reshape(-1, *[1] * (mass.ndim - 1))
    begins = np.ones(mass.shape, bool)
    begins[1:] = ordered[1:] != ordered[:-1]
    starts = np.maximum.accumulate(np.where(begins, places, 0), axis=0)
    sums = np.where(mass > 0, cumulated - np.take_along_axis(cumulated - mass, starts, axis=0), 0)
    return ordered, sums


def mode(values: Stack, weights: Stack) -> NDArray[Any]:
    """The value of the greatest weight, the smallest of several."""
    if values.ndim == 1:
        kept = values[weights > 0]
        if kept.size == 0:
            return np.zeros((), values.dtype)
        found, which = np.unique(kept, return_inverse=True)
        return np.asarray(found[np.bincount(which, weights[weights > 0]).argmax()])
    ordered, sums = runs(values, weights)
    return pick(ordered, sums.argmax(axis=0))


def distinct(values: Stack, weights: Stack) -> NDArray[Any]:
    """How many different values there are."""
    if values.ndim == 1:
        return np.asarray(len(set(values[weights > 0].tolist())))
    _, sums = runs(values, weights > 0)
    return np.asarray((sums == 1).sum(axis=0))


def changes(values: Stack, weights: Stack) -> NDArray[Any]:
    """How many runs of equal values there are, what does not count left out."""
    runs_ = np.zeros(values.shape[1:], np.int64)
    last, seen = values[0], np.zeros(values.shape[1:], bool)
    for value, weight in zip(values, weights > 0, strict=True):
        runs_ += weight & (~seen | (value != last))
        last, seen = np.where(weight, value, last), seen | weight
    return runs_


def line(x: Stack, y: Stack, weights: Stack) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Slope and offset of the least-squares line, and where there is one (x must vary)."""
    mean_x, mean_y = mean(x, weights), mean(y, weights)
    dx = np.where(weights > 0, x - mean_x, 0.0)
    dy = np.where(weights > 0, y - mean_y, 0.0)
    spread = mean(dx * dx, weights)
    slope = mean(dx * dy, weights) / np.where(spread > 0, spread, 1)
    return slope, mean_y - slope * mean_x, spread > 0
