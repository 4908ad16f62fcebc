"""Regular expressions as arguments: names that match them, and replacements with `$1` for a group."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..errors import ServiceError


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
