"""A lane's share of the project's quota: a window of requests in flight and a pace of requests per second.

The window adapts by additive increase and multiplicative decrease (Chiu and Jain 1989,
https://doi.org/10.1016/0169-7552(89)90019-6): a twentieth of the limit more for each window's worth of good answers,
half on a refusal. A project in restricted mode gets half of its limit at most
(https://developers.google.com/earth-engine/guides/noncommercial_tiers).
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

BURST_SECONDS = 0.25
"""How far a lane that could not send in time may catch up with its pace."""
SLACK_SECONDS = 0.1
"""How much closer together than sent requests may arrive at the service."""
STEPS = 20
"""Windows' worth of good answers that lead from nothing to the whole limit."""


@dataclass
class Quota:
    """Never more than ``limit`` requests in flight, nor more than 60 × ``per_second`` started in any minute."""

    limit: int
    per_second: float
    window: float = 0.0
    in_flight: int = 0
    peak: int = 0
    refusals: int = 0
    restricted: bool = False
    _next: float = 0.0
    _halved: float = 0.0
    _changed: threading.Condition = field(default_factory=threading.Condition, repr=False)

    def __post_init__(self) -> None:
        self.window = float(min(self.window or self.limit, self.limit))
        self._spacing = (1 + (BURST_SECONDS + SLACK_SECONDS) / 60) / self.per_second

    @property
    def places(self) -> int:
        """How many requests may be in flight now."""
        return max(1, int(self.window))

    def acquire(self, stop: threading.Event) -> bool:
        """Wait for a place in the window, then for the pace; False, and no place, if ``stop`` is set meanwhile.

        Whoever sets ``stop`` calls :meth:`wake`.
        """
        with self._changed:
            while self.in_flight >= self.places and not stop.is_set():
                self._changed.wait()
            if stop.is_set():
                return False
            self.in_flight += 1
            self.peak = max(self.peak, self.in_flight)
            now = time.monotonic()
            start = max(self._next, now - BURST_SECONDS)
            self._next = start + self._spacing
        if start > now and stop.wait(start - now):
            with self._changed:
                self.in_flight -= 1
            return False
        return True

    def release(self, started: float, *, refused: bool = False, restricted: bool | None = None) -> None:
        """Give a place back; ``started`` is when its request was sent (``time.monotonic``), ``refused`` for overload.

        Refusals of requests that were sent before the window was last halved say nothing new. ``restricted`` is what
        the answer said of the project's mode, None if nothing.
        """
        with self._changed:
            before = self.places
            self.in_flight -= 1
            if restricted is not None:
                self.restricted = restricted
            most = max(1.0, self.limit / 2 if self.restricted else float(self.limit))
            if refused:
                self.refusals += 1
                if started > self._halved:
                    self._halved = time.monotonic()
                    self.window = max(1.0, self.window / 2)
            else:
                self.window += max(1.0, self.limit / STEPS) / max(1.0, self.window)
            self.window = min(most, self.window)
            self._changed.notify(max(1, 1 + self.places - before))

    def pause(self, seconds: float) -> None:
        """Start no request for ``seconds``: what a refusal's ``Retry-After`` asks for."""
        with self._changed:
            self._next = max(self._next, time.monotonic() + seconds)

    def wake(self) -> None:
        """Let everybody who waits look at their ``stop`` event."""
        with self._changed:
            self._changed.notify_all()


def share(total: int, lanes: int, lane: int) -> int:
    """Return lane ``lane``'s part of ``total``: equal parts, the first lanes take the rest."""
    return total // lanes + (lane < total % lanes)
