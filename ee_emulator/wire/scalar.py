"""Numbers of a request as proto3 reads them from JSON: as numbers or as text, whole ones with a point or without.

https://protobuf.dev/programming-guides/json/
"""

from __future__ import annotations

import math
import re
from typing import Any

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")
_MOST = 2**31 - 1


def number(value: Any) -> float | None:
    """A finite number; None for what is none."""
    if isinstance(value, str) and len(value) <= 40 and _NUMBER.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def whole(value: Any) -> int | None:
    """A whole number of 32 bits, as `4`, `4.0` or `"4"`; None for what is none."""
    found = number(value)
    return int(found) if found is not None and found == int(found) and abs(found) <= _MOST else None
