"""The CRS that a file of places is in, and its coordinates as longitudes and latitudes of WGS 84."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
from rasterio.crs import CRS

from ee_spark.boundary import shortened
from ee_spark.errors import JobError
from ee_spark.gdal import local_gdal
from ee_spark.planner.crs import LONGEST_WKT, LONLAT, OPENS, Floats, crs_of, project
from ee_spark.planner.geodesic import turned

TOLERANCE = 1e-7
"""Degrees, about a centimetre, that an edge which is straight in its CRS may be off in longitude and latitude."""
MOST_POSITIONS = 1_000_000
"""Positions of one ring, once its edges are bent."""
_SHARES = np.array([0.25, 0.5, 0.75])
_URN = re.compile(
    r"urn:(?:x-)?ogc:def:crs:(\w+):[^:]*:(\w+)|https?://www\.opengis\.net/def/crs/(\w+)/[^/]+/(\w+)", re.I
)
_UNKNOWN = re.compile(
    r'DATUM\["(?:D_)?(?:unknown|not[ _]specified)[^"]*",\s*SPHEROID\["[^"]*",\s*([0-9.]+),\s*([0-9.]+)', re.I
)
_WAY = "write the file in EPSG:4326 (ogr2ogr -t_srs EPSG:4326)"


def crs_of_geojson(thing: Any, label: str) -> str:
    """Return the CRS of a GeoJSON object: longitude and latitude, unless it has the member ``crs`` of before RFC 7946.

    https://geojson.org/geojson-spec.html#coordinate-reference-system-objects

    Raises:
        JobError: if the member says nothing that can be read.
    """
    said = thing.get("crs") if isinstance(thing, dict) else None
    if said is None:
        return LONLAT
    kind = said.get("type") if isinstance(said, dict) else None
    inner = said.get("properties") if isinstance(said, dict) else None
    name = (inner.get("name") if kind == "name" else inner.get("code")) if isinstance(inner, dict) else None
    if kind == "EPSG" and isinstance(name, int | str):
        return known(f"EPSG:{name}", label)
    if kind != "name" or not isinstance(name, str):
        raise JobError(f"{label}: its crs is {shortened(said)}, which names none; {_WAY}, or name it")
    return known(name, label)


def crs_of_column(column: dict[str, Any], label: str) -> str:
    """Return the CRS of a geometry column of GeoParquet (https://geoparquet.org/releases/v1.1.0), by its metadata.

    Raises:
        JobError: if it is unknown there, or cannot be read.
    """
    if "crs" not in column:
        return LONLAT
    if column["crs"] is None:
        raise JobError(f"{label}: its crs is null, so nobody knows where it lies; set it (GeoPandas: set_crs)")
    said = column["crs"]
    identity = said.get("id") if isinstance(said, dict) else None
    if isinstance(identity, dict) and {"authority", "code"} <= identity.keys():
        return known(f"{identity['authority']}:{identity['code']}", label)
    text = said if isinstance(said, str) else json.dumps(said)
    if text.lstrip().startswith("{"):
        if len(text) > LONGEST_WKT or OPENS.search(text):
            raise _refused(text, label)
        try:
            with local_gdal():
                text = CRS.from_string(text).to_wkt(version="WKT2_2019")
        except Exception:  # GDAL's, of no public base
            raise _refused(text, label) from None
    return known(text, label)


def known(said: str, label: str) -> str:
    """Return a CRS by a name that :func:`ee_spark.planner.crs.crs_of` knows; ``OGC:CRS84`` where it is WGS 84.

    Raises:
        JobError: if it cannot be read, is not one of places on Earth, or has a datum that nobody knows.
    """
    urn = _URN.fullmatch(said.strip())
    name = ":".join(part for part in urn.groups() if part) if urn else said.strip()
    try:
        found = crs_of(name)
    except JobError:
        raise _refused(said, label) from None
    if not (found.is_geographic or found.is_projected):
        raise JobError(f"{label}: its CRS {shortened(said)} is not one of places on Earth; {_WAY}")
    datum = _UNKNOWN.search(found.to_wkt())
    if datum and not _is_plain(float(datum[1]), float(datum[2])):
        raise JobError(
            f"{label}: its CRS {shortened(said)} says no datum, so its places are known to 100 m only; {_WAY}"
        )
    same = found == crs_of(LONLAT) or found.to_epsg() == 4326
    return LONLAT if same else name


def lonlat_of(crs: str, x: Floats, y: Floats, label: str, what: str = "point") -> tuple[Floats, Floats]:
    """Return coordinates of a CRS as longitudes and latitudes; those of WGS 84 as they are.

    Raises:
        JobError: if one lies outside of what the CRS shows, with its number.
    """
    if crs == LONLAT:
        return x, y
    lon, lat = project(crs, LONLAT, x, y)
    bad = ~(np.isfinite(lon) & np.isfinite(lat))
    if bad.any():
        at = int(bad.argmax())
        raise JobError(
            f"{label}: {what} {at + 1} at {x[at]:.10g}, {y[at]:.10g} lies outside of what its CRS "
            f"{shortened(crs[:40])} shows; correct it, or the CRS"
        )
    return lon, lat


def is_straight(crs: str) -> bool:
    """Return True where edges that are straight in a CRS are so in longitude and latitude."""
    return crs == LONLAT or bool(crs_of(crs).is_geographic)


def shifted(ring: Floats, crs: str, label: str) -> Floats:
    """Return a ring (n, 2) of degrees of another datum as one of WGS 84; longitudes beyond ±180° stay beyond."""
    lon, lat = lonlat_of(crs, ring[:, 0], ring[:, 1], label, "position")
    return np.column_stack([lon + 360 * np.round((ring[:, 0] - lon) / 360), lat])


def bent(ring: Floats, crs: str, label: str) -> Floats:
    """Return a closed ring (n, 2) of a projected CRS in longitude and latitude, its edges followed to a centimetre.

    Longitudes go on beyond ±180°, and around a pole the ring is closed along it.
    """
    places = np.column_stack(lonlat_of(crs, ring[:, 0], ring[:, 1], label, "position"))
    while len(ring) <= MOST_POSITIONS:
        cuts = ring[:-1, None] + (ring[1:] - ring[:-1])[:, None] * _SHARES[:, None]
        lon, lat = lonlat_of(crs, cuts[..., 0].ravel(), cuts[..., 1].ravel(), label, "position on an edge")
        inner = np.stack([lon, lat], -1).reshape(cuts.shape)
        far = _off(places, inner) > TOLERANCE
        if not far.any():
            return _around(places)
        at = np.repeat(np.flatnonzero(far) + 1, 3)
        ring = np.insert(ring, at, cuts[far].reshape(-1, 2), 0)
        places = np.insert(places, at, inner[far].reshape(-1, 2), 0)
    raise JobError(
        f"{label}: a polygon needs more than {MOST_POSITIONS:,} positions in longitude and latitude; simplify it"
    )


def _off(places: Floats, inner: Floats) -> Floats:
    """Return how far, in degrees of a great circle, places (n, k, 2) lie beside the n straight edges between others."""
    east = np.cos(np.radians((places[1:, 1] + places[:-1, 1]) / 2))
    x, y = turned(places[1:, 0] - places[:-1, 0]) * east, places[1:, 1] - places[:-1, 1]
    to_x, to_y = turned(inner[..., 0] - places[:-1, None, 0]) * east[:, None], inner[..., 1] - places[:-1, None, 1]
    length = np.hypot(x, y)[:, None]
    beside = np.abs(x[:, None] * to_y - y[:, None] * to_x)
    found: Floats = np.where(length > 0, beside / np.where(length > 0, length, 1), np.hypot(to_x, to_y)).max(1)
    return found


def _around(places: Floats) -> Floats:
    lon = np.unwrap(places[:, 0], period=360.0)
    ring = np.column_stack([lon, places[:, 1]])
    if abs(lon[-1] - lon[0]) < 180:
        ring[-1] = ring[0]
        return ring
    pole = 90.0 if places[:, 1].mean() > 0 else -90.0
    return np.vstack([ring, [[lon[-1], pole], [lon[0], pole]], ring[:1]])


def _is_plain(axis: float, flattening: float) -> bool:
    """Return True for a sphere, and for the ellipsoid of WGS 84 and its like, where no datum is the same datum."""
    return flattening == 0 or (abs(axis - 6378137) < 1 and abs(flattening - 298.257) < 0.001)


def _refused(said: str, label: str) -> JobError:
    return JobError(f"{label}: its CRS {shortened(said)} cannot be read; {_WAY}")
