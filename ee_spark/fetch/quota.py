"""A lane's share of the project's quota: a window of requests in flight and a pace of requests a second.

The window adapts by additive increase and multiplicative decrease (Chiu and Jain 1989,
https://doi.org/10.1016/0169-7552(89)90019-6): one more for each window's worth of good answers, half on a refusal.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

BURST_SECONDS = 0.25
"""How far a lane that could not send in time may catch up with its pace."""


@dataclass
class Quota:
    """Never more than ``limit`` requests in flight, nor more than ``per_second`` started in any second on average."""

    limit: int
    per_second: float
    window: float = 0.0
    in_flight: int = 0
    peak: int = 0
    refusals: int = 0
    _next: float = 0.0
    _halved: float = 0.0
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        self.window = float(min(self.window or self.limit, self.limit))

    def acquire(self, stop: threading.Event) -> bool:
        """Wait for a place in the window and in the pace; False if ``stop`` is set meanwhile."""
        with self._changed:
            while not stop.is_set():
                now = time.monotonic()
                if self.in_flight < max(1, int(self.window)):
                    due = max(self._next, now - BURST_SECONDS)
                    if due <= now:
                        self._next = due + 1 / self.per_second
                        self.in_flight += 1
                        self.peak = max(self.peak, self.in_flight)
                        return True
                    self._changed.wait(min(due - now, 0.5))
                else:
                    self._changed.wait(0.5)
        return False

    def release(self, started: float, *, refused: bool) -> None:
        """Give a place back; ``started`` is when its request was sent (``time.monotonic``), ``refused`` for overload.

        Refusals of requests that were sent before the window was last halved say nothing new.
        """
        with self._changed:
            self.in_flight -= 1
            if refused:
                self.refusals += 1
                if started > self._halved:
                    self._halved = time.monotonic()
                    self.window = max(1.0, self.window / 2)
            else:
                self.window = min(float(self.limit), self.window + 1 / max(1.0, self.window))
            self._changed.notify_all()


def share(total: int, lanes: int, lane: int) -> int:
    """Return lane ``lane``'s part of ``total``: equal parts, the first lanes take the rest."""
    return total // lanes + (lane < total % lanes)
