"""UTM as six-degree half-zones: which zone a place belongs to, and no exceptions for Norway or Svalbard."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

from ee_spark.planner.crs import Floats
from ee_spark.planner.points import Points
from ee_spark.planner.polygon import Box, Polygons

UTM = "utm"
METRE_CRS = "EPSG:32601"  # any zone: a metre is a metre in all of them
_EDGES = np.arange(-180.0, 181.0, 6.0)


def codes(lon: Floats, lat: Floats) -> list[str]:
    """Return the EPSG code of each place: zone floor((lon + 180)/6) + 1, 180° is zone 1, north from latitude 0 up."""
    zone = (np.searchsorted(_EDGES, lon, "right") - 1) % 60 + 1  # exact: lon + 180 rounds what is just below an edge
    return [
        f"EPSG:{(32600 if north else 32700) + z}" for z, north in zip(zone.tolist(), (lat >= 0).tolist(), strict=True)
    ]


def half_zone(code: str) -> Box:
    """Return the west, south, east, north of a zone's half: six degrees wide, from the equator to its pole."""
    zone = _zone(code)
    assert zone is not None
    number, north = zone
    west = number * 6.0 - 186
    return (west, 0.0, west + 6, 90.0) if north else (west, -90.0, west + 6, 0.0)


def in_half_zone(code: str, lon: Floats, lat: Floats) -> npt.NDArray[np.bool_]:
    """Return for each place whether it belongs to a half-zone; its western edge does."""
    return np.asarray(np.array(codes(lon, lat)) == code)


def zones(region: Polygons | Points) -> list[str]:
    """Return the codes of all half-zones that the region may touch, in order."""
    if isinstance(region, Points):
        return sorted(set(codes(region.lon, region.lat)))
    found = set()
    for west, south, east, north in region.boxes:
        first, last = int(np.floor((west + 180) / 6)), int(np.ceil((east + 180) / 6))
        for zone in range(first, last):
            found |= {f"EPSG:{base + zone % 60 + 1}" for base, has in ((32600, north > 0), (32700, south < 0)) if has}
    return sorted(found)


def is_utm(code: str) -> bool:
    """Return True for the codes of the WGS 84 zones."""
    return _zone(code) is not None


def _zone(code: str) -> tuple[int, bool] | None:
    match = re.fullmatch(r"EPSG:32([67])(\d\d)", code)
    if not match or not 1 <= int(match[2]) <= 60:
        return None
    return int(match[2]), match[1] == "6"
