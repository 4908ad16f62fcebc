"""What a lane measured, in a size that does not grow with its tiles and adds up over lanes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

RATIO = 1.02
"""Neighbouring latency classes differ by this factor: percentiles are exact to ± 1 %."""
HISTORY = 240
"""Most points of a window's history: when it is full, every other point goes."""
_LEAST = 1e-5


@dataclass(frozen=True)
class Traffic:
    """What a lane's requests came to: ``statuses`` counts answers by HTTP status, the rest is as in :class:`Telemetry`.

    It goes through JSON: ``dataclasses.asdict`` one way, :meth:`from_json` the other.
    """

    requests: int = 0
    retries: int = 0
    splits: int = 0
    statuses: Mapping[str, int] = field(default_factory=dict)
    latencies: Mapping[int, int] = field(default_factory=dict)
    busy_seconds: float = 0.0
    fetching_seconds: float = 0.0
    windows: tuple[tuple[float, float], ...] = ()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Traffic:
        """Return the traffic that JSON values tell of."""
        latencies = {int(index): count for index, count in data["latencies"].items()}
        windows = tuple((second, window) for second, window in data["windows"])
        found = cls(**{**data, "latencies": latencies, "windows": windows})
        numbers = [found.requests, found.retries, found.splits, found.busy_seconds, found.fetching_seconds]
        numbers += [*latencies.values(), *found.statuses.values(), *(number for pair in windows for number in pair)]
        if not all(isinstance(number, int | float) and 0 <= number < math.inf for number in numbers):
            raise ValueError("a figure of the traffic is not a number from 0 on")
        return found


@dataclass
class Telemetry:
    """Counters of one lane. ``latencies`` counts answers by class of latency, ``windows`` is (second, window)."""

    statuses: Counter[int] = field(default_factory=Counter)
    latencies: Counter[int] = field(default_factory=Counter)
    busy_seconds: float = 0.0
    first: float | None = None
    last: float = 0.0
    retries: int = 0
    splits: int = 0
    windows: list[tuple[float, float]] = field(default_factory=list)
    _every: float = 1.0

    def answered(self, status: int, sent: float, now: float) -> None:
        """Count one request, by its HTTP status (0: no answer) and the times it was sent and answered."""
        seconds = now - sent
        self.statuses[status] += 1
        self.latencies[round(math.log(max(seconds, _LEAST), RATIO))] += 1
        self.busy_seconds += seconds
        self.first = sent if self.first is None else min(self.first, sent)
        self.last = max(self.last, now)

    def looked(self, now: float, window: float) -> None:
        """Note the window at a time, if it is time for another point."""
        if self.first is None:
            return
        second = now - self.first
        if self.windows and second - self.windows[-1][0] < self._every:
            return
        self.windows.append((round(second, 1), round(window, 1)))
        if len(self.windows) > HISTORY:
            self.windows, self._every = self.windows[::2], self._every * 2

    @property
    def traffic(self) -> Traffic:
        """What :func:`total` adds up."""
        return Traffic(
            requests=self.statuses.total(),
            retries=self.retries,
            splits=self.splits,
            statuses={str(status): count for status, count in sorted(self.statuses.items())},
            latencies=dict(sorted(self.latencies.items())),
            busy_seconds=self.busy_seconds,
            fetching_seconds=self.last - self.first if self.first is not None else 0.0,
            windows=tuple(self.windows),
        )


def total(lanes: Sequence[Traffic], concurrent: int, bytes_in: int) -> dict[str, Any]:
    """Return the run's rates and latencies from its lanes' traffic.

    ``quota_use`` is requests per second over what ``concurrent`` requests in flight would reach at the mean latency.
    """
    latencies: Counter[int] = Counter()
    for lane in lanes:
        latencies.update(lane.latencies)
    seconds = max((lane.fetching_seconds for lane in lanes), default=0.0)
    busy = sum(lane.busy_seconds for lane in lanes)
    requests = latencies.total()
    points = percentiles(latencies, (0.5, 0.9, 0.95, 0.99, 1.0))
    return {
        "requests_per_second": round(requests / seconds, 3) if seconds else None,
        "bytes_per_second": round(bytes_in / seconds) if seconds else None,
        "quota_use": round(busy / (seconds * concurrent), 4) if seconds else None,
        "latency_mean": round(busy / requests, 4) if requests else None,
        **{
            f"latency_{name}": point if point is None else round(point, 4)
            for name, point in zip(("p50", "p90", "p95", "p99", "max"), points, strict=True)
        },
        "windows": [[list(point) for point in lane.windows] for lane in lanes],
    }


def percentiles(latencies: Mapping[int, int], points: Iterable[float]) -> list[float | None]:
    """Return the latency below which each share of the answers came, in seconds; None where there are none."""
    order, count = sorted(latencies.items()), sum(latencies.values())
    found: list[float | None] = []
    for point in points:
        needed, value = point * count, None
        for index, number in order:
            needed -= number
            value = RATIO**index
            if needed <= 1e-9:
                break
        found.append(value)
    return found
