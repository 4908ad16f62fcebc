"""The line of a lane: what is to be sent, what is sent later, and what has come, passed between threads in bounds.

Everybody waits on conditions of one lock, woken by the event that they wait for; one clock thread knows the time.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, Generic, Protocol

from ee_spark.fetch.request import Answer, HttpRequest, M, Mark, Pack, R, TileRequest

TICK_SECONDS = 0.5
JOIN_SECONDS = 12.0
"""How long the end of a stream waits for threads that hang in somebody else's call."""


class Engine(Protocol[R]):
    """What a line has its engine do: begin tile requests, send HTTP requests, look at the time, end what is left."""

    def begin(self, wanted: tuple[TileRequest[R], ...]) -> list[HttpRequest[R]]:
        """Return the HTTP requests of new tile requests. The line's lock is held."""

    def send(self, request: HttpRequest[R]) -> None:
        """Send a request, and put or give what comes of it."""

    def look(self, now: float) -> None:
        """Do what is due at a time. The line's lock is held."""

    def leave(self) -> list[Answer[R]]:
        """Return answers for all that was begun and not answered."""


class Line(Generic[R, M]):
    """Passes requests to threads that send them, and answers to the one that consumes them.

    No more than twice ``limit`` answered or unanswered requests are held; ``open`` is how many tasks are unanswered.
    """

    def __init__(self, engine: Engine[R], limit: int) -> None:
        self.lock = threading.RLock()
        self.stop_event = threading.Event()
        self.stopped_at: float | None = None
        self.open = 0
        self._engine = engine
        self._threads = limit + 1 + limit // 8  # some decode while the window is full
        self._most = 2 * limit
        self._ahead = limit
        self._work, self._came, self._room, self._clock = (threading.Condition(self.lock) for _ in range(4))
        self._fresh: deque[tuple[TileRequest[R], ...]] = deque()
        self._ready: deque[HttpRequest[R]] = deque()
        self._due: list[tuple[float, int, HttpRequest[R]]] = []
        self._done: deque[Sequence[Answer[R] | Mark[M]]] = deque()
        self._number = itertools.count()
        self._busy = 0
        self._fed = self._ended = False
        self._failure: BaseException | None = None

    def put(self, requests: Iterable[HttpRequest[R]], at: float | None = None) -> None:
        """Have requests sent, before any that were not begun, or ``at`` a time (``time.monotonic``)."""
        with self.lock:
            for request in requests:
                if at is None:
                    self._ready.append(request)
                    self._work.notify()
                else:
                    heapq.heappush(self._due, (at, next(self._number), request))
                    self._clock.notify()

    def give(self, answers: list[Answer[R]]) -> None:
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

    def stream(
        self, source: Iterable[TileRequest[R] | Pack[R] | Mark[M]]
    ) -> Generator[Answer[R] | Mark[M], None, None]:
        """Yield an answer for each tile request of ``source``, alone or in a pack, and each mark in its place.

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
            yield from (Answer(one) for wanted in self._fresh for one in wanted)
        finally:
            self.stop()
            with self.lock:
                self._ended = True
                self._clock.notify_all()
            until = time.monotonic() + JOIN_SECONDS
            for thread in threads:
                thread.join(max(0.0, until - time.monotonic()))

    def _next(self) -> Sequence[Answer[R] | Mark[M]] | None:
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

    def _feed(self, source: Iterable[TileRequest[R] | Pack[R] | Mark[M]]) -> None:
        try:
            for item in source:
                with self.lock:
                    if isinstance(item, Mark):
                        self._hand_through(item)
                    else:
                        self._ask_for(item.wanted if isinstance(item, Pack) else (item,))
        finally:
            with self.lock:
                self._fed = True
                self._work.notify_all()
                self._came.notify_all()

    def _hand_through(self, mark: Mark[M]) -> None:
        while len(self._done) >= self._most and not self.stop_event.is_set():
            self._room.wait()
        self._done.append([mark])
        self._came.notify()

    def _ask_for(self, wanted: tuple[TileRequest[R], ...]) -> None:
        while len(self._fresh) >= self._ahead and not self.stop_event.is_set():
            self._room.wait()
        if self.stop_event.is_set():
            self._done.append([Answer(one) for one in wanted])
            self._came.notify()
        else:
            self._fresh.append(wanted)
            self._work.notify()

    def _send(self) -> None:
        while (request := self._take()) is not None:
            try:
                self._engine.send(request)
            finally:
                with self.lock:
                    self._busy -= 1
                    if self._fed:
                        self._came.notify()

    def _take(self) -> HttpRequest[R] | None:
        """Return the next request to send; None when there is nothing more to come."""
        with self.lock:
            while not self.stop_event.is_set():
                if self._busy + len(self._done) < self._most:
                    if not self._ready and self._fresh:
                        requests = self._engine.begin(self._fresh.popleft())
                        self._room.notify()
                        self._ready.extend(requests)
                        self._work.notify(len(requests) - 1)
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
