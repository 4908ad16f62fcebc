"""Recordings: what the real service said of an image, in one of its two forms, served as it stands beside its pixels.

The REST form (getAsset, listAssets) names bands with `dataType` and `grid`; the form of `ee.Image.getInfo()` has
`data_type`, `crs` and `crs_transform`. A recording in the one is translated where the other is asked for, as the
official clients do it: times, size, title and footprint are properties in getInfo and fields in REST.
https://developers.google.com/earth-engine/reference/rest/v1/projects.assets
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import CatalogError, ServiceError
from ..values import date as dates
from ..values.projection import TERMS

_TIMES = {"startTime": "system:time_start", "endTime": "system:time_end"}
_FIELDS = {"sizeBytes": "system:asset_size", "title": "system:title", "description": "system:description"}
_FOOTPRINT = "system:footprint"


@dataclass(frozen=True, eq=False)
class Recording:
    """One recording: the REST resource, the description that getInfo gives, and what filters and algorithms see.

    `info` is None where the REST form was recorded. Times are milliseconds since 1970, `version` microseconds.
    """

    resource: Mapping[str, Any]
    info: Mapping[str, Any] | None
    properties: Mapping[str, Any]
    footprint: Any
    start: int | None
    end: int | None
    version: int | None


def read_recording(value: Any, name: str, asset_id: str, policies: Mapping[str, str], where: str) -> Recording:
    """A catalog entry's `recorded`; `name` is the asset's resource name, `policies` the pyramiding policy by band."""
    if not isinstance(value, dict):
        raise CatalogError(f"{where}: 'recorded' must be an object: what getAsset or getInfo said")
    if value.get("id", asset_id) != asset_id:
        raise CatalogError(f"{where}: 'recorded' is of '{value['id']}'; give the entry that id")
    try:
        return _of_info(value, name, asset_id, policies) if _is_info(value) else _of_resource(value, name, asset_id)
    except (ServiceError, AttributeError, TypeError, ValueError, LookupError) as error:
        raise CatalogError(f"{where}: 'recorded' cannot be read: {error}") from error


def _is_info(value: Mapping[str, Any]) -> bool:
    if value.get("type") in ("Image", "IMAGE"):
        return bool(value["type"] == "Image")
    bands, properties = value.get("bands"), value.get("properties")
    first = bands[0] if isinstance(bands, list) and bands and isinstance(bands[0], dict) else {}
    named = properties if isinstance(properties, dict) else {}
    return "data_type" in first or "crs_transform" in first or any(key.startswith("system:") for key in named)


def _of_resource(value: dict[str, Any], name: str, asset_id: str) -> Recording:
    """What is recorded is served, whatever it is; the fields that every entry of a listing has are added where it
    lacks them, and what cannot be read is as if it were not there.
    """
    identity = {"type": "IMAGE", "name": name, "id": asset_id}
    properties = dict(found) if isinstance(found := value.get("properties"), dict) else {}
    times = {key: None if (at := _micros(value.get(key))) is None else at // 1000 for key in _TIMES}
    properties |= {_TIMES[key]: millis for key, millis in times.items() if millis is not None}
    if str(value.get("sizeBytes")).isdecimal():
        properties[_FIELDS["sizeBytes"]] = int(value["sizeBytes"])
    footprint = value.get("geometry")
    if footprint is not None:
        properties[_FOOTPRINT] = footprint
    updated = _micros(value.get("updateTime"))
    return Recording({**identity, **value}, None, properties, footprint, times["startTime"], times["endTime"], updated)


def _micros(text: Any) -> int | None:
    try:
        return dates.micros(text) if isinstance(text, str) else None
    except ServiceError:
        return None


def _of_info(value: dict[str, Any], name: str, asset_id: str, policies: Mapping[str, str]) -> Recording:
    properties = dict(value.get("properties") or {})
    version = None if value.get("version") is None else int(value["version"])
    start, end = (None if properties.get(key) is None else int(properties[key]) for key in _TIMES.values())
    moved = {*_TIMES.values(), *_FIELDS.values(), _FOOTPRINT, "system:index"}
    kept = {key: found for key, found in properties.items() if key not in moved}
    fields = {key: properties[old] for key, old in _FIELDS.items() if old in properties}
    if "sizeBytes" in fields:
        fields["sizeBytes"] = str(int(fields["sizeBytes"]))  # a 64-bit number is text in JSON
    times = {"startTime": start, "endTime": end}
    resource = {
        "type": "IMAGE",
        "name": name,
        "id": asset_id,
        **({} if version is None else {"updateTime": dates.rfc3339_micros(version)}),
        **{key: dates.rfc3339(millis) for key, millis in times.items() if millis is not None},
        **fields,
        **({"properties": kept} if kept else {}),
        **({"geometry": properties[_FOOTPRINT]} if _FOOTPRINT in properties else {}),
        **({"bands": [_band(band, policies) for band in value["bands"]]} if "bands" in value else {}),
    }
    return Recording(resource, value, properties, properties.get(_FOOTPRINT), start, end, version)


def _band(band: Mapping[str, Any], policies: Mapping[str, str]) -> dict[str, Any]:
    kind, crs = band.get("data_type") or {}, band.get("crs")
    spread = {key: kind[key] for key in ("min", "max") if key in kind}
    grid: dict[str, Any] = {} if crs is None else {("crsWkt" if "[" in crs else "crsCode"): crs}
    if "dimensions" in band:
        grid["dimensions"] = dict(zip(("width", "height"), band["dimensions"], strict=True))
    if "crs_transform" in band:
        terms = _from_origin(band["crs_transform"], band.get("origin") or (0, 0))
        grid["affineTransform"] = {term: number for term, number in zip(TERMS, terms, strict=True) if number}
    data_type = {"precision": str(kind.get("precision", "double")).upper()}
    found: dict[str, Any] = {"id": band["id"], "dataType": data_type, "grid": grid}
    if spread:
        found["dataType"] = {**data_type, "range": {key: number for key, number in spread.items() if number}}
    return {**found, "pyramidingPolicy": policies.get(str(band["id"]), "MEAN")}


def _from_origin(transform: Sequence[float], origin: Sequence[float]) -> list[float]:
    """The transform of a grid that begins at the pixel `origin`, which REST has no field for."""
    scale_x, shear_x, x, shear_y, scale_y, y = transform
    column, row = origin
    return [
        scale_x,
        shear_x,
        x + scale_x * column + shear_x * row,
        shear_y,
        scale_y,
        y + shear_y * column + scale_y * row,
    ]
