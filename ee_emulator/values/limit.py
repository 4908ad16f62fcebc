"""How large values may grow: a small expression can describe a huge one, and the service then says so.

https://developers.google.com/earth-engine/guides/debugging#user-memory-limit-exceeded
"""

from __future__ import annotations

import time
from typing import Any

from ..errors import ServiceError

SECONDS = 300.0
"""What a computation may take (developers.google.com/earth-engine/guides/usage)."""
BANDS = 10_000
"""Bands that an image may have while it is computed."""
MADE_BANDS = 5000
"""Bands that an operation on all images, or on all neighbours, may make."""
IMAGES = 100_000
"""Images that a collection may have while it is computed."""
ELEMENTS = 2_000_000
"""Elements of other collections and of lists, and parts of a value that is described."""
_TEXT = 32 << 20
_BITS = 2048


def too_large() -> ServiceError:
    """What the service answers when a value does not fit its memory."""
    return ServiceError("User memory limit exceeded.")


def timed_out() -> ServiceError:
    """What the service answers when a computation takes too long."""
    return ServiceError("Computation timed out.")


def expired() -> ServiceError:
    """What a front end answers when the service behind it has not answered in time."""
    return ServiceError("Deadline expired before operation could complete.", 504)


def check_made(count: int, operation: str) -> None:
    """A 400 for an operation that would make an image of more bands than the service lets it."""
    if count > MADE_BANDS:
        raise ServiceError(f"{operation}: the image would have {count} bands; at most {MADE_BANDS} are allowed.")


def check(value: Any) -> None:
    """A 400 for a list, a text or an integer beyond the limits."""
    if isinstance(value, (list, tuple)):
        excess = len(value) > ELEMENTS
    elif isinstance(value, str):
        excess = len(value) > _TEXT
    else:
        excess = isinstance(value, int) and value.bit_length() > _BITS
    if excess:
        raise too_large()


class Deadline:
    """The end of a computation's time."""

    def __init__(self) -> None:
        self._end = time.monotonic() + SECONDS

    def check(self) -> None:
        """A 400 when it has passed."""
        if time.monotonic() > self._end:
            raise timed_out()
