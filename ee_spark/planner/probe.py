"""One tiny request that says which bands an image has and of what type they are."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from ee_spark.answers import npy, tiff
from ee_spark.client import Client
from ee_spark.errors import ServiceError

T = TypeVar("T")
TRIES = 5


@dataclass(frozen=True)
class Field:
    """A band of an answer: its name and numpy type."""

    name: str
    dtype: str


def patiently(ask: Callable[[], T]) -> T:
    """Return what ``ask`` returns, asking again where the service says that it is busy or away for the moment.

    Raises:
        ServiceError: as ``ask`` does, after five tries or at once where another try cannot help.
    """
    for attempt in range(TRIES):
        try:
            return ask()
        except ServiceError as error:
            if (
                error.kind not in ("transient", "unavailable", "overload", "damaged", "deadline")
                or attempt == TRIES - 1
            ):
                raise
            time.sleep(error.wait or 0.5 * 2**attempt)
    raise AssertionError("the last try returns or raises")


def probe(client: Client, path: str, body: bytes, form: str) -> list[Field]:
    """Send one request and return the bands of its answer.

    Raises:
        ServiceError: as the client does; ``damaged`` for an answer that is not of the format asked for.
    """
    answer = client.call("POST", path, body).body
    if form == "GEO_TIFF":
        with tiff(answer) as raster:
            names = [name or f"band_{index}" for index, name in enumerate(raster.descriptions, 1)]
            return [Field(name, dtype) for name, dtype in zip(names, raster.dtypes, strict=True)]
    block = npy(answer)
    return [Field(name, str(block.dtype[name])) for name in block.dtype.names or ()]
