"""Operations on the neighbourhood of each pixel. https://developers.google.com/earth-engine/guides/reducers_reduce_neighborhood

Neighbourhoods are made of the output's pixels. Kernels are laid over the image as they are written, not turned round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import image as images
from ..errors import ServiceError
from ..image import Band, Canvas, Image
from ..pixeltype import DOUBLE, FLOAT, PixelType
from ..projection import WGS84, Grid
from ..raster import Pixels
from .kernel import Kernel, Weights, as_kernel, shaped
from .reducer import BASIC
from .reduction import Output, Reducer, Results, as_reducer
from .registry import algorithm
from .stack import Shared, pixel_type

_CHUNK = 1 << 22
"""Values of a stack of neighbours held at a time."""
_MOST_VALUES = 1 << 27
_MOST_PLACES = 1 << 14
"""Values of all stacks of one strip, and places of a kernel, where each neighbour must be looked at: some seconds."""


def padded(canvas: Canvas, margins: tuple[int, int, int, int]) -> Canvas:
    """The canvas of a grid that is larger by some pixels up, down, left and right."""
    up, down, left, right = margins
    grid = canvas.grid
    return canvas.on(
        Grid(grid.projection, grid.width + left + right, grid.height + up + down, grid.column - left, grid.row - up)
    )


def _windows(pixels: NDArray[Any], weights: Weights, shape: tuple[int, int]) -> Iterator[tuple[float, NDArray[Any]]]:
    """The weight of each place of the kernel with what lies there, seen from every pixel."""
    for row, column, weight in weights.places():
        yield weight, pixels[row : row + shape[0], column : column + shape[1]]


@algorithm("Image.convolve")
def convolve(image: Image, kernel: Any) -> Image:
    """The sum of the neighbours by the kernel's weights; masked where any neighbour with a weight is (our reading).

    https://developers.google.com/earth-engine/apidocs/ee-image-convolve
    """
    chosen = as_kernel(kernel, "Image.convolve")

    def typing(a: PixelType) -> PixelType:
        return DOUBLE if a.precision == "double" or (a.precision == "int" and a.dtype.itemsize > 2) else FLOAT

    return image.with_bands(band.derived(typing(band.type), _convolved(band, chosen)) for band in image.bands)


def _convolved(band: Band, kernel: Kernel) -> Callable[[Canvas], Pixels]:
    def read(canvas: Canvas) -> Pixels:
        weights, shape = kernel.on(canvas.grid), canvas.grid.shape
        values, mask = padded(canvas, weights.margins).pixels(band)
        places, spans = weights.places(), _spans(weights)
        if spans is not None and mask.dtype == bool:
            total, _, seen = _summed(values.astype(np.float64), mask, spans, shape)
            return total, seen == len(places)
        if len(places) > _MOST_PLACES or len(places) * shape[0] * shape[1] > 8 * _MOST_VALUES:
            raise ServiceError("Computation timed out.")
        total, least = np.zeros(shape), np.ones(shape, mask.dtype)
        for (weight, part), (_, valid) in zip(
            _windows(values, weights, shape), _windows(mask, weights, shape), strict=True
        ):
            total += weight * part
            least = np.minimum(least, valid)
        return total, least

    return read


def _summed(
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


@algorithm("Image.reduceNeighborhood")
def reduce_neighborhood(
    image: Image, reducer: Any, kernel: Any, input_weight: str, skip_masked: bool, optimization: str | None
) -> Image:
    """A reducer over the neighbours that the kernel picks, in bands `<band>_<output>`.

    Weighted reducers take the kernel's weights, the masks, or the smaller of both (`inputWeight`: kernel, mask, min).
    https://developers.google.com/earth-engine/apidocs/ee-image-reduceneighborhood
    """
    operation = "Image.reduceNeighborhood"
    chosen = as_reducer(reducer, operation)
    if input_weight not in ("kernel", "mask", "min"):
        raise ServiceError(f"{operation}: Unknown inputWeight '{input_weight:.40}'; use 'kernel', 'mask' or 'min'.")
    shape = as_kernel(kernel, operation)
    if chosen.inputs == 1:
        groups = [([band], [f"{band.name}_{name}" for name in chosen.names]) for band in image.bands]
    elif chosen.inputs == len(image.bands):
        groups = [(list(image.bands), chosen.names)]
    else:
        raise ServiceError(
            f"{operation}: the reducer has {chosen.inputs} inputs; the image has {len(image.bands)} bands."
        )
    return image.with_bands(
        found
        for bands, names in groups
        for found in _around(bands, chosen, names, shape, input_weight, skip_masked, operation)
    )


def _around(
    bands: Sequence[Band],
    reducer: Reducer,
    names: Sequence[str],
    kernel: Kernel,
    input_weight: str,
    skip_masked: bool,
    operation: str,
) -> list[Band]:
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
    if len(places) > _MOST_PLACES or len(places) * shape[0] * shape[1] > _MOST_VALUES:
        raise ServiceError("Computation timed out.")
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


def _weighed(masks: NDArray[Any], factors: NDArray[Any], input_weight: str, reducer: Reducer) -> NDArray[Any]:
    """The weights of a stack of neighbours; all or nothing where the kernel's weights are all alike."""
    if not reducer.weighted or input_weight == "mask":
        return masks
    by_kernel = np.abs(factors)[:, None, None]
    if input_weight == "kernel":
        return np.where(masks > 0, by_kernel, 0.0) if np.ptp(factors) or reducer is BASIC["sum"] else masks > 0
    return np.asarray(np.minimum(images.fraction(masks), by_kernel))


