"""The filter language of listings: comparisons and intersects(…) joined by AND, OR, NOT and parentheses.

https://google.aip.dev/160; values are numbers or quoted, and the GeoJSON of intersects has single quotes only, as both
official clients write it.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable
from typing import Any

import shapely

from ..errors import ServiceError
from ..evaluation.text import NUMBER, QUOTED, Token, tokens, unquoted
from ..values.geometry import Geometry, from_geojson
from ..values.shape import geometry_of, intersect

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
_WKT = re.compile(r"\s*[A-Za-z]+\s*\(")
_TOKEN = re.compile(
    rf"\s*(?:(?P<text>{QUOTED})|(?P<op><=|>=|!=|=|<|>)|(?P<paren>[()])|(?P<number>{NUMBER})|(?P<word>[\w.:/+-]+))"
)


def parse(text: str, compare: Compare, shape: Shape) -> list[Condition]:
    """The conditions of a filter text, all of which must hold; a 400 that shows what was not understood."""
    waiting = tokens(text, _TOKEN, lambda at: bad(text, text[at:]))
    found = _Reader(waiting, text, compare, shape).conjunction() if waiting else []
    if waiting:
        raise bad(text, f"AND or OR is missing before '{waiting[0].text}'")
    return found


class _Reader:
    """Reads tokens from the left: what AND joins is made of what OR joins, as OR binds closer."""

    def __init__(self, waiting: list[Token], text: str, compare: Compare, shape: Shape) -> None:
        self._waiting, self._text, self._compare, self._shape = waiting, text, compare, shape

    def conjunction(self) -> list[Condition]:
        found = [self._alternatives()]
        while self._took("AND"):
            found.append(self._alternatives())
        return found

    def _alternatives(self) -> Condition:
        found = [self._simple()]
        while self._took("OR"):
            found.append(self._simple())
        return found[0] if len(found) == 1 else lambda thing: any(test(thing) for test in found)

    def _simple(self) -> Condition:
        if self._took("NOT"):
            negated = self._simple()
            return lambda thing: not negated(thing)
        kind, field, _ = self._next("a comparison, intersects(…) or a parenthesis")
        if (kind, field) == ("paren", "("):
            inner = self.conjunction()
            if self._next("a closing parenthesis").text != ")":
                raise bad(self._text, "a parenthesis is not closed")
            return lambda thing: all(test(thing) for test in inner)
        if kind != "word":
            raise bad(self._text, field)
        return self._intersects() if field == "intersects" else self._comparison(field)

    def _intersects(self) -> Condition:
        wanted = 'intersects needs one text: intersects("{GeoJSON}")'
        kinds = [self._next(wanted) for _ in range(3)]
        if [token.kind for token in kinds] != ["paren", "text", "paren"]:
            raise bad(self._text, wanted)
        area = self._quoted(kinds[1].text)
        if '"' in area:
            raise bad(self._text, "Double quotes are not valid in the GeoJSON strings")
        return touching(area.replace("'", '"'), self._text, self._shape)

    def _comparison(self, field: str) -> Condition:
        sign = self._next(f"an operator after '{field}'")
        kind, raw, _ = self._next(f"a value of '{field}'")
        if sign.kind != "op" or kind not in ("text", "number", "word"):
            raise bad(self._text, f"'{field}' needs an operator and a value")
        if kind == "word":
            raise bad(self._text, f'the value {raw} is not quoted; write "{raw}"')
        try:
            return self._compare(field, sign.text, self._quoted(raw) if kind == "text" else float(raw))
        except ServiceError as error:
            raise bad(self._text, error.message) from error

    def _quoted(self, raw: str) -> str:
        if '\\"' in raw:
            raise bad(self._text, 'a quoted value holds \\"')
        return unquoted(raw)

    def _next(self, wanted: str) -> Token:
        if not self._waiting:
            raise bad(self._text, f"it ends where {wanted} is due")
        return self._waiting.pop(0)

    def _took(self, word: str) -> bool:
        if not self._waiting or self._waiting[0].kind != "word" or self._waiting[0].text.upper() != word:
            return False
        self._waiting.pop(0)
        return True


def compared(found: Any, sign: str, value: Any) -> bool:
    """Two numbers or two texts compared; False for anything else."""
    numbers = isinstance(found, (int, float)) and isinstance(value, (int, float))
    if not numbers and not (isinstance(found, str) and isinstance(value, str)):
        return False
    return OPERATORS[sign](found, value)


def touching(geojson: str, text: str, shape: Shape) -> Condition:
    """Passes what touches a GeoJSON geometry; a 400 that shows `text` for anything else."""
    try:
        # The official client takes WKT too, and hands it on.
        area = geometry_of(shapely.from_wkt(geojson)) if _WKT.match(geojson) else from_geojson(json.loads(geojson))
    except (ValueError, shapely.errors.GEOSException):
        raise bad(text, "intersects needs a GeoJSON geometry") from None
    except RecursionError:
        raise bad(text, "the geometry is nested too deeply") from None
    known: dict[int, tuple[Geometry, bool]] = {}  # images of one raster have one geometry

    def test(thing: Any) -> bool:
        found = shape(thing)
        if found is None:
            return False
        if id(found) not in known:
            known[id(found)] = (found, intersect(found, area))
        return known[id(found)][1]

    return test


def bad(text: str, why: str) -> ServiceError:
    """A 400 for a filter that is not understood."""
    return ServiceError(f"Invalid filter '{text:.200}': {why:.200}.")
