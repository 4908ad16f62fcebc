"""One tiny request that says which bands an image has and of what type they are."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from ee_spark.answers import npy, tiff
from ee_spark.client import Client
from ee_spark.errors import ServiceError

T = TypeVar("T")
TRIES = 5
PATIENCE = 150.0
"""Seconds for which a used-up quota is waited for: it is one of requests per minute."""
FIRST_WAIT, LONGEST_WAIT = 0.5, 10.0
"""Seconds before an answer is asked for again: twice as long each time, where the service does not say how long."""


@dataclass(frozen=True)
class Field:
    """A band of an answer: its name and numpy type."""

    name: str
    dtype: str


def patiently(ask: Callable[[], T]) -> T:
    """Return what ``ask`` returns, asking again where the service says that it is busy or away for the moment.

    A quota that is used up is so for a minute: it is waited for, or as long as ``Retry-After`` says, :data:`PATIENCE`
    seconds at most.

    Raises:
        ServiceError: as ``ask`` does, after that time, after five tries where the service is away, or at once where
            another try cannot help.
    """
    failures = refusals = 0
    until = math.inf
    while True:
        try:
            return ask()
        except ServiceError as error:
            if error.kind == "overload":
                until = min(until, time.monotonic() + PATIENCE)
                wait = error.wait or min(LONGEST_WAIT, FIRST_WAIT * 2**refusals)
                refusals += 1
                if time.monotonic() + wait > until:
                    raise
            else:
                wait = error.wait or FIRST_WAIT * 2**failures
                failures += 1
                if error.kind not in ("transient", "unavailable", "damaged", "deadline") or failures == TRIES:
                    raise
            time.sleep(wait)


class Probes:
    """The probes of one plan; ``seconds`` are how long each answer took, in the order in which they came."""

    def __init__(self, client: Client, form: str) -> None:
        self.client, self._form = client, form
        self.seconds: list[float] = []

    @property
    def latency(self) -> float | None:
        """The median of what the probes took, in seconds; None where none was sent.

        Of two the shorter one: the first may have had to connect.
        """
        return statistics.median_low(self.seconds) if self.seconds else None

    def image(self, call: Callable[[int], tuple[str, bytes]], version: int) -> list[Field]:
        """Return the bands of one image at a version; ``call`` gives the path and body of that request.

        Raises:
            ServiceError: as :func:`patiently` does.
        """
        path, body = call(version)

        def timed() -> list[Field]:
            begun = time.monotonic()
            found = probe(self.client, path, body, self._form)
            self.seconds.append(time.monotonic() - begun)
            return found

        return patiently(timed)


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
