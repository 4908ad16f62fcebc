"""Terrain from elevation in metres. https://developers.google.com/earth-engine/apidocs/ee-terrain-slope

The gradient is taken between the four neighbours of a pixel of the output, as the documentation says; the distance
between them is the one on the ground (our reading).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..evaluation.neighbourhood import padded
from ..evaluation.registry import algorithm
from ..evaluation.stack import Shared
from ..values.band import Band, Canvas
from ..values.crs import LONLAT
from ..values.grid import Pixels
from ..values.image import Image, first_band, matching
from ..values.pixeltype import FLOAT, PixelType
from ..values.reducer import Results
from ..values.spheroid import distance

_BYTE = PixelType("int", 0, 255)


def _elevation(image: Image, operation: str) -> Band:
    first = first_band(image, operation)
    return first if len(image.bands) == 1 else matching(image, "elevation", operation)[0]


def _gradient(band: Band) -> Shared:
    """Metres of rise per metre eastwards (right) and northwards (up), with their mask."""

    def compute(canvas: Canvas) -> Results:
        wide = padded(canvas, (1, 1, 1, 1))
        values, mask = wide.pixels(band)
        heights, valid = values.astype(np.float64), mask > 0
        lons, lats = wide.grid.centres_in(LONLAT)
        across = distance(lons[1:-1, :-2], lats[1:-1, :-2], lons[1:-1, 2:], lats[1:-1, 2:])
        along = distance(lons[:-2, 1:-1], lats[:-2, 1:-1], lons[2:, 1:-1], lats[2:, 1:-1])
        # columns may run westwards and rows northwards
        a, _, _, _, e, _ = canvas.grid.projection.transform
        with np.errstate(all="ignore"):
            east = (heights[1:-1, 2:] - heights[1:-1, :-2]) / across * (1 if a > 0 else -1)
            north = (heights[:-2, 1:-1] - heights[2:, 1:-1]) / along * (1 if e < 0 else -1)
        whole = valid[1:-1, 1:-1] & valid[1:-1, 2:] & valid[1:-1, :-2] & valid[:-2, 1:-1] & valid[2:, 1:-1]
        whole = whole & np.isfinite(east) & np.isfinite(north)
        return [(np.stack([np.where(whole, east, 0), np.where(whole, north, 0)]), whole)]

    return Shared(compute)


def _derived(
    band: Band, gradient: Shared, name: str, kind: PixelType, compute: Callable[[NDArray[Any], NDArray[Any]], Any]
) -> Band:
    def finish(canvas: Canvas, slopes: Any, mask: NDArray[Any]) -> Pixels:
        found = np.asarray(compute(slopes[0], slopes[1]))
        return np.where(mask, found, 0).astype(kind.dtype), mask

    return Band(name, kind, gradient.reader(0, finish), band.projection, band.extent, band.dimensions)


def _slope(east: NDArray[Any], north: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(np.degrees(np.arctan(np.hypot(east, north))))


def _aspect(east: NDArray[Any], north: NDArray[Any]) -> NDArray[Any]:
    """The direction of the steepest descent, clockwise from north; 0 where it is flat."""
    return np.where((east == 0) & (north == 0), 0.0, np.degrees(np.arctan2(-east, -north)) % 360)


def _shade(azimuth: float, elevation: float) -> Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]:
    """The cosine of the angle between the light and the ground's normal, times 255."""
    zenith, towards = np.radians(90 - elevation), np.radians(azimuth)

    def compute(east: NDArray[Any], north: NDArray[Any]) -> NDArray[Any]:
        slope, aspect = np.radians(_slope(east, north)), np.radians(_aspect(east, north))
        lit = np.cos(zenith) * np.cos(slope) + np.sin(zenith) * np.sin(slope) * np.cos(towards - aspect)
        return np.asarray(np.clip(lit * 255, 0, 255))

    return compute


_ASPECT = PixelType("float", 0, 360)
_SLOPE = PixelType("float", 0, 90)


@algorithm("Terrain.slope")
def slope(input: Image) -> Image:
    """Degrees from the horizontal. https://developers.google.com/earth-engine/apidocs/ee-terrain-slope"""
    band = _elevation(input, "Terrain.slope")
    return input.with_bands([_derived(band, _gradient(band), "slope", _SLOPE, _slope)])


@algorithm("Terrain.aspect")
def aspect(input: Image) -> Image:
    """Degrees clockwise from north in which the ground falls. https://developers.google.com/earth-engine/apidocs/ee-terrain-aspect"""
    band = _elevation(input, "Terrain.aspect")
    return input.with_bands([_derived(band, _gradient(band), "aspect", _ASPECT, _aspect)])


@algorithm("Terrain.hillshade")
def hillshade(input: Image, azimuth: float, elevation: float) -> Image:
    """The light on the ground, 0 to 255. https://developers.google.com/earth-engine/apidocs/ee-terrain-hillshade"""
    band = _elevation(input, "Terrain.hillshade")
    return input.with_bands([_derived(band, _gradient(band), "hillshade", _BYTE, _shade(azimuth, elevation))])


@algorithm("Terrain.products")
def products(input: Image) -> Image:
    """The input with the bands slope, aspect and hillshade. https://developers.google.com/earth-engine/apidocs/ee-terrain-products"""
    band = _elevation(input, "Terrain.products")
    gradient = _gradient(band)
    added = [
        _derived(band, gradient, "slope", _SLOPE, _slope),
        _derived(band, gradient, "aspect", _ASPECT, _aspect),
        _derived(band, gradient, "hillshade", _BYTE, _shade(270.0, 45.0)),
    ]
    kept = [found for found in input.bands if found.name not in ("slope", "aspect", "hillshade")]
    return input.with_bands([*kept, *added])


@algorithm("Image.gradient")
def gradient(input: Image) -> Image:
    """The change per metre in x and y of the first band. https://developers.google.com/earth-engine/apidocs/ee-image-gradient"""
    band = first_band(input, "Image.gradient")
    found = _gradient(band)
    return input.with_bands(
        [_derived(band, found, "x", FLOAT, lambda east, north: east), _derived(band, found, "y", FLOAT, lambda e, n: n)]
    )
