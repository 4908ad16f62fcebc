"""Pyramids: which level of a stored band a request reads, and how a level is made of the finer one.

A request coarser than the asset reads the closest level at or below the output's scale; its pixels are then taken by
nearest neighbour. Each level halves the one below, 2 × 2 pixels at a time, by the band's policy.
https://developers.google.com/earth-engine/guides/scale

The documentation leaves three things open; this is how they are read here:
- Across coordinate systems the scale of the output is the local one at the centre of the request (the square root of
  the area that an output pixel covers there, in pixels of the asset), the same for every part of the request.
- Levels go on until one pixel is left, also below 256 × 256 pixels.
- Means of integers are rounded, halves up; the 2 × 2 pixels that the edge of an odd level cuts count as masked ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .crs import transform_points
from .projection import Affine6, Projection

POLICIES = ("MEAN", "MODE", "SAMPLE", "MIN", "MAX", "MEDIAN")
"""https://developers.google.com/earth-engine/reference/rest/v1/PyramidingPolicy"""

Centre = tuple[Projection, float, float]
"""The middle of a request: a projection, and the column and row there, in pixels."""

_EXACT = 1e-6
"""How far below a power of two, in levels, a scale may fall by rounding and still count as that power."""


def scale_ratio(crs: str, transform: Affine6, centre: Centre) -> float:
    """Side of an output pixel in pixels of (`crs`, `transform`) at the centre of a request; 1 where it is unknown."""
    return _ratio(crs, transform, *centre)


@lru_cache(maxsize=4096)
def _ratio(crs: str, transform: Affine6, projection: Projection, column: float, row: float) -> float:
    across = np.array([column - 0.5, column + 0.5, column, column])
    down = np.array([row, row, row - 0.5, row + 0.5])
    xs, ys = transform_points(projection.crs, crs, *projection.points_at(across, down))
    covered = abs((xs[1] - xs[0]) * (ys[3] - ys[2]) - (xs[3] - xs[2]) * (ys[1] - ys[0]))
    own = abs(transform[0] * transform[4] - transform[1] * transform[3])
    ratio = math.sqrt(covered / own) if own else math.nan
    return ratio if math.isfinite(ratio) and ratio > 0 else 1.0


def level_at(ratio: float) -> int:
    """The closest level at or below an output whose pixels are `ratio` native pixels wide."""
    return max(0, math.floor(math.log2(ratio) + _EXACT))


def coarser(transform: Affine6, level: int) -> Affine6:
    """The transform of a level: pixels 2**level as wide and high from the same corner."""
    a, b, c, d, e, f = transform
    factor = float(2**level)
    return (a * factor, b * factor, c, d * factor, e * factor, f)


def halve(values: NDArray[Any], mask: NDArray[Any], policy: str) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """The next level of (2h, 2w) pixels: values of the same dtype and the mask, both (h, w); None: all valid.

    MEAN and MODE weigh by the masks, MODE takes the smallest of equals; MIN, MAX and MEDIAN look at pixels that are
    not masked; the mask is the mean of the four. SAMPLE is the top left pixel with its own mask.
    """
    if policy == "SAMPLE":
        return _simplified(values[::2, ::2], mask[::2, ::2])
    if policy == "MEAN" and bool((mask == 1).all()):
        total = np.add.reduce(_quarters(values), axis=0, dtype=np.float64)
        return _as(total / 4, values.dtype), None
    four, weights = _quarters(values), _quarters(mask).astype(np.float64)
    found = _POLICIES[policy](four, weights)
    level_mask = weights.mean(axis=0)
    return _simplified(np.where(level_mask > 0, _as(found, values.dtype), 0), level_mask.astype(np.float32))


def _quarters(pixels: NDArray[Any]) -> NDArray[Any]:
    return np.stack([pixels[::2, ::2], pixels[::2, 1::2], pixels[1::2, ::2], pixels[1::2, 1::2]])


def _simplified(values: NDArray[Any], mask: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any] | None]:
    return np.ascontiguousarray(values), None if bool((mask == 1).all()) else np.ascontiguousarray(mask)


def _as(found: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    if dtype.kind in "iu" and found.dtype.kind == "f":
        found = np.floor(found + 0.5)
    return found.astype(dtype, copy=False)


def _mean(four: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
    total = weights.sum(axis=0)
    used = np.where(weights > 0, four, 0)
    return np.asarray((used * weights).sum(axis=0) / np.where(total > 0, total, 1))


def _mode(four: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
    votes = np.stack(
        [((four == candidate) * weights).sum(axis=0) * (weights[i] > 0) for i, candidate in enumerate(four)]
    )
    winners = np.where(votes == votes.max(axis=0), four, four.max(axis=0))
    return np.asarray(winners.min(axis=0))


def _least(four: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(np.where(weights > 0, four, four.max(axis=0)).min(axis=0))


def _most(four: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(np.where(weights > 0, four, four.min(axis=0)).max(axis=0))


def _median(four: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
    ordered = np.sort(np.where(weights > 0, four.astype(np.float64), np.inf), axis=0)
    count = np.maximum((weights > 0).sum(axis=0), 1)
    low = np.take_along_axis(ordered, ((count - 1) // 2)[None], axis=0)[0]
    high = np.take_along_axis(ordered, (count // 2)[None], axis=0)[0]
    return np.asarray((np.where(np.isinf(low), 0, low) + np.where(np.isinf(high), 0, high)) / 2)


_POLICIES: dict[str, Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]] = {
    "MEAN": _mean,
    "MODE": _mode,
    "MIN": _least,
    "MAX": _most,
    "MEDIAN": _median,
}
