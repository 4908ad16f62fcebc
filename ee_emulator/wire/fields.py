"""Partial responses: the part of an answer that the query parameter `fields` names.

https://cloud.google.com/apis/docs/system-parameters and https://developers.google.com/drive/api/guides/performance#partial:
names joined by commas, `a/b` or `a(b,c)` for what is within, `*` for all. Lists are looked through.
"""

from __future__ import annotations

import re
from typing import Any

from ..errors import ServiceError

Mask = dict[str, "Mask | None"]
"""What of an object is wanted, by name; None for the whole of it."""

_TOKEN = re.compile(r"[\w.-]+|\*|[(),/]")


def parse(text: str) -> Mask:
    """The mask that a text spells; a 400 for anything else."""
    waiting = _TOKEN.findall(text)
    if "".join(waiting) != text or not waiting:
        raise _bad(text)
    found = _selection(waiting, text)
    if waiting:
        raise _bad(text)
    return found


def picked(content: Any, mask: Mask) -> Any:
    """What a mask leaves of an answer."""
    if isinstance(content, list):
        return [picked(part, mask) for part in content]
    if not isinstance(content, dict):
        return content
    if "*" in mask:
        inner = mask["*"]
        return content if inner is None else {name: picked(part, inner) for name, part in content.items()}
    return {
        name: content[name] if inner is None else picked(content[name], inner)
        for name, inner in mask.items()
        if name in content
    }


def _selection(waiting: list[str], text: str) -> Mask:
    """Names up to a closing parenthesis or the end."""
    found: Mask = {}
    while True:
        name, inner = _one(waiting, text)
        known = found.get(name, {})
        found[name] = None if inner is None or known is None else {**known, **inner}
        if not waiting or waiting[0] != ",":
            return found
        waiting.pop(0)


def _one(waiting: list[str], text: str) -> tuple[str, Mask | None]:
    if not waiting or waiting[0] in "(),/":
        raise _bad(text)
    name = waiting.pop(0)
    if waiting and waiting[0] == "/":
        waiting.pop(0)
        inner, below = _one(waiting, text)
        return name, {inner: below}
    if waiting and waiting[0] == "(":
        waiting.pop(0)
        found = _selection(waiting, text)
        if not waiting or waiting.pop(0) != ")":
            raise _bad(text)
        return name, found
    return name, None


def _bad(text: str) -> ServiceError:
    return ServiceError(f"Invalid field selection {text:.100}")
