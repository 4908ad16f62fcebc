"""The pixel lattice: where the pixel edges are, on which images share tiles."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from functools import cached_property

from ee_spark.planner.crs import LONLAT, Floats, project
from ee_spark.planner.window import Window

OFFSET_TOLERANCE = 1e-6
"""Parts of a pixel below which two lattices are one: what float noise in stored transforms comes to."""


@dataclass(frozen=True)
class Lattice:
    """Pixel edges of one CRS: column edges at ``x0 + k·res_x``, row edges at ``y0 - k·res_y``, rows southward.

    ``crs`` is as the service knows it; resolutions are positive, in units of the CRS.
    """

    crs: str
    res_x: float
    res_y: float
    x0: float = 0.0
    y0: float = 0.0

    @cached_property
    def key(self) -> str:
        """Eight hex digits that name CRS, resolution and offset, equal for lattices that differ by float noise only."""
        parts = (self.crs, f"{self.res_x:.12g}", f"{self.res_y:.12g}", *(f"{part:.5f}" for part in self.offset))
        return hashlib.sha256("|".join(parts).encode()).hexdigest()[:8]

    @property
    def offset(self) -> tuple[float, float]:
        """Where the edges lie between multiples of the resolution, in parts of a pixel from 0 to 1."""
        return _fraction(self.x0 / self.res_x), _fraction(self.y0 / self.res_y)

    @property
    def prefix(self) -> str:
        """The CRS as it stands in tile ids."""
        if re.fullmatch(r"[A-Za-z0-9-]+:[A-Za-z0-9]+", self.crs):
            return self.crs.replace(":", "-")
        return f"WKT-{hashlib.sha256(self.crs.encode()).hexdigest()[:8]}"

    def transform(self, column: float, row: float) -> tuple[float, float, float, float, float, float]:
        """Return (scaleX, shearX, translateX, shearY, scaleY, translateY) of a block whose corner pixel this is."""
        return (self.res_x, 0.0, self.x0 + column * self.res_x, 0.0, -self.res_y, self.y0 - row * self.res_y)

    def window(self, column: float, row: float, width: int, height: int) -> Window:
        """Return the block of ``width`` × ``height`` pixels whose top left pixel this is."""
        return Window(self.crs, self.transform(column, row), width, height)

    def pixels(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Return the (column, row) position, in pixels, of coordinates in the CRS."""
        return (x - self.x0) / self.res_x, (self.y0 - y) / self.res_y

    def coordinates(self, column: Floats, row: Floats) -> tuple[Floats, Floats]:
        """Return the CRS coordinates of pixel positions."""
        return self.x0 + column * self.res_x, self.y0 - row * self.res_y

    def lonlat(self, column: Floats, row: Floats) -> tuple[Floats, Floats]:
        """Return longitude and latitude of pixel positions."""
        return project(self.crs, LONLAT, *self.coordinates(column, row))

    def from_lonlat(self, lon: Floats, lat: Floats) -> tuple[Floats, Floats]:
        """Return the (column, row) position, in pixels, of longitudes and latitudes."""
        return self.pixels(*project(LONLAT, self.crs, lon, lat))


def aligned(crs: str, res_x: float, res_y: float, x: float, y: float) -> Lattice:
    """Return the lattice that a stored image with a corner at (x, y) lies on, counted from the CRS origin.

    The origin of the lattice is the corner's offset from multiples of the resolution, so that all images on one lattice
    share tiles, wherever they begin.
    """
    return Lattice(crs, res_x, res_y, _remainder(x, res_x), _remainder(y, res_y))


def _fraction(position: float) -> float:
    """Return the part after the point, 0 where it is float noise away from a whole number."""
    fraction = position - math.floor(position + OFFSET_TOLERANCE)
    return 0.0 if abs(fraction) < OFFSET_TOLERANCE else fraction


def _remainder(edge: float, resolution: float) -> float:
    return 0.0 if _fraction(edge / resolution) == 0.0 else edge - math.floor(edge / resolution) * resolution
