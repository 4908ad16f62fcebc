"""Listings: pages of assets (`listAssets`, `listImages`) and of features (`listFeatures`, `table:computeFeatures`).

https://developers.google.com/earth-engine/reference/rest/v1/projects.assets/listAssets
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from ..catalog.asset import Asset, asset_name
from ..errors import ServiceError
from ..values import date as dates
from ..values.description import describe
from ..values.element import Feature
from . import fields as masks
from .filter import OPERATORS, Condition, compared, parse, touching

_T = TypeVar("_T")
_PAGE = 1000
"""Entries on a page when the request names no size, and the most of them with view FULL."""
_LARGEST_PAGE = 10_000
_BRIEF = ("type", "name", "id")
"""What view BASIC keeps."""
_VIEWS = {"FULL", "EARTH_ENGINE_ASSET_VIEW_UNSPECIFIED", "IMAGE_VIEW_UNSPECIFIED"}


def images(assets: list[Asset], others: list[dict[str, Any]], query: Mapping[str, str], key: str) -> dict[str, Any]:
    """One page of `{key: [...], "nextPageToken"}` of a collection's images for a request's query parameters.

    `others` are what else has an id in it; a filter leaves them out. A page costs what it looks at, wherever it begins:
    its token says at which image.
    """
    conditions = _conditions(query)
    view = query.get("view", "FULL")
    if view not in {*_VIEWS, "BASIC", "BASIC_SYNC"}:
        raise ServiceError(f"Invalid value at 'view': '{view}'. Use FULL or BASIC.")
    size = _size(query, _LARGEST_PAGE if view.startswith("BASIC") else _PAGE)
    chosen: list[Any] = [] if conditions else others
    listed: list[dict[str, Any]] = []
    token = ""
    for index in range(_offset(query.get("pageToken") or ""), len(assets) + len(chosen)):
        found = assets[index] if index < len(assets) else chosen[index - len(assets)]
        if index < len(assets) and not all(test(found) for test in conditions):
            continue
        if len(listed) == size:
            token = _token(index)
            break
        listed.append(found.resource if isinstance(found, Asset) else found)
    if view.startswith("BASIC"):
        _check_brief(query.get("fields", ""), key)
        listed = [{name: resource[name] for name in _BRIEF if name in resource} for resource in listed]
    return _reply(key, listed, token)


def _size(query: Mapping[str, str], most: int) -> int:
    """How many entries the request wants; a 400 for more than its view may have."""
    size = _whole(query.get("pageSize") or 0, "pageSize") or _PAGE
    if size > most:
        raise ServiceError(f"Invalid value at 'pageSize': {size}. It must be at most {most} for this view.")
    return size


def _check_brief(mask: str, key: str) -> None:
    """A 400 for fields of an asset that view BASIC does not have."""
    asked = masks.parse(mask).get(key) if mask else None
    missing = sorted(set(asked or ()) - {*_BRIEF, "*"})
    if missing:
        raise ServiceError(f"Invalid field selection {missing[0]}: view BASIC has {', '.join(_BRIEF)} only.")


def resources(found: Sequence[dict[str, Any]], query: Mapping[str, str]) -> dict[str, Any]:
    """One page of a folder's assets; `filter` and `view` apply to image collections only."""
    listed, token = _page(found, query)
    return _reply("assets", list(listed), token)


def features(found: Sequence[Any], query: Mapping[str, Any]) -> dict[str, Any]:
    """One page of a GeoJSON FeatureCollection; `region` and `filter` (property comparisons) choose from it."""
    tests: list[Condition] = []
    if query.get("region"):
        tests.append(touching(query["region"], query["region"], _place))
    if query.get("filter"):
        tests += parse(query["filter"], _property, _place)
    chosen = [feature for feature in found if all(test(feature) for test in tests)] if tests else found
    for feature in chosen:
        if not isinstance(feature, Feature):
            raise ServiceError(f"Expected a collection of features, found an element of type {type(feature).__name__}.")
    listed, token = _page(chosen, query)
    reply: dict[str, Any] = {"type": "FeatureCollection", "features": [geojson(feature) for feature in listed]}
    return {**reply, **({"nextPageToken": token} if token else {})}