def _running(
    reducer: Reducer, inputs: Sequence[Pixels], weights: Weights, shape: tuple[int, int], input_weight: str
) -> Results | None:
    """Mean, least and greatest value place by place, without a stack; None for any other reducer."""
    kind = next((name for name in ("mean", "min", "max", "sum") if reducer is BASIC[name]), None)
    if kind is None or (input_weight != "kernel" and kind in ("mean", "sum")):
        return None
    values, mask = inputs[0]
    seen = np.zeros(shape, bool)
    spans = _spans(weights) if kind in ("mean", "sum") else None
    many = len(weights.places())
    if spans is None and (many > _MOST_PLACES or many * shape[0] * shape[1] > 8 * _MOST_VALUES):
        raise ServiceError("Computation timed out.")
    if kind in ("min", "max"):
        choose = np.minimum if kind == "min" else np.maximum
        least = values[: shape[0], : shape[1]].copy()
        for (_, part), (_, valid) in zip(
            _windows(values, weights, shape), _windows(mask > 0, weights, shape), strict=True
        ):
            least = np.where(valid, np.where(seen, choose(least, part), part), least)
            seen |= valid
        return [(least, seen)]
    if spans is not None:
        total, mass, number = _summed(values.astype(np.float64), mask > 0, spans, shape)
        seen = number > 0
    else:
        total, mass = np.zeros(shape), np.zeros(shape)
        counted = np.where(mask > 0, values, 0).astype(np.float64)
        for (weight, part), (_, valid) in zip(
            _windows(counted, weights, shape), _windows(mask > 0, weights, shape), strict=True
        ):
            total += part * abs(weight)
            mass += valid * abs(weight)
            seen |= valid
    return [(total / np.where(mass > 0, mass, 1) if kind == "mean" else total, seen)]


def _spans(weights: Weights) -> list[tuple[int, int, int, float]] | None:
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


def _register_focal(operation: str, reducer: str) -> None:
    def apply(image: Image, radius: float, kernel_type: str, units: str, iterations: int, kernel: Any) -> Image:
        name = f"Image.{operation}"
        shape = shaped(kernel_type, radius, units, name) if kernel is None else as_kernel(kernel, name)
        if not 0 <= iterations <= 100:
            raise ServiceError(f"{name}: 'iterations' must be between 0 and 100, got {iterations}.")
        bands = list(image.bands)
        for _ in range(iterations):
            bands = [
                found
                for band in bands
                for found in _around([band], BASIC[reducer], [band.name], shape, "kernel", False, name)
            ]
        return image.with_bands(bands)

    apply.__doc__ = (
        "Of the valid neighbours, so that it fills masked pixels; names stay.\n\n"
        f"    https://developers.google.com/earth-engine/apidocs/ee-image-{operation.lower()}"
    )
    algorithm(f"Image.{operation}")(apply)


for _name, _reducer in (("Min", "min"), ("Max", "max"), ("Median", "median"), ("Mode", "mode"), ("Mean", "mean")):
    _register_focal(f"focal{_name}", _reducer)
    _register_focal(f"focal_{_name.lower()}", _reducer)


@algorithm("Image.neighborhoodToBands")
def neighborhood_to_bands(image: Image, kernel: Any) -> Image:
    """A band `<band>_<x>_<y>` for each place of the kernel that is not 0, x and y counted from its centre.

    https://developers.google.com/earth-engine/apidocs/ee-image-neighborhoodtobands
    """
    weights = as_kernel(kernel, "Image.neighborhoodToBands").on(Grid(WGS84, 1, 1))
    places = [(row, column) for row, column, _ in weights.places()]
    if len(places) * len(image.bands) > 5000:
        raise ServiceError(
            f"Image.neighborhoodToBands: {len(places) * len(image.bands)} bands; at most 5000 are allowed."
        )

    def moved(band: Band, row: int, column: int) -> Band:
        def read(canvas: Canvas) -> Pixels:
            values, mask = padded(canvas, weights.margins).pixels(band)
            cut = slice(row, row + canvas.grid.height), slice(column, column + canvas.grid.width)
            return values[cut], mask[cut]

        name = f"{band.name}_{column - weights.column}_{row - weights.row}"
        return Band(name, band.type, read, band.projection, band.extent, band.dimensions)

    return image.with_bands(moved(band, row, column) for band in image.bands for row, column in places)
