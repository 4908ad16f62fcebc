"""The edge of the world: in a CRS whose x is longitude, columns beyond ±180° are not asked for but masked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ee_spark.plan.grid import LONLAT, Lattice, project
from ee_spark.plan.request import Window

_NOISE = 1e-6  # pixels: what floats make of a centre at exactly 180°


@lru_cache(maxsize=256)
def world_edges(lattice: Lattice) -> tuple[float, float] | None:
    """Return where -180° and 180° lie, in pixels from the lattice origin.

    None where the antimeridian is no line of constant x with an end of the world at either side: there a pixel beyond
    it is a place like any other (UTM, polar projections), or has none anyway (sinusoidal).
    """
    latitude = np.array([-40.0, 0.0, 40.0])
    west, _ = project(LONLAT, lattice.crs, np.full(3, -180.0), latitude)
    east, _ = project(LONLAT, lattice.crs, np.full(3, 180.0), latitude)
    straight = np.ptp(west) <= _NOISE * lattice.res_x and np.ptp(east) <= _NOISE * lattice.res_x
    if not (np.isfinite([west, east]).all() and straight and east[0] > west[0]):
        return None
    return float((west[0] - lattice.x0) / lattice.res_x), float((east[0] - lattice.x0) / lattice.res_x)


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
