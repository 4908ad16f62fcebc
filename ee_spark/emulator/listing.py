"""Listing a collection's images: the filter language, pages and views of `listAssets` and `listImages`.

https://developers.google.com/earth-engine/reference/rest/v1/projects.assets/listAssets
"""

from __future__ import annotations

import ast
import base64
import binascii
import json
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from . import moment
from .catalog import Asset
from .errors import ServiceError
from .geometry import from_geojson

Condition = Callable[[Asset], bool]

_PAGE = 1000
"""Images on a page when the request names no size."""
_LARGEST_PAGE = 10_000

_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<op><=|>=|!=|=|<|>)|(?P<paren>[()])|"""
    r"""(?P<number>-?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?(?![\w:.-]))|(?P<word>[\w.:/+-]+))"""
)
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "!=": operator.ne,
}
_Tokens = list[tuple[str, str]]


def page(assets: list[Asset], query: Mapping[str, str], key: str) -> dict[str, Any]:
    """One page of `{key: [...], "nextPageToken"}` for a request's query parameters."""
    chosen = [asset for asset in assets if all(test(asset) for test in _conditions(query))]
    size = _whole(query.get("pageSize", "0"), "pageSize")
    size = min(size or _PAGE, _LARGEST_PAGE)
    start = _offset(query.get("pageToken", ""))
    view = query.get("view", "FULL")
    if view not in ("FULL", "BASIC", "BASIC_SYNC", "EARTH_ENGINE_ASSET_VIEW_UNSPECIFIED", "IMAGE_VIEW_UNSPECIFIED"):
        raise ServiceError(f"Invalid value at 'view': '{view}'. Use FULL or BASIC.")
    found = [_view(asset, view) for asset in chosen[start : start + size]]
    reply: dict[str, Any] = {key: found} if found else {}
    if start + size < len(chosen):
        reply["nextPageToken"] = base64.urlsafe_b64encode(f"from:{start + size}".encode()).decode()
    return reply


def _view(asset: Asset, view: str) -> dict[str, Any]:
    if not view.startswith("BASIC"):
        return asset.resource
    return {name: asset.resource[name] for name in ("type", "name", "id", "updateTime")}


def _whole(text: str, name: str) -> int:
    if not text.isdigit():
        raise ServiceError(f"Invalid value at '{name}': '{text}' is not a number of at least 0.")
    return int(text)


def _offset(token: str) -> int:
    if not token:
        return 0
    try:
        label, _, number = base64.urlsafe_b64decode(token.encode()).decode().partition(":")
    except (binascii.Error, ValueError):
        label, number = "", ""
    if label != "from" or not number.isdigit():
        raise ServiceError(f"Invalid value at 'pageToken': '{token:.60}' is none of this listing's tokens.")
    return int(number)


def _conditions(query: Mapping[str, str]) -> list[Condition]:
    """All conditions of a request: its filter text, and listImages' startTime, endTime and region."""
    found = _parse(query["filter"]) if query.get("filter") else []
    if query.get("startTime"):
        found.append(_comparison("startTime", ">=", query["startTime"], query["startTime"]))
    if query.get("endTime"):
        found.append(_comparison("endTime", "<", query["endTime"], query["endTime"]))
    if query.get("region"):
        found.append(_intersects(query["region"], query["region"]))
    return found


def _parse(text: str) -> list[Condition]:
    """A filter of comparisons and intersects(...) joined by AND; a 400 that shows what was not understood."""
    tokens: _Tokens = []
    position = 0
    while position < len(text.rstrip()):
        found = _TOKEN.match(text, position)
        if not found:
            raise _bad(text, text[position:])
        kind = str(found.lastgroup)
        tokens.append((kind, found[kind]))
        position = found.end()
    conditions: list[Condition] = []
    while tokens:
        conditions.append(_condition(tokens, text))
        if tokens and tokens.pop(0) not in (("word", "AND"), ("word", "and")):
            raise _bad(text, "only AND joins conditions here")
        if not tokens and text.rstrip().lower().endswith(" and"):
            raise _bad(text, "AND at the end")
    return conditions


def _condition(tokens: _Tokens, text: str) -> Condition:
    kind, field = tokens.pop(0)
    if kind != "word":
        raise _bad(text, field)
    if field == "intersects":
        kinds = [k for k, _ in tokens[:3]]
        if kinds != ["paren", "text", "paren"]:
            raise _bad(text, 'intersects needs one text: intersects("{GeoJSON}")')
        (_, _), (_, quoted), (_, _) = tokens[:3]
        del tokens[:3]
        return _intersects(_unquoted(quoted), text)
    if len(tokens) < 2 or tokens[0][0] != "op":
        raise _bad(text, f"'{field}' needs an operator and a value")
    _, comparison = tokens.pop(0)
    kind, raw = tokens.pop(0)
    if kind not in ("text", "number", "word"):
        raise _bad(text, raw)
    value: Any = _unquoted(raw) if kind == "text" else float(raw) if kind == "number" else raw
    return _comparison(field, comparison, value, text)


def _unquoted(quoted: str) -> str:
    return re.sub(r"\\(.)", r"\1", quoted[1:-1])


def _comparison(field: str, sign: str, value: Any, text: str) -> Condition:
    decide = _OPERATORS[sign]
    if field in ("startTime", "endTime", "updateTime", "start_time", "end_time", "update_time"):
        limit = moment.parse(value if isinstance(value, str) else str(int(value))).millis

        def timed(asset: Asset) -> bool:
            times = {"start": asset.start, "end": asset.end, "update": asset.version // 1000}
            at = times[field.removesuffix("Time").removesuffix("_time")]
            return at is not None and decide(at, limit)

        return timed
    name = field.removeprefix("properties.")
    if name == field and field not in ("id", "name"):
        raise _bad(text, f"unknown field '{field}'; use startTime, endTime, updateTime, id, name or properties.NAME")

    def test(asset: Asset) -> bool:
        found = asset.resource[field] if name == field else asset.properties.get(name)
        numbers = isinstance(found, (int, float)) and isinstance(value, (int, float))
        if not numbers and not (isinstance(found, str) and isinstance(value, str)):
            return False
        return decide(found, value)

    return test


def _intersects(geojson: str, text: str) -> Condition:
    try:
        shape = from_geojson(json.loads(geojson))
    except ValueError:
        # The official client writes the geometry as a Python literal, with single quotes.
        try:
            shape = from_geojson(ast.literal_eval(geojson))
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise _bad(text, "intersects needs a GeoJSON geometry") from None
    return lambda asset: asset.geometry.intersects(shape)


def _bad(text: str, why: str) -> ServiceError:
    return ServiceError(f"Invalid filter '{text:.200}': {why:.200}.")
