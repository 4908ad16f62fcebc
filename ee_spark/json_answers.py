"""Answers that are JSON: bounded in what they unfold to, and their pages in number."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

__all__ = ["pages", "parsed", "without_collection"]

MAX_VALUES = 4_000_000
"""Values of one answer, each of which takes some 80 bytes: coordinates alone fill 32 MiB with fewer."""
MAX_PAGES = 10_000
"""Pages of one list: ten million objects of a store, or images."""
MAX_EMPTY = 1_000
"""Pages without anything, one after another: a service may filter what a page holds (https://google.aip.dev/158)."""
LONGEST_TOKEN = 8_192
"""Characters of a page's token, which goes into the next URL."""


def parsed(data: bytes, **hooks: Any) -> Any:
    """Return what an answer says; ``hooks`` are those of :func:`json.loads`.

    Raises:
        ValueError, RecursionError: for what is not JSON, or has so many values that it is made to fill memory.
    """
    if data.count(b"{") + data.count(b"[") + data.count(b",") > MAX_VALUES:
        raise ValueError(f"it has more than {MAX_VALUES:,} values")
    with without_collection():
        return json.loads(data, **hooks)


@contextmanager
def without_collection() -> Iterator[None]:
    """Hold the collector of circles: JSON has none, and looking for some in ever more lists takes most of the time."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def pages(ask: Callable[[str | None], Mapping[str, Any]], key: str) -> Iterator[Sequence[Any]]:
    """Yield the list ``key`` of each page; ``ask`` returns the page of a token, the first for None.

    Raises:
        ValueError: for a list without an end: the same page again, page after page of nothing, or too many.
    """
    seen: set[str] = set()
    token: str | None = None
    empty = 0
    for _ in range(MAX_PAGES):
        page = ask(token)
        items = page.get(key, ())
        yield items
        token = page.get("nextPageToken")
        if not token:
            return
        if not isinstance(token, str) or len(token) > LONGEST_TOKEN:
            raise ValueError("the token of its next page is not a valid token")
        if token in seen:
            raise ValueError("a list without an end: the same page twice")
        seen.add(token)
        empty = 0 if items else empty + 1
        if empty >= MAX_EMPTY:
            raise ValueError(f"a list without an end: {empty:,} pages of nothing")
    raise ValueError(f"a list without an end: more than {MAX_PAGES:,} pages")