def _place(feature: Feature) -> Any:
    return feature.geometry


def _property(field: str, sign: str, value: Any) -> Condition:
    name = field.removeprefix("properties.")
    return lambda feature: compared(feature.properties.get(name), sign, value)


def _page(found: Sequence[_T], query: Mapping[str, Any]) -> tuple[Sequence[_T], str]:
    """The entries of a page, and the token of the next one ("" for none)."""
    size = min(_whole(query.get("pageSize") or 0, "pageSize") or _PAGE, _LARGEST_PAGE)
    start = _offset(query.get("pageToken") or "")
    return found[start : start + size], _token(start + size) if start + size < len(found) else ""


def _token(start: int) -> str:
    return base64.urlsafe_b64encode(f"from:{start}".encode()).decode()


def _reply(key: str, listed: list[dict[str, Any]], token: str) -> dict[str, Any]:
    return {**({key: listed} if listed else {}), **({"nextPageToken": token} if token else {})}


def _whole(value: Any, name: str) -> int:
    if isinstance(value, bool) or not str(value).isdecimal() or len(str(value)) > 18:
        raise ServiceError(f"Invalid value at '{name}': '{value!s:.60}' is not a number of at least 0.")
    return int(value)


def _offset(token: Any) -> int:
    if not token:
        return 0
    try:
        label, _, number = base64.urlsafe_b64decode(str(token).encode()).decode().partition(":")
    except (binascii.Error, ValueError):
        label, number = "", ""
    if label != "from" or not number.isdecimal() or len(number) > 18:
        raise ServiceError(f"Invalid value at 'pageToken': '{token!s:.60}' is not a token of this listing.")
    return int(number)


def _conditions(query: Mapping[str, str]) -> list[Condition]:
    """All conditions of a request: its filter text, and listImages' startTime, endTime and region."""
    found = parse(query["filter"], _comparison, _footprint) if query.get("filter") else []
    if query.get("startTime"):
        found.append(_comparison("startTime", ">=", query["startTime"]))
    if query.get("endTime"):
        found.append(_comparison("endTime", "<", query["endTime"]))
    if query.get("region"):
        found.append(touching(query["region"], query["region"], _footprint))
    return found


def _footprint(asset: Asset) -> Any:
    return asset.geometry


def _comparison(field: str, sign: str, value: Any) -> Condition:
    if field in ("startTime", "endTime", "updateTime", "start_time", "end_time", "update_time"):
        if not isinstance(value, str):
            raise ServiceError(f"the value of '{field}' is a time, which is quoted")
        limit, which = dates.parse(value).millis, field.removesuffix("Time").removesuffix("_time")

        def timed(asset: Asset) -> bool:
            at = dates.parse(asset.update_time).millis if which == "update" else asset.start
            at = asset.end if which == "end" else at
            return at is not None and OPERATORS[sign](at, limit)

        return timed
    name = field.removeprefix("properties.")
    if name == field and field not in ("id", "name"):
        raise ServiceError(f"unknown field '{field}'; use startTime, endTime, updateTime, id, name or properties.NAME")

    def test(asset: Asset) -> bool:
        own = asset.id if field == "id" else asset_name(asset.id)
        return compared(own if name == field else asset.properties.get(name), sign, value)

    return test


def geojson(feature: Feature) -> dict[str, Any]:
    """A feature as `listFeatures` and `table:computeFeatures` write it: planar GeoJSON with its index as the id."""
    found: dict[str, Any] = {
        "type": "Feature",
        "geometry": None if feature.geometry is None else feature.geometry.geojson(),
        "properties": {k: describe(v) for k, v in feature.properties.items() if k != "system:index"},
    }
    if "system:index" in feature.properties:
        found["id"] = str(feature.properties["system:index"])
    return found
