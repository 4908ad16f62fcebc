"""A region that is given in Python: a shapely geometry, a GeoDataFrame, an ee.Geometry, a mapping of GeoJSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ee_spark.boundary import reading, shortened
from ee_spark.errors import JobError

KINDS = frozenset(f"{many}{kind}" for many in ("", "Multi") for kind in ("Point", "LineString", "Polygon")) | {
    "LinearRing",
    "GeometryCollection",
    "Feature",
    "FeatureCollection",
}
"""Types of GeoJSON, and the one that Earth Engine and shapely have beside them."""


def geojson_of(value: object, label: str) -> dict[str, Any] | None:
    """Return what a Python object says of where, as GeoJSON; None where it is no geometry.

    A GeoDataFrame or GeoSeries says its CRS, as GeoJSON had it before RFC 7946, and its index is left out: an id is
    never a row number. Edges of an ``ee.Geometry`` are geodesics, unless it says otherwise; all others are straight, in
    the CRS that they are in.

    Raises:
        JobError: if it is computed by Earth Engine, has no CRS where one belongs, or is no area and no points.
    """
    with reading(label, what="cannot be read as a geometry"):
        found = _said(value, label)
    if found is not None and found.get("type") not in KINDS:
        return None
    return found


def is_points(geojson: Mapping[str, Any]) -> bool:
    """Return True for features that are all points."""
    features = geojson.get("features")
    if not isinstance(features, list) or not features:
        return False
    kinds = {(part.get("geometry") or {}).get("type") for part in features if isinstance(part, Mapping)}
    return kinds == {"Point"}


def _said(value: object, label: str) -> dict[str, Any] | None:
    if isinstance(value, Mapping):
        return dict(value) if value.get("type") in KINDS else None
    if (type(value).__module__ or "").partition(".")[0] == "ee":
        return _of_earth_engine(value, label)
    if hasattr(value, "to_crs") and hasattr(value, "total_bounds"):
        return _of_frame(value, label)
    said = getattr(value, "__geo_interface__", None)
    return _lists(said) if isinstance(said, Mapping) else None


def _of_earth_engine(value: Any, label: str) -> dict[str, Any]:
    """Return the GeoJSON of an ``ee.Geometry``; one that is computed is asked for, as the caller's own client does.

    https://developers.google.com/earth-engine/apidocs/ee-geometry-polygon: edges are geodesics by default.
    """
    kind = type(value).__name__
    if not hasattr(value, "toGeoJSON"):
        raise JobError(f"{label}: an ee.{kind} is not a region; pass an ee.Geometry, or write region.table")
    try:
        found = value.getInfo() if value.func else value.toGeoJSON()
    except Exception as error:  # whatever the client raises
        raise JobError(f"{label}: Earth Engine does not say where the ee.{kind} is ({shortened(error)})") from None
    return {"geodesic": True, **found}


def _of_frame(frame: Any, label: str) -> dict[str, Any]:
    """Return the features of a GeoDataFrame or GeoSeries in its own CRS, which the member ``crs`` names."""
    if frame.crs is None:
        raise JobError(f"{label}: the {type(frame).__name__} has no CRS; write .set_crs('EPSG:4326') or the one it has")
    missing = {"na": "null"} if hasattr(frame, "columns") else {}
    found = json.loads(frame.to_json(**missing, drop_id=True, default=_value))
    crs = {"type": "name", "properties": {"name": frame.crs.to_wkt()}}
    return {"type": "FeatureCollection", "crs": crs, "features": found["features"]}


def _lists(value: Any) -> Any:
    """Return a mapping of GeoJSON with lists where it has tuples, as JSON has them."""
    return json.loads(json.dumps(value, default=_value))


def _value(value: Any) -> Any:
    """Return a value that JSON does not have as one that it has: a time as ISO text, an array as lists."""
    return value.isoformat() if hasattr(value, "isoformat") else value.tolist()
