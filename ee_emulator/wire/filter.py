"""The filter language of listings: comparisons and intersects(…) joined by AND (https://google.aip.dev/160)."""

from __future__ import annotations

import ast
import json
import operator
import re
from collections.abc import Callable
from typing import Any

from ..errors import ServiceError
from ..evaluation.text import NUMBER, QUOTED, Token, tokens, unquoted
from ..values.geometry import Geometry, from_geojson
from ..values.shape import intersect

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
    rf"\s*(?:(?P<text>{QUOTED})|(?P<op><=|>=|!=|=|<|>)|(?P<paren>[()])|(?P<number>{NUMBER})|(?P<word>[\w.:/+-]+))"
)


def parse(text: str, compare: Compare, shape: Shape) -> list[Condition]:
    """The conditions of a filter text; a 400 that shows what was not understood."""
    waiting = tokens(text, _TOKEN, lambda at: bad(text, text[at:]))
    conditions: list[Condition] = []
    while waiting:
        conditions.append(_condition(waiting, text, compare, shape))
        if waiting and waiting.pop(0)[:2] not in (("word", "AND"), ("word", "and")):
            raise bad(text, "only AND joins conditions here")
        if not waiting and text.rstrip().lower().endswith(" and"):
            raise bad(text, "AND at the end")
    return conditions


def _condition(waiting: list[Token], text: str, compare: Compare, shape: Shape) -> Condition:
    kind, field, _ = waiting.pop(0)
    if kind != "word":
        raise bad(text, field)
    if field == "intersects":
        kinds = [token.kind for token in waiting[:3]]
        if kinds != ["paren", "text", "paren"]:
            raise bad(text, 'intersects needs one text: intersects("{GeoJSON}")')
        quoted = waiting[1].text
        del waiting[:3]
        return intersects(unquoted(quoted), text, shape)
    if len(waiting) < 2 or waiting[0].kind != "op":
        raise bad(text, f"'{field}' needs an operator and a value")
    comparison = waiting.pop(0).text
    kind, raw, _ = waiting.pop(0)
    if kind not in ("text", "number", "word"):
        raise bad(text, raw)
    value: Any = unquoted(raw) if kind == "text" else float(raw) if kind == "number" else raw
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
    """Passes what touches a GeoJSON geometry; a 400 that shows `text` for anything else."""
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
        return found is not None and intersect(found, area)

    return test


def bad(text: str, why: str) -> ServiceError:
    """A 400 for a filter that is not understood."""
    return ServiceError(f"Invalid filter '{text:.200}': {why:.200}.")
