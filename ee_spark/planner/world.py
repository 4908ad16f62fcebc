"""The edge of the world: in a CRS whose x is longitude, columns beyond ±180° are not asked for but masked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ee_spark.planner.lattice import LONLAT, Lattice, project
from ee_spark.planner.request import Window

_NOISE = 1e-6  # pixels: what floats make of a centre at exactly 180°


@lru_cache(maxsize=256)
def world_edges(lattice: Lattice) -> tuple[float, float] | None:
    """Return where -180° and 180° lie, in pixels from the lattice origin.

    None where x is not longitude times a constant, with the ends of the world at ±180°: there a pixel beyond them
    is a place like any other (UTM, polar projections), or has none anyway (sinusoidal).
    """
    lon, lat = (axis.ravel() for axis in np.meshgrid(np.linspace(-180, 180, 5), np.array([-40.0, 0.0, 40.0])))
    x, _ = project(LONLAT, lattice.crs, lon, lat)
    first, last = x[0], x[4]
    even = np.tile(np.linspace(first, last, 5), 3)
    if not np.isfinite(x).all() or last <= first or np.abs(x - even).max() > _NOISE * lattice.res_x:
        return None
    return float((first - lattice.x0) / lattice.res_x), float((last - lattice.x0) / lattice.res_x)


def within_world(window: Window, lattice: Lattice) -> tuple[Window, int]:
    """Return the part of a block whose pixel centres lie within ±180°, and how many columns it leaves out at the left.

    The block itself where none is left out, as almost always; one column at least.
    """
    edges = world_edges(lattice)
    if edges is None:
        return window, 0
    left = (window.transform[2] - lattice.x0) / lattice.res_x + 0.5
    first = max(0, math.ceil(edges[0] - left - _NOISE))
    stop = min(window.width, math.floor(edges[1] - left + _NOISE) + 1)
    if first == 0 and stop == window.width:
        return window, 0
    return window.part(first, 0, max(1, stop - first), window.height), first


def widened(
    planes: Mapping[str, npt.NDArray[Any]], width: int, left: int, fill: Mapping[str, float]
) -> dict[str, npt.NDArray[Any]]:
    """Return planes (height, fewer columns) as ``width`` columns wide, from column ``left`` on, masked around.

    Masked is 0, in a band of ``fill`` its value.
    """
    wide = {}
    for name, plane in planes.items():
        wide[name] = np.full((plane.shape[0], width), fill.get(name, 0), plane.dtype)
        wide[name][:, left : left + plane.shape[1]] = plane
    return wide
