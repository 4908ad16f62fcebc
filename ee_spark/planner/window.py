"""A block of pixels on the ground: the one georeference of tiles, requests, rasters and exports.

Where its CRS has longitude as x, what lies beyond ±180° is not asked for but masked.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ee_spark.planner.crs import LONLAT, Floats, project, wkt_of

_NOISE = 1e-6  # pixels: what floats make of a centre at exactly 180°


@dataclass(frozen=True)
class Window:
    """``width`` × ``height`` pixels whose top left corner the affine transform places in ``crs``.

    ``transform`` is as in the tables: scaleX, shearX, translateX, shearY, scaleY, translateY.
    """

    crs: str
    transform: tuple[float, float, float, float, float, float]
    width: int
    height: int

    @property
    def resolution(self) -> tuple[float, float]:
        """Units of the CRS per pixel, in x and y."""
        return abs(self.transform[0]), abs(self.transform[4])

    @property
    def corner(self) -> tuple[float, float]:
        """x and y of the top left corner."""
        return self.transform[2], self.transform[5]

    @property
    def xs(self) -> Floats:
        """The pixel centres' x, column by column (north-up windows)."""
        return np.asarray(self.transform[2] + (np.arange(self.width) + 0.5) * self.transform[0], np.float64)

    @property
    def ys(self) -> Floats:
        """The pixel centres' y, row by row (north-up windows)."""
        return np.asarray(self.transform[5] + (np.arange(self.height) + 0.5) * self.transform[4], np.float64)

    @property
    def wkt(self) -> str:
        """The CRS as WKT2."""
        return wkt_of(self.crs)

    def part(self, column: int, row: int, width: int, height: int) -> Window:
        """Return a window inside this one, its corner ``column`` and ``row`` pixels from this one's."""
        sx, shx, x, shy, sy, y = self.transform
        return replace(self, transform=(sx, shx, x + column * sx, shy, sy, y + row * sy), width=width, height=height)

    def core(self, margin: int) -> Window:
        """Return the window without ``margin`` pixels on every side."""
        return self.part(margin, margin, self.width - 2 * margin, self.height - 2 * margin)

    def within_world(self) -> tuple[Window, int]:
        """Return the part whose pixel centres lie within ±180°, and how many columns it leaves out at the left.

        The window itself where none is left out, as almost always; one column at least.
        """
        ends = ends_of_world(self.crs, self.resolution[0])
        if ends is None:
            return self, 0
        west, east = ((end - self.transform[2]) / self.transform[0] - 0.5 for end in ends)
        first = max(0, math.ceil(west - _NOISE))
        stop = min(self.width, math.floor(east + _NOISE) + 1)
        if first == 0 and stop == self.width:
            return self, 0
        return self.part(first, 0, max(1, stop - first), self.height), first

    def grid(self) -> dict[str, object]:
        """Return the window as a PixelGrid (https://developers.google.com/earth-engine/reference/rest/v1/PixelGrid)."""
        keys = ("scaleX", "shearX", "translateX", "shearY", "scaleY", "translateY")
        code = "crsCode" if re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*:[A-Za-z0-9]+", self.crs) else "crsWkt"
        return {
            "dimensions": {"width": self.width, "height": self.height},
            "affineTransform": dict(zip(keys, self.transform, strict=True)),
            code: self.crs,
        }


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


@lru_cache(maxsize=256)
def ends_of_world(crs: str, resolution: float) -> tuple[float, float] | None:
    """Return the x of -180° and 180°.

    None where x is not longitude times a constant, with the ends of the world at ±180°: there a pixel beyond them
    is a place like any other (UTM, polar projections), or has none anyway (sinusoidal).
    """
    lon, lat = (axis.ravel() for axis in np.meshgrid(np.linspace(-180, 180, 5), np.array([-40.0, 0.0, 40.0])))
    x, _ = project(LONLAT, crs, lon, lat)
    first, last = x[0], x[4]
    even = np.tile(np.linspace(first, last, 5), 3)
    if not np.isfinite(x).all() or last <= first or np.abs(x - even).max() > _NOISE * resolution:
        return None
    return float(first), float(last)
