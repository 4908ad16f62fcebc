"""Texts cut into tokens: what the grammars of expressions, filters and listings share."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

QUOTED = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
"""A text in single or double quotes, a backslash before what stands for itself."""
NUMBER = r"-?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?(?![\w:.-])"
"""A number in a filter, which is not the beginning of a date or a name."""


class Token(NamedTuple):
    """A part of a text: the name of the group that matched, what it matched, and where."""

    kind: str
    text: str
    at: int


def tokens(text: str, pattern: re.Pattern[str], wrong: Callable[[int], Exception]) -> list[Token]:
    """The tokens of a text; raises what `wrong` makes of the first position at which there is none."""
    found: list[Token] = []
    at, end = 0, len(text.rstrip())
    while at < end:
        match = pattern.match(text, at)
        if not match or match.lastgroup is None:
            raise wrong(at)
        found.append(Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)))
        at = match.end()
    return found


def unquoted(text: str) -> str:
    """What a quoted text spells."""
    return re.sub(r"\\(.)", r"\1", text[1:-1])
