"""The line of a lane: what is to be sent, what is sent later, and what has come, passed between threads in bounds.

Everybody waits on conditions of one lock, woken by the event that they wait for; one clock thread knows the time.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from typing import Any, Protocol

from ee_spark.fetch.piece import Answer, Ask, Piece

TICK_SECONDS = 0.5
JOIN_SECONDS = 12.0
"""How long the end of a stream waits for threads that hang in somebody else's call."""


class Engine(Protocol):
    """What a line asks its engine: to begin asks, to send pieces, to look at the time, to end what is left."""

    def begin(self, asks: tuple[Ask, ...]) -> list[Piece]:
        """Return the pieces of new asks. The line's lock is held."""

    def send(self, piece: Piece) -> None:
        """Send a piece, and put or give what comes of it."""

    def look(self, now: float) -> None:
        """Do what is due at a time. The line's lock is held."""

    def leave(self) -> list[Answer]:
        """Return answers for all that was begun and not answered."""


class Line:
    """Passes pieces to threads that send them, and answers to the one that consumes them.

    No more than twice ``limit`` answered or unanswered requests are held; ``open`` is how many tasks are unanswered.
    """

    def __init__(self, engine: Engine, limit: int) -> None:
        self.lock = threading.RLock()
        self.stop_event = threading.Event()
        self.stopped_at: float | None = None
        self.open = 0
        self._engine = engine
        self._threads = limit + 1 + limit // 8  # some decode while the window is full
        self._most = 2 * limit
        self._ahead = limit
        self._work, self._came, self._room, self._clock = (threading.Condition(self.lock) for _ in range(4))
        self._fresh: deque[tuple[Ask, ...]] = deque()
        self._ready: deque[Piece] = deque()
        self._due: list[tuple[float, int, Piece]] = []
        self._done: deque[list[Any]] = deque()
        self._number = itertools.count()
        self._busy = 0
        self._fed = self._ended = False
        self._failure: BaseException | None = None

    def put(self, pieces: Iterable[Piece], at: float | None = None) -> None:
        """Have pieces sent, before any that were not begun, or ``at`` a time (``time.monotonic``)."""
        with self.lock:
            for piece in pieces:
                if at is None:
                    self._ready.append(piece)
                    self._work.notify()
                else:
                    heapq.heappush(self._due, (at, next(self._number), piece))
                    self._clock.notify()

    def give(self, answers: list[Answer]) -> None:
        """Hand on answers that came of one request."""
        with self.lock:
            self._done.append(answers)
            self.open -= len(answers)
            self._came.notify()
            if self._fed and not self.open:
                self._work.notify_all()

    def stop(self) -> None:
        """Begin nothing more, and wake everybody who waits."""
        with self.lock:
            if self.stopped_at is None:
                self.stopped_at = time.monotonic()
            self.stop_event.set()
            for condition in (self._work, self._came, self._room, self._clock):
                condition.notify_all()

    def stream(self, source: Iterable[Any]) -> Generator[Any, None, None]:
        """Yield an answer for each :class:`Ask` of ``source``, alone or in a tuple, and all else of it in its place.

        ``source`` is read, in a thread of its own, no further ahead than there are places to send from. Whatever it
        raises is raised here.
        """
        threads = [
            threading.Thread(target=target, args=arguments, daemon=True, name=f"fetch-{name}")
            for name, target, arguments in (
                ("feed", self._guarded, (self._feed, source)),
                ("clock", self._guarded, (self._keep_time,)),
                *(("send", self._guarded, (self._send,)) for _ in range(self._threads)),
            )
        ]
        for thread in threads:
            thread.start()
        try:
            while (batch := self._next()) is not None:
                yield from batch
            yield from self._engine.leave()
            yield from (Answer(ask) for asks in self._fresh for ask in asks)
        finally:
            self.stop()
            with self.lock:
                self._ended = True
                self._clock.notify_all()
            until = time.monotonic() + JOIN_SECONDS
            for thread in threads:
                thread.join(max(0.0, until - time.monotonic()))

    def _next(self) -> list[Any] | None:
        with self.lock:
            while not self._done and not self._failure:
                left = self.open or self._fresh  # what nobody has begun yet is not open
                if self._fed and not self._busy and (self.stop_event.is_set() or not left):
                    return None
                self._came.wait()
            if self._failure:
                raise self._failure
            self._room.notify()
            self._work.notify()
            return self._done.popleft()

    def _guarded(self, target: Callable[..., None], *arguments: Any) -> None:
        try:
            target(*arguments)
        except BaseException as error:  # raised again where the stream is consumed
            with self.lock:
                self._failure = self._failure or error
                self._came.notify_all()

    def _feed(self, source: Iterable[Any]) -> None:
        try:
            for item in source:
                asks = (item,) if isinstance(item, Ask) else item if isinstance(item, tuple) else None
                with self.lock:
                    waiting: deque[Any] = self._done if asks is None else self._fresh
                    most = self._most if asks is None else self._ahead
                    while len(waiting) >= most and not self.stop_event.is_set():
                        self._room.wait()
                    if asks is not None and not self.stop_event.is_set():
                        self._fresh.append(asks)
                        self._work.notify()
                    else:
                        self._done.append([item] if asks is None else [Answer(ask) for ask in asks])
                        self._came.notify()
        finally:
            with self.lock:
                self._fed = True
                self._work.notify_all()
                self._came.notify_all()

    def _send(self) -> None:
        while (piece := self._take()) is not None:
            try:
                self._engine.send(piece)
            finally:
                with self.lock:
                    self._busy -= 1
                    if self._fed:
                        self._came.notify()

    def _take(self) -> Piece | None:
        """Return the next piece to send; None when there is nothing more to come."""
        with self.lock:
            while not self.stop_event.is_set():
                if self._busy + len(self._done) < self._most:
                    if not self._ready and self._fresh:
                        pieces = self._engine.begin(self._fresh.popleft())
                        self._room.notify()
                        self._ready.extend(pieces)
                        self._work.notify(len(pieces) - 1)
                    if self._ready:
                        self._busy += 1
                        return self._ready.popleft()
                if self._fed and not self._fresh and not self.open:
                    break
                self._work.wait()
            self._came.notify()
            return None

    def _keep_time(self) -> None:
        looked = 0.0
        with self.lock:
            while not self._ended:
                now = time.monotonic()
                while self._due and self._due[0][0] <= now:
                    self._ready.append(heapq.heappop(self._due)[2])
                    self._work.notify()
                if now - looked >= TICK_SECONDS:
                    looked = now
                    self._engine.look(now)
                wake = min(looked + TICK_SECONDS, self._due[0][0] if self._due else now + TICK_SECONDS)
                self._clock.wait(max(0.0, wake - now))
