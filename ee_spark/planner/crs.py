"""Coordinate reference systems: by the names that Earth Engine knows, their units, and from one to another."""

from __future__ import annotations

import math
import re
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from rasterio.crs import CRS
from rasterio.warp import transform as warp_points

from ee_spark.boundary import reading, shown
from ee_spark.errors import JobError
from ee_spark.gdal import local_gdal

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LONLAT = "OGC:CRS84"
# Earth Engine's name for the MODIS sphere, which PROJ does not know
# (https://developers.google.com/earth-engine/guides/projections).
_SINUSOIDAL = "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs"

LONGEST_WKT = 50_000
"""Characters: those of compound CRSs with all their usages have some ten thousand."""
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9._-]*:[A-Za-z0-9][A-Za-z0-9._+-]*")
_WKT = re.compile(r"\s*[A-Za-z][A-Za-z0-9_]*\s*[\[(]")
OPENS = re.compile(
    r"\b(?:init|file|model|catalog)\s*=|grids\s*=(?!\s*@null\s*[\"+])|PARAMETERFILE"
    r"|PROJ4_GRIDS\"\s*,\s*\"(?!@null\")",
    re.I,
)
"""What in a WKT names a file that PROJ would open, by a path or an address; a PROJ string may stand in it."""


@lru_cache(maxsize=256)
def crs_of(name: str) -> CRS:
    """Return the rasterio CRS of a code that Earth Engine knows, or of a WKT.

    Raises:
        JobError: if PROJ cannot make one of it.
    """
    what = f"{shown(name)} is not a CRS that can be read; write e.g. EPSG:32610, or a WKT"
    if not _is_name(name):
        raise JobError(f"grid.crs: {what}")
    with reading("grid.crs", what=what), local_gdal():  # which would say what is wrong on standard error too
        return CRS.from_proj4(_SINUSOIDAL) if name == "SR-ORG:6974" else CRS.from_user_input(name)
    raise AssertionError("reading raises")


def check_horizontal(name: str) -> None:
    """Refuse a CRS that has no pixel lattice: of heights, of three axes, or of a place of its own.

    Raises:
        JobError: so, and as :func:`crs_of` does.
    """
    found = crs_of(name)
    kind = wkt_of(name).partition("[")[0]
    third = ",3]" in wkt_of(name).replace(" ", "")
    if kind == "COMPOUNDCRS" or third or not (found.is_geographic or found.is_projected):
        what = {"GEODCRS": "geocentric", "VERTCRS": "a CRS of heights", "ENGCRS": "a local one"}.get(
            kind, "with heights"
        )
        raise JobError(f"grid.crs: {shown(name)} is {what}, and pixels need a CRS with two axes; write e.g. EPSG:32610")


def metres_of_unit(crs: str) -> float:
    """Return how many metres one unit of a CRS is at its true scale."""
    return 1 / metres_to_units(crs, 1.0)


def _is_name(text: str) -> bool:
    """Return True for a code or a WKT: all else GDAL takes for a file or an address, and opens it."""
    if _CODE.fullmatch(text):
        return True
    return bool(len(text) <= LONGEST_WKT and _WKT.match(text) and not OPENS.search(text))


@lru_cache(maxsize=256)
def wkt_of(name: str) -> str:
    """Return a CRS as WKT2, as the tables and every export have it.

    Raises:
        JobError: as :func:`crs_of` does.
    """
    return str(crs_of(name).to_wkt(version="WKT2_2019"))


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
