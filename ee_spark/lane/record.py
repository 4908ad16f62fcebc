"""What a lane says of itself when it ends."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ee_spark.fetch.telemetry import Traffic
from ee_spark.status import Emptiness


@dataclass(frozen=True)
class LaneRecord:
    """Counts over a lane's planned pairs, what its requests came to, and why it stopped, if it did.

    ``left`` are the indices of chunks that it left to the next round; ``unclosed`` of those that it did not close, with
    what their pairs had become. ``empties`` counts the empty tiles that it committed by their reason, ``errors``
    counts messages. ``unnoted``: it could not be left among the run's notes.
    """

    lane: int
    ok: int = 0
    empty: int = 0
    failed: int = 0
    skipped: int = 0
    missing: int = 0
    left: tuple[int, ...] = ()
    unclosed: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    traffic: Traffic = field(default_factory=Traffic)
    rejected: int = 0
    bytes_in: int = 0
    parts: int = 0
    peak_in_flight: int = 0
    restricted: bool = False
    errors: Mapping[str, int] = field(default_factory=dict)
    empties: Mapping[str, int] = field(default_factory=dict)
    stopped: str | None = None
    stop_kind: str | None = None
    seconds: float = 0.0
    unnoted: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LaneRecord:
        """Return what :meth:`to_json` was called on, after a way through JSON.

        Raises:
            ValueError, TypeError, KeyError, AttributeError: if it is something else.
        """
        found = cls(
            **{
                **data,
                "left": tuple(data["left"]),
                "unclosed": {int(index): dict(counts) for index, counts in data["unclosed"].items()},
                "traffic": Traffic.from_json(data["traffic"]),
            }
        )
        counts = [getattr(found, name) for name in _COUNTS]
        counts += [
            *found.left,
            *found.errors.values(),
            *found.empties.values(),
            *(n for of in found.unclosed.values() for n in of.values()),
        ]
        texts = [found.stopped or "", found.stop_kind or "", *found.errors]
        if not set(found.empties) <= set(Emptiness):
            raise ValueError("a reason that no empty tile has")
        if not all(type(count) is int and count >= 0 for count in counts):
            raise ValueError("a count is not a whole number from 0 on")
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("a message is not a text")
        if not isinstance(found.seconds, int | float) or not math.isfinite(found.seconds):
            raise ValueError("its seconds are not a number")
        return found


_COUNTS = (
    "lane", "ok", "empty", "failed", "skipped", "missing", "rejected", "bytes_in", "parts", "peak_in_flight",
)  # fmt: skip
