"""Text as arguments: tokens of the small grammars, and regular expressions with `$1` for a group."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from ..errors import ServiceError

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
    """The tokens of a text; raises the error that `wrong` makes of the first position that cannot be read."""
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


def pattern_of(regex: str, operation: str, flags: str = "") -> re.Pattern[str]:
    """The compiled pattern; a 400 for one that cannot be read. The flag `i` ignores case."""
    try:
        return re.compile(regex, re.IGNORECASE if "i" in flags else 0)
    except re.error as error:
        raise ServiceError(f"{operation}: Bad pattern '{regex:.60}': {error}.") from error


def replaced(regex: str, replacement: str, text: str, operation: str, *, every: bool, flags: str = "") -> str:
    """The text with the first match replaced, or every match."""
    template = re.sub(r"\$(\d)", r"\\\1", replacement.replace("\\", "\\\\"))
    try:
        return pattern_of(regex, operation, flags).sub(template, text, count=0 if every else 1)
    except (re.error, IndexError) as error:
        raise ServiceError(f"{operation}: Bad pattern '{regex:.60}': {error}.") from error


def picked(names: Iterable[str], selector: str, operation: str) -> list[str]:
    """The name that a selector is, else the names that match it as a whole; none where nothing does."""
    listed = list(names)
    if selector in listed:
        return [selector]
    pattern = pattern_of(selector, operation)
    return [name for name in listed if pattern.fullmatch(name)]
