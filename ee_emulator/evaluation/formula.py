"""The grammar of arithmetic expressions: text in, a tree of operations out.

Operators by rising precedence, as in Java: ?: || && | ^ & (== !=) (< <= > >=) (<< >>) (+ -) (* / %) (- + ! ~) **
https://developers.google.com/earth-engine/guides/image_math#expressions
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ..errors import ServiceError
from .text import QUOTED, Token, tokens, unquoted

_TOKEN = re.compile(
    rf"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_$][\w$]*)|(?P<text>{QUOTED})"
    r"|(?P<sign>\*\*|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%<>!~&|^?:()\[\],.=]))"
)
_LEVELS: tuple[dict[str, str], ...] = (
    {"||": "or"},
    {"&&": "and"},
    {"|": "bitwiseOr"},
    {"^": "bitwiseXor"},
    {"&": "bitwiseAnd"},
    {"==": "eq", "!=": "neq"},
    {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"},
    {"<<": "leftShift", ">>": "rightShift"},
    {"+": "add", "-": "subtract"},
    {"*": "multiply", "/": "divide", "%": "mod"},
)
"""Binary operators with the algorithms they stand for, the loosest first."""
_LONGEST = 100_000


@dataclass(frozen=True)
class Node:
    """`kind` is number, name, call (of `value` on `parts`), bands (`parts[0]` with the selectors `value`) or choice."""

    kind: str
    value: Any = None
    parts: tuple[Node, ...] = ()


@dataclass(frozen=True)
class Formula:
    """An expression's tree, with the name it gives its result (`x = …`), if any."""

    root: Node
    name: str | None = None


def parse(text: str, operation: str) -> Formula:
    """The formula that a text spells; a 400 that begins with `operation` and says where it cannot be read."""
    return _Parser(text, operation).formula()


class _Parser:
    def __init__(self, text: str, operation: str) -> None:
        if len(text) > _LONGEST:
            raise ServiceError(f"{operation}: the expression has {len(text)} characters; at most {_LONGEST} are read.")
        self._text = text
        self._operation = operation
        self._tokens = [*tokens(text, _TOKEN, self._wrong), Token("end", "", len(text.rstrip()))]
        self._at = 0

    def _wrong(self, at: int) -> ServiceError:
        at += len(self._text[at:]) - len(self._text[at:].lstrip())
        near = self._text[at : at + 20].strip() or "its end"
        return ServiceError(f"{self._operation}: Unable to parse the expression at character {at}, near '{near}'.")

    def _peek(self) -> str:
        kind, text, _ = self._tokens[self._at]
        return text if kind == "sign" else ""

    def _take(self, kind: str, text: str | None = None) -> str:
        found_kind, found, at = self._tokens[self._at]
        if found_kind != kind or (text is not None and found != text):
            raise self._wrong(at)
        self._at += 1
        return found

    def formula(self) -> Formula:
        name = None
        if self._tokens[0][0] == "name" and self._tokens[1][:2] == ("sign", "="):
            name = self._take("name")
            self._take("sign", "=")
        root = self._choice()
        self._take("end")
        return Formula(root, name)

    def _choice(self) -> Node:
        test = self._binary(0)
        if self._peek() != "?":
            return test
        self._take("sign", "?")
        chosen = self._choice()
        self._take("sign", ":")
        return Node("choice", None, (test, chosen, self._choice()))

    def _binary(self, level: int) -> Node:
        if level == len(_LEVELS):
            return self._unary()
        left = self._binary(level + 1)
        while self._peek() in _LEVELS[level]:
            operation = _LEVELS[level][self._take("sign")]
            left = Node("call", operation, (left, self._binary(level + 1)))
        return left

    def _unary(self) -> Node:
        sign = self._peek()
        if sign not in ("-", "+", "!", "~") or not sign:
            return self._power()
        self._take("sign")
        inner = self._unary()
        if sign == "+":
            return inner
        if sign == "-":
            if inner.kind == "number":
                return Node("number", -inner.value)
            return Node("call", "multiply", (inner, Node("number", -1)))
        return Node("call", "not" if sign == "!" else "bitwiseNot", (inner,))

    def _power(self) -> Node:
        base = self._postfix()
        if self._peek() != "**":
            return base
        self._take("sign")
        return Node("call", "pow", (base, self._unary()))

    def _postfix(self) -> Node:
        node = self._primary()
        while self._peek() in (".", "[") and self._peek():
            if self._take("sign") == ".":
                node = Node("bands", (self._take("name"),), (node,))
            else:
                node = Node("bands", self._selectors("]"), (node,))
        return node

    def _primary(self) -> Node:
        kind, text, at = self._tokens[self._at]
        if kind == "number":
            self._at += 1
            return Node("number", float(text) if re.search(r"[.eE]", text) else int(text))
        if kind == "name":
            self._at += 1
            return self._named(text)
        if self._peek() != "(":
            raise self._wrong(at)
        self._take("sign", "(")
        inner = self._choice()
        self._take("sign", ")")
        return inner

    def _named(self, name: str) -> Node:
        if name == "Math" and self._peek() == ".":
            self._take("sign", ".")
            name = self._take("name")
        if self._peek() != "(":
            return Node("name", name)
        self._take("sign", "(")
        if name == "b":
            return Node("bands", self._selectors(")"), (Node("name", None),))
        parts: list[Node] = []
        while self._peek() != ")":
            if parts:
                self._take("sign", ",")
            parts.append(self._choice())
        self._take("sign", ")")
        return Node("call", name, tuple(parts))

    def _selectors(self, close: str) -> tuple[Any, ...]:
        """Band names and numbers up to the closing sign."""
        found: list[Any] = []
        while self._peek() != close:
            if found:
                self._take("sign", ",")
            kind, text, at = self._tokens[self._at]
            if kind == "text":
                found.append(unquoted(text))
            elif kind == "number" and text.isdigit():
                found.append(int(text))
            elif kind == "name":
                found.append(text)
            else:
                raise self._wrong(at)
            self._at += 1
        self._take("sign", close)
        return tuple(found)
