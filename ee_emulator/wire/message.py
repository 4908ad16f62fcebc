"""HTTP messages: a request as read, a reply as it goes back, and the JSON of both."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ServiceError

JSON = "application/json; charset=UTF-8"
_DIGITS = 308
"""Digits of a whole number that a double can still hold, if not exactly."""


@dataclass(frozen=True)
class Request:
    """One HTTP request: decoded path, query parameters, lower-case header names."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """What goes back: status, content type, body."""

    status: int
    content_type: str
    body: bytes | memoryview


def refused(error: ServiceError) -> Reply:
    """The reply that stands for an error: its code, and its body as JSON."""
    return Reply(error.code, JSON, json.dumps(error.body()).encode())


def content_of(body: bytes) -> dict[str, Any]:
    """The JSON object of a request's body; a 400 for anything else, and for numbers that JSON does not have."""
    try:
        found = json.loads(body or b"{}", parse_constant=_finite, parse_float=_finite, parse_int=_whole)
    except (ValueError, RecursionError) as error:
        raise ServiceError(f"Invalid JSON payload received. {error!s:.200}") from error
    if not isinstance(found, dict):
        raise ServiceError("Invalid JSON payload received. Expected an object.")
    return found


def _finite(text: str) -> float:
    """A number that JSON can hold; ValueError for NaN, Infinity and what is as large."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"'{text:.40}' is not a JSON number.")
    return number


def _whole(text: str) -> int:
    if len(text) > _DIGITS:
        raise ValueError(f"'{text:.40}' has {len(text)} digits, more than a number can hold.")
    return int(text)


def answered(content: Any) -> Reply:
    """A good reply with this JSON."""
    return Reply(200, JSON, json.dumps(content, separators=(",", ":")).encode())
