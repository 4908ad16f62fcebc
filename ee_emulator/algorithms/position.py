"""Images of where a pixel is, and of chance. https://developers.google.com/earth-engine/apidocs/ee-image-pixellonlat"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ServiceError
from ..evaluation.registry import algorithm
from ..values.band import Band, Canvas
from ..values.crs import LONLAT, transform_points
from ..values.grid import Grid, Pixels
from ..values.image import Image
from ..values.pixeltype import DOUBLE, PixelType
from ..values.projection import Projection
from ..values.spheroid import equal_area


@algorithm("Image.pixelLonLat")
def pixel_lon_lat() -> Image:
    """Longitude and latitude of each pixel centre, in degrees. https://developers.google.com/earth-engine/apidocs/ee-image-pixellonlat"""

    def axis(number: int) -> Any:
        def read(canvas: Canvas) -> Pixels:
            degrees = canvas.grid.centres_in(LONLAT)[number]
            return np.nan_to_num(degrees), np.isfinite(degrees)

        return read

    longitude = Band("longitude", PixelType("double", -180, 180), axis(0))
    return Image((longitude, Band("latitude", PixelType("double", -90, 90), axis(1))))


@algorithm("Image.pixelCoordinates")
def pixel_coordinates(projection: Projection) -> Image:
    """x and y of each pixel centre in pixels of a projection. https://developers.google.com/earth-engine/apidocs/ee-image-pixelcoordinates"""
    if projection.pixel_area == 0:
        raise ServiceError("Image.pixelCoordinates: the projection's transform has no area.")

    def axis(number: int) -> Any:
        def read(canvas: Canvas) -> Pixels:
            found = canvas.grid.positions_in(projection)[number]
            return np.nan_to_num(found), np.isfinite(found)

        return read

    return Image(tuple(Band(name, DOUBLE, axis(i), projection) for i, name in enumerate(("x", "y"))))


@algorithm("Image.pixelArea")
def pixel_area() -> Image:
    """The area of each pixel on the ellipsoid, in square metres. https://developers.google.com/earth-engine/apidocs/ee-image-pixelarea

    A pixel's edges are straight lines in an equal-area projection of longitude and latitude.
    """

    def read(canvas: Canvas) -> Pixels:
        found = areas(canvas.grid)
        return np.nan_to_num(found), np.isfinite(found)

    return Image((Band("area", DOUBLE, read),))


def areas(grid: Grid) -> NDArray[Any]:
    """Square metres of every pixel of a grid."""
    columns = np.arange(grid.column, grid.column + grid.width + 1, dtype=float)
    rows = np.arange(grid.row, grid.row + grid.height + 1, dtype=float)[:, None]
    lons, lats = transform_points(grid.projection.crs, LONLAT, *grid.projection.points_at(columns, rows))
    x, y = equal_area(lons, lats)
    dx1, dy1 = x[1:, 1:] - x[:-1, :-1], y[1:, 1:] - y[:-1, :-1]
    dx2, dy2 = x[1:, :-1] - x[:-1, 1:], y[1:, :-1] - y[:-1, 1:]
    return np.asarray(np.abs(dx1 * dy2 - dx2 * dy1) / 2)


@algorithm("Image.random")
def random(seed: int, distribution: str) -> Image:
    """A number for each pixel of the output, the same for the same place and seed, but not Earth Engine's own.

    https://developers.google.com/earth-engine/apidocs/ee-image-random
    """
    if distribution not in ("uniform", "normal"):
        raise ServiceError(f"Image.random: Unknown distribution '{distribution:.60}'; use 'uniform' or 'normal'.")

    def read(canvas: Canvas) -> Pixels:
        xs, ys = canvas.grid.centres()
        found = _hashed(xs, ys, seed)
        if distribution == "normal":  # Box and Muller
            other = _hashed(xs, ys, seed + 1)
            found = np.sqrt(-2 * np.log(1 - found)) * np.cos(2 * np.pi * other)
        return found, np.ones(canvas.grid.shape, bool)

    kind = PixelType("double", 0, 1) if distribution == "uniform" else DOUBLE
    return Image((Band("random", kind, read),))


def _hashed(xs: NDArray[Any], ys: NDArray[Any], seed: int) -> NDArray[Any]:
    """Numbers in [0, 1) from the bits of coordinates: no neighbour tells another's."""
    state = np.full(xs.shape, (seed * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) & (2**64 - 1), np.uint64)
    for part in (xs, ys):
        state ^= np.ascontiguousarray(part, np.float64).view(np.uint64)
        for factor in (0xBF58476D1CE4E5B9, 0x94D049BB133111EB):
            state ^= state >> np.uint64(31)
            state *= np.uint64(factor)
        state ^= state >> np.uint64(29)
    return np.asarray((state >> np.uint64(11)).astype(np.float64) / 2.0**53)
