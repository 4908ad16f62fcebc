"""Neighbourhoods of pixels: what the places of a kernel hold, seen from every pixel of a canvas."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..values import mask as masks
from ..values.band import Band, Canvas
from ..values.grid import Grid, Pixels
from ..values.kernel import Kernel, Weights
from ..values.limit import timed_out
from ..values.pixeltype import PixelType
from ..values.reducer import Output, Reducer, Results
from .reduction import BASIC
from .stack import Shared, pixel_type

_CHUNK = 1 << 22
"""Values of a stack of neighbours held at a time."""
MOST_VALUES = 1 << 27
MOST_PLACES = 1 << 14
"""Values of all stacks of one strip, and places of a kernel, where each neighbour must be looked at: some seconds."""


def padded(canvas: Canvas, margins: tuple[int, int, int, int]) -> Canvas:
    """The canvas of a grid that is larger by some pixels up, down, left and right."""
    up, down, left, right = margins
    grid = canvas.grid
    return canvas.on(
        Grid(grid.projection, grid.width + left + right, grid.height + up + down, grid.column - left, grid.row - up)
    )


def windows(pixels: NDArray[Any], weights: Weights, shape: tuple[int, int]) -> Iterator[tuple[float, NDArray[Any]]]:
    """The weight of each place of the kernel with what lies there, seen from every pixel."""
    for row, column, weight in weights.places():
        yield weight, pixels[row : row + shape[0], column : column + shape[1]]


def summed(
    values: NDArray[Any], valid: NDArray[Any], spans: list[tuple[int, int, int, float]], shape: tuple[int, int]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Weighted sum, sum of weights and number of the valid neighbours: one running sum along the rows serves all."""
    sums, counts = _running_sum(np.where(valid, values, 0)), _running_sum(valid)
    total, mass, seen = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for row, start, stop, weight in spans:
        rows = slice(row, row + shape[0])
        first, last = slice(start, start + shape[1]), slice(stop, stop + shape[1])
        here = counts[rows, last] - counts[rows, first]
        total += (sums[rows, last] - sums[rows, first]) * weight
        mass += here * weight
        seen += here
    return total, mass, seen


def around(
    bands: Sequence[Band],
    reducer: Reducer,
    names: Sequence[str],
    kernel: Kernel,
    input_weight: str,
    skip_masked: bool,
    operation: str,
) -> list[Band]:
    """One band for each output of a reducer over the neighbours of every pixel of some bands."""
    types = [band.type for band in bands]

    def compute(canvas: Canvas) -> Results:
        weights = kernel.on(canvas.grid)
        wide = padded(canvas, weights.margins)
        found = [wide.pixels(band) for band in bands]
        results = _reduced(reducer, found, weights, canvas.grid.shape, input_weight)
        if not skip_masked:
            return results
        centre = (slice(weights.row, weights.row + canvas.grid.height),
                  slice(weights.column, weights.column + canvas.grid.width))  # fmt: skip
        valid = np.logical_and.reduce([mask[centre] > 0 for _, mask in found])
        return [(values, mask & valid) for values, mask in results]

    shared = Shared(compute)
    made = []
    for i, (name, output) in enumerate(zip(names, reducer.outputs, strict=True)):
        kind = pixel_type(output, types, operation)
        extent = bands[0].extent if skip_masked else None
        made.append(Band(name, kind, shared.reader(i, _finish(kind, output, bands[0])), bands[0].projection, extent,
                         bands[0].dimensions))  # fmt: skip
    return made


def _finish(kind: PixelType, output: Output, band: Band) -> Callable[[Canvas, Any, NDArray[Any]], Pixels]:
    def finish(canvas: Canvas, values: Any, mask: NDArray[Any]) -> Pixels:
        inside = mask & band.extent(canvas) if output.always and band.extent is not None else mask
        return np.where(mask, values, 0).astype(kind.dtype), inside

    return finish


