"""Filters written as text: `CLOUD_COVER < 20 and not (PATH == 44 or NAME == "x")`.

Properties are compared with numbers, texts, or other properties. https://developers.google.com/earth-engine/apidocs/ee-filter
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ..errors import ServiceError
from ..values.element import Element, property_of
from ..values.filter import DECISIONS, Filter
from .text import NUMBER, QUOTED, Token, tokens, unquoted

_TOKEN = re.compile(
    rf"\s*(?:(?P<text>{QUOTED})|(?P<sign><=|>=|==|!=|<>|&&|\|\||[<>=!()])"
    rf"|(?P<number>{NUMBER})|(?P<name>[A-Za-z_][\w:.-]*))"
)
_COMPARISONS = {
    "<": "lessThan",
    "<=": "lessThanOrEquals",
    ">": "greaterThan",
    ">=": "greaterThanOrEquals",
    "=": "equals",
    "==": "equals",
    "!=": "notEquals",
    "<>": "notEquals",
}
_LONGEST = 10_000
Operand = Callable[[Element], Any]


def filter_of(text: str, operation: str) -> Filter:
    """The filter that a text spells; a 400 that begins with `operation` and shows what was not understood."""
    return _Parser(text, operation).filter()


class _Parser:
    def __init__(self, text: str, operation: str) -> None:
        self._text = text
        self._operation = operation
        if len(text) > _LONGEST:
            raise self._wrong(f"it has {len(text)} characters, at most {_LONGEST} are read")
        found = tokens(text, _TOKEN, lambda at: self._wrong(text[at : at + 20].strip()))
        self._tokens = [*found, Token("end", "", len(text))]

    def _wrong(self, why: str) -> ServiceError:
        return ServiceError(f"{self._operation}: cannot read the filter '{self._text:.100}': {why:.100}.")

    def _next(self, *words: str) -> bool:
        """Take the next token if it is one of some words or signs."""
        if self._tokens[0].kind in ("name", "sign") and self._tokens[0].text.lower() in words:
            self._tokens.pop(0)
            return True
        return False

    def filter(self) -> Filter:
        found = self._any()
        if self._tokens[0].kind != "end":
            raise self._wrong(f"unexpected '{self._tokens[0].text}'")
        return found

    def _any(self) -> Filter:
        parts = [self._all()]
        while self._next("or", "||"):
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else Filter(lambda a, b: any(part.test(a, b) for part in parts))

    def _all(self) -> Filter:
        parts = [self._one()]
        while self._next("and", "&&"):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else Filter(lambda a, b: all(part.test(a, b) for part in parts))

    def _one(self) -> Filter:
        if self._next("not", "!"):
            inner = self._one()
            return Filter(lambda a, b: not inner.test(a, b))
        if self._next("("):
            found = self._any()
            if not self._next(")"):
                raise self._wrong("a parenthesis is not closed")
            return found
        left = self._operand()
        kind, sign, _ = self._tokens.pop(0)
        if kind != "sign" or sign not in _COMPARISONS:
            raise self._wrong(f"expected a comparison, got '{sign}'" if sign else "it ends too early")
        right, decide = self._operand(), DECISIONS[_COMPARISONS[sign]]

        def test(element: Element, other: Element) -> bool:
            a, b = left(element), right(element)
            return a is not None and b is not None and decide(a, b)

        return Filter(test)

    def _operand(self) -> Operand:
        kind, text, _ = self._tokens.pop(0)
        if kind == "name":
            return lambda element: property_of(element, text)
        if kind == "number":
            number = float(text)
            return lambda element: number
        if kind != "text":
            raise self._wrong(f"expected a property, a number or a text, got '{text}'" if text else "it ends too early")
        literal = unquoted(text)
        return lambda element: literal
