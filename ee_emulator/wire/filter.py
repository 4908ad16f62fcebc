"""The filter language of listings: comparisons and intersects(…) joined by AND (https://google.aip.dev/160)."""

from __future__ import annotations

import ast
import json
import operator
import re
from collections.abc import Callable
from typing import Any

from ..errors import ServiceError
from ..values.geometry import Geometry, from_geojson

Condition = Callable[[Any], bool]
"""Whether one listed thing passes."""
Compare = Callable[[str, str, Any], Condition]
"""The condition of a field, an operator of `OPERATORS` and a value (text or float); ServiceError for a wrong field."""
Shape = Callable[[Any], Geometry | None]
"""Where a listed thing lies."""

OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "!=": operator.ne,
}
_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<op><=|>=|!=|=|<|>)|(?P<paren>[()])|"""
    r"""(?P<number>-?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?(?![\w:.-]))|(?P<word>[\w.:/+-]+))"""
)
_Tokens = list[tuple[str, str]]


def parse(text: str, compare: Compare, shape: Shape) -> list[Condition]:
    """The conditions of a filter text; a 400 that shows what was not understood."""
    tokens: _Tokens = []
    position = 0
    while position < len(text.rstrip()):
        found = _TOKEN.match(text, position)
        if not found:
            raise bad(text, text[position:])
        kind = str(found.lastgroup)
        tokens.append((kind, found[kind]))
        position = found.end()
    conditions: list[Condition] = []
    while tokens:
        conditions.append(_condition(tokens, text, compare, shape))
        if tokens and tokens.pop(0) not in (("word", "AND"), ("word", "and")):
            raise bad(text, "only AND joins conditions here")
        if not tokens and text.rstrip().lower().endswith(" and"):
            raise bad(text, "AND at the end")
    return conditions


def _condition(tokens: _Tokens, text: str, compare: Compare, shape: Shape) -> Condition:
    kind, field = tokens.pop(0)
    if kind != "word":
        raise bad(text, field)
    if field == "intersects":
        kinds = [k for k, _ in tokens[:3]]
        if kinds != ["paren", "text", "paren"]:
            raise bad(text, 'intersects needs one text: intersects("{GeoJSON}")')
        (_, _), (_, quoted), (_, _) = tokens[:3]
        del tokens[:3]
        return intersects(_unquoted(quoted), text, shape)
    if len(tokens) < 2 or tokens[0][0] != "op":
        raise bad(text, f"'{field}' needs an operator and a value")
    _, comparison = tokens.pop(0)
    kind, raw = tokens.pop(0)
    if kind not in ("text", "number", "word"):
        raise bad(text, raw)
    value: Any = _unquoted(raw) if kind == "text" else float(raw) if kind == "number" else raw
    try:
        return compare(field, comparison, value)
    except ServiceError as error:
        raise bad(text, error.message) from error


def compared(found: Any, sign: str, value: Any) -> bool:
    """Two numbers or two texts compared; False for anything else."""
    numbers = isinstance(found, (int, float)) and isinstance(value, (int, float))
    if not numbers and not (isinstance(found, str) and isinstance(value, str)):
        return False
    return OPERATORS[sign](found, value)


def intersects(geojson: str, text: str, shape: Shape) -> Condition:
    """Passes what touches a GeoJSON geometry; a 400 that shows `text` when it is none."""
    try:
        area = from_geojson(json.loads(geojson))
    except ValueError:
        # The official client writes the geometry as a Python literal, with single quotes.
        try:
            area = from_geojson(ast.literal_eval(geojson))
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise bad(text, "intersects needs a GeoJSON geometry") from None
    except RecursionError:
        raise bad(text, "the geometry is nested too deeply") from None

    def test(thing: Any) -> bool:
        found = shape(thing)
        return found is not None and found.intersects(area)

    return test


def _unquoted(quoted: str) -> str:
    return re.sub(r"\\(.)", r"\1", quoted[1:-1])


def bad(text: str, why: str) -> ServiceError:
    """A 400 for a filter that is not understood."""
    return ServiceError(f"Invalid filter '{text:.200}': {why:.200}.")
