"""Coordinate systems and the pixel lattice: where the pixel edges are."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.warp import transform as warp_points

from ee_spark.errors import JobError
from ee_spark.gdal import local_gdal

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LONLAT = "OGC:CRS84"
# Earth Engine's name for the MODIS sphere, which PROJ does not know
# (https://developers.google.com/earth-engine/guides/projections).
_SINUSOIDAL = "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs"
OFFSET_TOLERANCE = 1e-6
"""Parts of a pixel below which two lattices are one: what float noise in stored transforms comes to."""


@lru_cache(maxsize=256)
def crs_of(name: str) -> CRS:
    """Return the rasterio CRS of a code that Earth Engine knows, or of a WKT.

    Raises:
        JobError: if PROJ cannot make one of it.
    """
    try:
        return CRS.from_proj4(_SINUSOIDAL) if name == "SR-ORG:6974" else CRS.from_user_input(name)
    except (CRSError, ValueError):  # the latter for EPSG:word
        raise JobError(f"grid.crs: {name!r} is no CRS that can be read; write e.g. EPSG:32610, or a WKT") from None


def metres_to_units(crs: str, metres: float) -> float:
    """Return a length in units of ``crs`` at its true scale, to 12 significant digits.

    Degrees are ``metres × 180 / (π × semi-major axis)``; linear units go by the unit's own length; neither is corrected
    for the distortion of the projection.
    """
    known = crs_of(crs)
    if known.is_geographic:
        axis = re.search(r'SPHEROID\["[^"]*",\s*([0-9.]+)', known.to_wkt())
        units = metres * 180 / (math.pi * (float(axis[1]) if axis else 6378137.0))
    else:
        units = metres / known.linear_units_factor[1]
    return float(f"{units:.12g}")


def project(source: str, target: str, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return coordinates in ``target``; infinite where the projection is not defined."""
    if source == target or {source, target} <= {LONLAT, "EPSG:4326"}:
        return x, y
    tx, ty = np.full(x.size, np.inf), np.full(x.size, np.inf)
    flat_x, flat_y = np.ravel(x), np.ravel(y)
    good = np.isfinite(flat_x) & np.isfinite(flat_y)
    if source == LONLAT:
        good &= np.abs(flat_y) <= 90
    pending = [np.flatnonzero(good)]
    while pending:
        part = pending.pop()
        if not len(part):
            continue
        try:
            with local_gdal():
                tx[part], ty[part] = warp_points(crs_of(source), crs_of(target), flat_x[part], flat_y[part])
        except (
            Exception
        ):  # GDAL's, of no public base: one position outside the domain refuses all; look for it by halves
            if len(part) > 1:
                pending += [part[: len(part) // 2], part[len(part) // 2 :]]
    return tx.reshape(x.shape), ty.reshape(x.shape)


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
