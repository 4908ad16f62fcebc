"""Aggregation of pixels: the region, its projection, and the values of its pixels with their weights.

Weighted reducers take a pixel with the smaller of its mask and the fraction of it that the region covers, any other
reducer takes it whole where its centre is in the region.
https://developers.google.com/earth-engine/guides/reducers_reduce_region
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ServiceError
from ..values import mask as masks
from ..values.geometry import Geometry
from ..values.image import Image, first_band
from ..values.limit import timed_out, too_large
from ..values.projection import Projection, projected
from ..values.reducer import Reducer
from .coverage import BLOCK, Region, region_on
from .registry import Context

_MOST_SAMPLES = 1 << 26
"""Values, of all bands together, that are held at a time."""
_MOST_BLOCKS = 1 << 14
_SECONDS = 60
"""How long one aggregation may take; the service's own limit is five minutes."""
_ADVICE = (
    "\nEnsure that you are not aggregating at a higher resolution than you intended; that is the most common cause of "
    "this error. If not, then you may set the 'maxPixels' argument to a limit suitable for your computation; set "
    "'bestEffort' to true to aggregate at whatever scale results in 'maxPixels' total pixels; or both."
)


def grid_of(
    image: Image, operation: str, crs: Projection | None, transform: list[float] | None, scale: float | None
) -> Projection:
    """The projection that an aggregation works in: the given one, else the first band's."""
    base = first_band(image, operation).projection if crs is None else crs
    return projected(base, transform, scale, operation)


def area_of(image: Image, geometry: Geometry | None, operation: str) -> Geometry:
    """The given geometry, else the image's own; a 400 for an image without bounds."""
    found = geometry or image.geometry
    if found is None:
        raise ServiceError(f"{operation}: Unable to work on an unbounded image; a geometry must be given.")
    return found


def limited(
    geometry: Geometry, projection: Projection, most: int, best_effort: bool, bands: int, operation: str
) -> Region:
    """The region on the pixels of the projection, of coarser ones with `best_effort`; a 400 where it has too many."""
    region = region_on(geometry, projection)
    while region.pixels > most:
        if not best_effort:
            raise ServiceError(
                f"{operation}: Too many pixels in the region. Found {region.pixels}, but maxPixels allows only {most}."
                + _ADVICE
            )
        a, b, c, d, e, f = region.projection.transform
        region = region_on(geometry, Projection(projection.crs, (2 * a, 2 * b, c, 2 * d, 2 * e, f)))
    left, top, right, bottom = region.window
    if (
        region.pixels * max(1, bands) > _MOST_SAMPLES
        or ((right - left) // BLOCK + 1) * ((bottom - top) // BLOCK + 1) > _MOST_BLOCKS
    ):
        raise too_large()
    return region


def reduced(
    context: Context, image: Image, region: Region, reducer: Reducer, operation: str
) -> dict[tuple[str, str], Any]:
    """The outputs of a reducer for each band, or of one with as many inputs as bands: (band or "", output) → value."""
    if reducer.inputs not in (1, len(image.bands)):
        raise ServiceError(
            f"{operation}: The reducer has {reducer.inputs} inputs; it needs one, or as many as the image has bands "
            f"({len(image.bands)})."
        )
    weighing = reducer.weighting
    found: dict[tuple[str, str], Any] = {}
    for weighted in sorted(set(weighing)):
        values, weights = collected(context, image, region, weighted)
        wanted = {name for name, flag in zip(reducer.names, weighing, strict=True) if flag == weighted}
        if reducer.inputs > 1 or len(image.bands) == 1:
            parts = [("", reducer.scalars(values, weights))]
        else:
            parts = [
                (name, reducer.scalars([stack], [weight]))
                for name, stack, weight in zip(image.names, values, weights, strict=True)
            ]
        for band, results in parts:
            found |= {(band, name): value for name, value in results.items() if name in wanted}
    return found


def collected(
    context: Context, image: Image, region: Region, weighted: bool
) -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
    """The values of the region's pixels band by band, and their weights."""
    values: list[list[NDArray[Any]]] = [[np.empty(0, band.type.dtype)] for band in image.bands]
    weights: list[list[NDArray[Any]]] = [[np.empty(0, np.float32 if weighted else bool)] for _ in image.bands]
    deadline = time.monotonic() + _SECONDS
    for grid in region.blocks():
        if time.monotonic() > deadline:
            raise timed_out()
        shares = region.weights(grid) if weighted else region.centres(grid)
        inside = shares > 0
        if not inside.any():
            continue
        for i, (pixels, mask) in enumerate(image.evaluate(grid, context.cache)):
            values[i].append(pixels[inside])
            valid = mask[inside]
            weights[i].append(np.minimum(masks.fraction(valid), shares[inside]) if weighted else valid > 0)
    return [np.concatenate(parts) for parts in values], [_simple(np.concatenate(parts)) for parts in weights]


def _simple(weights: NDArray[Any]) -> NDArray[Any]:
    """Weights that are all 0 or 1 as booleans."""
    return weights > 0 if weights.dtype != bool and bool(((weights == 0) | (weights == 1)).all()) else weights
