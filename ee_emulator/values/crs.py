"""Coordinate systems by code or WKT, and points between them.

Codes are resolved by PROJ through rasterio, except the few that only Earth Engine knows.
https://developers.google.com/earth-engine/guides/projections
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio import warp
from rasterio.crs import CRS
from rasterio.errors import CRSError

from ..errors import ServiceError
from .spheroid import MAJOR

_METRES_PER_DEGREE = math.pi * MAJOR / 180
LONLAT = "EPSG:4326"
"""Longitude and latitude in degrees on WGS 84."""
FARTHEST = 1e9
"""Larger coordinates, in whatever unit, do not occur on the earth."""
_ONLY_EARTH_ENGINE = {
    # MODIS sinusoidal: the label's own WKT is wrong, the data lie on this sphere.
    "SR-ORG:6974": "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs",
    "EPSG:900913": "EPSG:3857",
}


@lru_cache(maxsize=512)
def parse_crs(text: str) -> CRS:
    """The coordinate system of a code or WKT; a 400 naming it when PROJ and Earth Engine's own list lack it."""
    try:
        known = _ONLY_EARTH_ENGINE.get(text.upper())
        with rasterio.Env():  # without it GDAL prints what it thinks of a bad text
            return CRS.from_string(known or text)
    except (CRSError, ValueError) as error:
        shown = text if len(text) <= 80 else text[:77] + "..."
        raise ServiceError(f"Projection: The CRS of a map projection could not be parsed: '{shown}'.") from error


def code_of(crs: CRS) -> str | None:
    """`EPSG:n` when that code means exactly this coordinate system, else None."""
    number = crs.to_epsg(confidence_threshold=100)
    return f"EPSG:{number}" if number else None


@lru_cache(maxsize=512)
def same_crs(first: str, second: str) -> bool:
    """True when two codes or texts mean the same coordinate system."""
    return first == second or bool(parse_crs(first) == parse_crs(second))


@lru_cache(maxsize=512)
def metres_per_unit(crs: str) -> float:
    """Length of one unit of `crs` at its true scale, in metres; degrees on the equator of WGS 84."""
    parsed = parse_crs(crs)
    if parsed.is_geographic:
        return _METRES_PER_DEGREE
    return float(parsed.linear_units_factor[1])


def transform_points(source: str, target: str, xs: NDArray[Any], ys: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Transform float64 coordinates of any shape; NaN where the point has no coordinates in `target`."""
    if same_crs(source, target):
        return xs, ys
    shape = xs.shape
    flat_x, flat_y = np.ascontiguousarray(xs).ravel(), np.ascontiguousarray(ys).ravel()
    # PROJ turns round and round for a longitude that is farther out
    valid = (np.abs(flat_x) < FARTHEST) & (np.abs(flat_y) < FARTHEST)
    if parse_crs(source).is_geographic:
        valid &= np.abs(flat_y) <= 90
    out_x, out_y = np.full(flat_x.size, np.nan), np.full(flat_x.size, np.nan)
    where = np.flatnonzero(valid)
    _transform_into(parse_crs(source), parse_crs(target), flat_x, flat_y, where, out_x, out_y)
    bad = ~(np.isfinite(out_x) & np.isfinite(out_y))
    out_x[bad] = out_y[bad] = np.nan
    return out_x.reshape(shape), out_y.reshape(shape)


def _transform_into(
    source: CRS,
    target: CRS,
    xs: NDArray[Any],
    ys: NDArray[Any],
    where: NDArray[Any],
    out_x: NDArray[Any],
    out_y: NDArray[Any],
) -> None:
    """Fill out_x, out_y at `where`. rasterio refuses a whole batch for one bad point, so batches are halved."""
    pending = [where]
    while pending:
        part = pending.pop()
        if part.size == 0:
            continue
        try:
            moved_x, moved_y = warp.transform(source, target, xs[part], ys[part])
        except Exception:  # rasterio raises GDAL's error classes, which have no common public base
            if part.size > 1:
                half = part.size // 2
                pending += [part[:half], part[half:]]
            continue
        out_x[part], out_y[part] = moved_x, moved_y