def _reduced(
    reducer: Reducer, inputs: Sequence[Pixels], weights: Weights, shape: tuple[int, int], input_weight: str
) -> Results:
    """The reducer's results, from stacks of at most `_CHUNK` values at a time."""
    places = weights.places()
    if not places:
        empty = np.zeros(shape)
        return [(empty, empty.astype(bool)) for _ in reducer.outputs]
    quick = _running(reducer, inputs, weights, shape, input_weight)
    if quick is not None:
        return quick
    if len(places) > MOST_PLACES or len(places) * shape[0] * shape[1] > MOST_VALUES:
        raise timed_out()
    rows = max(1, _CHUNK // (len(places) * shape[1]))
    parts = []
    factors = np.array([weight for _, _, weight in places])
    for start in range(0, shape[0], rows):
        count = min(rows, shape[0] - start)
        values, valid = [], []
        for pixels, mask in inputs:
            cut = [(slice(r + start, r + start + count), slice(c, c + shape[1])) for r, c, _ in places]
            values.append(np.stack([pixels[at] for at in cut]))
            valid.append(_weighed(np.stack([mask[at] for at in cut]), factors, input_weight, reducer))
        parts.append(reducer.apply(values, valid))
    return [
        (np.concatenate([part[i][0] for part in parts]), np.concatenate([part[i][1] for part in parts]))
        for i in range(len(reducer.outputs))
    ]


def _weighed(valid: NDArray[Any], factors: NDArray[Any], input_weight: str, reducer: Reducer) -> NDArray[Any]:
    """The weights of a stack of neighbours; all or nothing where the kernel's weights are all alike."""
    if not reducer.weighted or input_weight == "mask":
        return valid
    by_kernel = np.abs(factors)[:, None, None]
    if input_weight == "kernel":
        return np.where(valid > 0, by_kernel, 0.0) if np.ptp(factors) or reducer is BASIC["sum"] else valid > 0
    return np.asarray(np.minimum(masks.fraction(valid), by_kernel))


def _running(
    reducer: Reducer, inputs: Sequence[Pixels], weights: Weights, shape: tuple[int, int], input_weight: str
) -> Results | None:
    """Mean, least and greatest value place by place, without a stack; None for any other reducer."""
    kind = next((name for name in ("mean", "min", "max", "sum") if reducer is BASIC[name]), None)
    if kind is None or (input_weight != "kernel" and kind in ("mean", "sum")):
        return None
    values, mask = inputs[0]
    seen = np.zeros(shape, bool)
    spans = spans_of(weights) if kind in ("mean", "sum") else None
    many = len(weights.places())
    if spans is None and (many > MOST_PLACES or many * shape[0] * shape[1] > 8 * MOST_VALUES):
        raise timed_out()
    if kind in ("min", "max"):
        choose = np.minimum if kind == "min" else np.maximum
        least = values[: shape[0], : shape[1]].copy()
        for (_, part), (_, valid) in zip(
            windows(values, weights, shape), windows(mask > 0, weights, shape), strict=True
        ):
            least = np.where(valid, np.where(seen, choose(least, part), part), least)
            seen |= valid
        return [(least, seen)]
    if spans is not None:
        total, mass, number = summed(values.astype(np.float64), mask > 0, spans, shape)
        seen = number > 0
    else:
        total, mass = np.zeros(shape), np.zeros(shape)
        counted = np.where(mask > 0, values, 0).astype(np.float64)
        for (weight, part), (_, valid) in zip(
            windows(counted, weights, shape), windows(mask > 0, weights, shape), strict=True
        ):
            total += part * abs(weight)
            mass += valid * abs(weight)
            seen |= valid
    return [(total / np.where(mass > 0, mass, 1) if kind == "mean" else total, seen)]


def spans_of(weights: Weights) -> list[tuple[int, int, int, float]] | None:
    """Row, first and last column, and weight of a kernel whose rows are one run of equal weights each; else None."""
    found = []
    for row, line in enumerate(weights.values):
        columns = np.flatnonzero(line)
        if columns.size == 0:
            continue
        start, stop = int(columns[0]), int(columns[-1]) + 1
        if stop - start != columns.size or np.ptp(line[start:stop]) or line[start] < 0:
            return None
        found.append((row, start, stop, float(line[start])))
    return found if len(found) * 4 < len(weights.places()) else None


def _running_sum(values: NDArray[Any]) -> NDArray[Any]:
    sums = np.zeros((values.shape[0], values.shape[1] + 1))
    np.cumsum(values, axis=1, out=sums[:, 1:])
    return sums
