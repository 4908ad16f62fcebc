"""Operations on the neighbourhood of each pixel. https://developers.google.com/earth-engine/guides/reducers_reduce_neighborhood

Neighbourhoods are made of the output's pixels. Kernels are laid over the image as they are written, not turned round.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import ServiceError
from ..evaluation.neighbourhood import MOST_PLACES, MOST_VALUES, around, padded, spans_of, summed, windows
from ..evaluation.reduction import BASIC
from ..evaluation.registry import algorithm
from ..values.band import Band, Canvas
from ..values.grid import Grid, Pixels
from ..values.image import Image
from ..values.kernel import Kernel, shaped
from ..values.limit import check_made, timed_out
from ..values.pixeltype import DOUBLE, FLOAT, PixelType
from ..values.projection import WGS84
from ..values.reducer import Reducer


@algorithm("Image.convolve")
def convolve(image: Image, kernel: Kernel) -> Image:
    """The sum of the neighbours by the kernel's weights; masked where any neighbour with a weight is (our reading).

    https://developers.google.com/earth-engine/apidocs/ee-image-convolve
    """

    def typing(a: PixelType) -> PixelType:
        return DOUBLE if a.precision == "double" or (a.precision == "int" and a.dtype.itemsize > 2) else FLOAT

    return image.with_bands(band.derived(typing(band.type), _convolved(band, kernel)) for band in image.bands)


def _convolved(band: Band, kernel: Kernel) -> Callable[[Canvas], Pixels]:
    def read(canvas: Canvas) -> Pixels:
        weights, shape = kernel.on(canvas.grid), canvas.grid.shape
        values, mask = padded(canvas, weights.margins).pixels(band)
        places, spans = weights.places(), spans_of(weights)
        if spans is not None and mask.dtype == bool:
            total, _, seen = summed(values.astype(np.float64), mask, spans, shape)
            return total, seen == len(places)
        if len(places) > MOST_PLACES or len(places) * shape[0] * shape[1] > 8 * MOST_VALUES:
            raise timed_out()
        total, least = np.zeros(shape), np.ones(shape, mask.dtype)
        for (weight, part), (_, valid) in zip(
            windows(values, weights, shape), windows(mask, weights, shape), strict=True
        ):
            total += weight * part
            least = np.minimum(least, valid)
        return total, least

    return read


@algorithm("Image.reduceNeighborhood")
def reduce_neighborhood(
    image: Image, reducer: Reducer, kernel: Kernel, input_weight: str, skip_masked: bool, optimization: str | None
) -> Image:
    """A reducer over the neighbours that the kernel picks, in bands `<band>_<output>`.

    Weighted reducers take the kernel's weights, the masks, or the smaller of both (`inputWeight`: kernel, mask, min).
    https://developers.google.com/earth-engine/apidocs/ee-image-reduceneighborhood
    """
    operation = "Image.reduceNeighborhood"
    if input_weight not in ("kernel", "mask", "min"):
        raise ServiceError(f"{operation}: Unknown inputWeight '{input_weight:.40}'; use 'kernel', 'mask' or 'min'.")
    if reducer.inputs == 1:
        groups = [([band], [f"{band.name}_{name}" for name in reducer.names]) for band in image.bands]
    elif reducer.inputs == len(image.bands):
        groups = [(list(image.bands), reducer.names)]
    else:
        raise ServiceError(
            f"{operation}: the reducer has {reducer.inputs} inputs; the image has {len(image.bands)} bands."
        )
    return image.with_bands(
        found
        for bands, names in groups
        for found in around(bands, reducer, names, kernel, input_weight, skip_masked, operation)
    )


def _register_focal(operation: str, reducer: str) -> None:
    def apply(
        image: Image, radius: float, kernel_type: str, units: str, iterations: int, kernel: Kernel | None
    ) -> Image:
        name = f"Image.{operation}"
        shape = shaped(kernel_type, radius, units, name) if kernel is None else kernel
        if not 0 <= iterations <= 100:
            raise ServiceError(f"{name}: 'iterations' must be between 0 and 100, got {iterations}.")
        bands = list(image.bands)
        for _ in range(iterations):
            bands = [
                found
                for band in bands
                for found in around([band], BASIC[reducer], [band.name], shape, "kernel", False, name)
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
def neighborhood_to_bands(image: Image, kernel: Kernel) -> Image:
    """A band `<band>_<x>_<y>` for each place of the kernel that is not 0, x and y counted from its centre.

    https://developers.google.com/earth-engine/apidocs/ee-image-neighborhoodtobands
    """
    weights = kernel.on(Grid(WGS84, 1, 1))
    places = [(row, column) for row, column, _ in weights.places()]
    check_made(len(places) * len(image.bands), "Image.neighborhoodToBands")

    def moved(band: Band, row: int, column: int) -> Band:
        def read(canvas: Canvas) -> Pixels:
            values, mask = padded(canvas, weights.margins).pixels(band)
            cut = slice(row, row + canvas.grid.height), slice(column, column + canvas.grid.width)
            return values[cut], mask[cut]

        name = f"{band.name}_{column - weights.column}_{row - weights.row}"
        return Band(name, band.type, read, band.projection, band.extent, band.dimensions)

    return image.with_bands(moved(band, row, column) for band in image.bands for row, column in places)
