"""Where a geometry lies in a projection: its bounding box there, and the pixels that the box covers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ServiceError
from .band import Dimensions
from .crs import LONLAT, same_crs, transform_points
from .geometry import Geometry
from .projection import Projection

_EDGE_STEP = 0.01
"""Degrees of an edge that are as straight in any projection, to centimetres."""
_EDGE_STEPS = 64
_WHOLE = 1e-6
"""How far, in pixels, a box may miss a pixel's edge by rounding."""


def box_in(region: Geometry, crs: str, what: str) -> tuple[float, float, float, float]:
    """The bounding box (left, bottom, right, top) of a geometry in `crs`, its edges followed by many points.

    A geometry that was drawn in that coordinate system has exactly the box of its vertices there. `what` begins the
    message of the 400 for a geometry that is empty or cannot be expressed there.
    """
    if region.planar is not None and same_crs(region.planar[0], crs):
        xs, ys = region.planar[1][:, 0], region.planar[1][:, 1]
    else:
        paths = [region.points, *region.lines, *(ring for polygon in region.polygons for ring in polygon)]
        dense = [_densified(path) for path in paths if len(path)]
        if not dense:
            raise ServiceError(f"{what}: the geometry is empty.")
        path = np.concatenate(dense)
        xs, ys = transform_points(LONLAT, crs, path[:, 0], path[:, 1])
    if not np.isfinite(xs).all():
        raise ServiceError(f"{what}: a part of the geometry has no coordinates in '{crs:.40}'.")
    return float(xs.min()), float(ys.min()), float(xs.max()), float(ys.max())


def covering(projection: Projection, box: tuple[float, float, float, float]) -> Dimensions:
    """The pixels of a projection that a box of its coordinate system covers, widened to whole ones."""
    left, bottom, right, top = box
    xs, ys = np.array([left, right, right, left]), np.array([bottom, bottom, top, top])
    columns, rows = projection.pixels_at(xs, ys)
    column, width = _span(columns)
    row, height = _span(rows)
    return Dimensions(width, height, column, row)


def crop(projection: Projection, known: Dimensions | None, region: Geometry, what: str) -> Dimensions:
    """The pixels of `known` (None: no bounds) that a geometry's bounding box covers; at least one."""
    found = covering(projection, box_in(region, projection.crs, what))
    if known is None:
        return found
    left, top = max(known.column, found.column), max(known.row, found.row)
    right = min(known.column + known.width, found.column + found.width)
    bottom = min(known.row + known.height, found.row + found.height)
    return Dimensions(max(1, right - left), max(1, bottom - top), left, top)


def _span(positions: NDArray[Any]) -> tuple[int, int]:
    start = math.floor(float(positions.min()) + _WHOLE)
    return start, max(1, math.ceil(float(positions.max()) - _WHOLE) - start)


def _densified(path: NDArray[Any]) -> NDArray[Any]:
    """The vertices of a path in degrees with points between those that are far apart."""
    edges = np.diff(path, axis=0)
    steps = np.clip(np.ceil(np.hypot(edges[:, 0], edges[:, 1]) / _EDGE_STEP), 1, _EDGE_STEPS).astype(np.int64)
    which = np.repeat(np.arange(len(edges)), steps)
    shares = (np.arange(which.size) - (np.cumsum(steps) - steps)[which]) / steps[which]
    return np.concatenate([path[which] + edges[which] * shares[:, None], path[-1:]])
