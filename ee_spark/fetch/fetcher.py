"""The fetch engine of a lane: threads that send requests, and one place that decides what each failure means.

A tile is a task of one or more pieces. A piece that fails waits its turn again in a heap of due times, so that no
thread sleeps while another piece could be sent; one that is too big becomes four.
"""

from __future__ import annotations

import heapq
import itertools
import queue
import random
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ee_spark.client import Client
from ee_spark.errors import ServiceError
from ee_spark.fetch.decode import decode
from ee_spark.fetch.quota import Quota
from ee_spark.job import Retry
from ee_spark.plan.request import Recipe, Window

FIRST_WAIT = 1.0
LONGEST_WAIT = 60.0
SAME_ANSWERS = 20
"""A lane whose first answers are all one permanent error asks for nothing more."""


@dataclass(frozen=True)
class Ask:
    """One pair of image and tile to fetch: ``ref`` is the caller's own."""

    ref: Any
    image_id: str
    version: int
    graph: str | None
    window: Window


@dataclass
class Answer:
    """What became of an ask: its planes by column, or its error; ``missing`` if it was not reached."""

    ask: Ask
    planes: dict[str, npt.NDArray[Any]] | None = None
    error: ServiceError | None = None
    attempts: int = 1
    requests: int = 0
    milliseconds: int = 0
    bytes_in: int = 0
    splits: int = 0

    @property
    def missing(self) -> bool:
        """True if the run stopped, or the service was overloaded, before an answer came."""
        return self.planes is None and (self.error is None or self.error.kind in ("overload", "access", "daily"))


@dataclass
class _Task:
    answer: Answer
    started: float = 0.0
    pieces: int = 1
    overloads: int = 0
    done: bool = False


@dataclass(frozen=True)
class _Piece:
    task: _Task
    column: int
    row: int
    width: int
    height: int


@dataclass
class Fetcher:
    """Fetches asks with ``quota.limit`` threads; ``types`` are the columns' numpy types in the recipe's band order.

    ``stopped`` is set, with the error, when the run cannot go on: what was not reached comes back as missing.
    """

    client: Client
    recipe: Recipe
    types: Mapping[str, np.dtype[Any]]
    quota: Quota
    retry: Retry
    stopped: ServiceError | None = None
    restricted: bool = False
    latencies: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    retries: int = 0

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._lock = threading.Condition()
        self._due: list[tuple[float, int, _Piece]] = []
        self._number = itertools.count()
        self._first: list[str] | None = []
        self._last_good = time.monotonic()
        self._random = random.Random()

    @property
    def stopping(self) -> bool:
        """True once nothing more is asked for."""
        return self._stop.is_set()

    def stop(self, error: ServiceError | None = None) -> None:
        """Ask for nothing more; what is in flight ends, what waits comes back as missing."""
        with self._lock:
            self.stopped = self.stopped or error
            self._stop.set()
            self._lock.notify_all()

    def stream(self, asks: Iterable[Ask | object]) -> Iterator[Answer | object]:
        """Yield an answer for every ask, as they come; what is no ask is handed through in its place.

        Asks are taken from the iterable, in a thread of its own, no further ahead than there are threads to send them.
        """
        ahead: queue.Queue[Ask | None] = queue.Queue(maxsize=2 * self.quota.limit)
        results: queue.Queue[Answer | object] = queue.Queue(maxsize=2 * self.quota.limit)
        feeder = threading.Thread(target=self._feed, args=(asks, ahead, results), daemon=True)
        workers = [
            threading.Thread(target=self._work, args=(ahead, results), daemon=True) for _ in range(self.quota.limit)
        ]
        for thread in (feeder, *workers):
            thread.start()
        running = len(workers) + 1
        while running:
            item = results.get()
            if item is _END:
                running -= 1
            elif isinstance(item, _Raised):
                self.stop()
                raise item.error
            else:
                yield item

    def _feed(
        self, asks: Iterable[Ask | object], ahead: queue.Queue[Ask | None], results: queue.Queue[Answer | object]
    ) -> None:
        try:
            for item in asks:
                if not isinstance(item, Ask):
                    results.put(item)
                elif self._stop.is_set():
                    results.put(Answer(item))
                else:
                    ahead.put(item)
        except BaseException as error:
            results.put(_Raised(error))
        ahead.put(None)
        results.put(_END)

    def _work(self, ahead: queue.Queue[Ask | None], results: queue.Queue[Answer | object]) -> None:
        try:
            while (piece := self._next(ahead)) is not None:
                answer = self._send(piece)
                if answer is not None:
                    results.put(answer)
        except BaseException as error:
            results.put(_Raised(error))
        results.put(_END)

    def _next(self, ahead: queue.Queue[Ask | None]) -> _Piece | None:
        """Return a piece that is due, else the next ask's; None when there is nothing more to come."""
        while True:
            with self._lock:
                now = time.monotonic()
                if self._due and (self._due[0][0] <= now or self._stop.is_set()):
                    return heapq.heappop(self._due)[2]
                wait = self._due[0][0] - now if self._due else None
            try:
                ask = ahead.get(timeout=0.2 if wait is None else min(wait, 0.2))
            except queue.Empty:
                continue
            if ask is not None:
                window = ask.window
                task = _Task(Answer(ask), time.monotonic())
                self._open(1)
                return _Piece(task, 0, 0, window.width, window.height)
            ahead.put(None)  # for the other threads
            with self._lock:
                if not self._open_tasks:
                    return None
            time.sleep(0.01)

    _open_tasks = 0

    def _open(self, count: int) -> None:
        with self._lock:
            self._open_tasks += count

    def _send(self, piece: _Piece) -> Answer | None:
        """Send one piece; return its task's answer if that is now settled."""
        task, ask, retry = piece.task, piece.task.answer.ask, self.retry
        if task.done:
            return None
        left = task.started + retry.deadline - time.monotonic()
        if not self.quota.acquire(self._stop):
            return self._settled(task, None)
        path, body = self.recipe.call(
            ask.image_id,
            ask.version,
            ask.graph,
            ask.window.part(piece.column, piece.row, piece.width, piece.height),
        )
        sent = time.monotonic()
        error: ServiceError | None = None
        planes: dict[str, npt.NDArray[Any]] = {}
        try:
            reply = self.client.call("POST", path, body, left)
            self.restricted |= reply.restricted
            planes = decode(reply.body, self.recipe.format, self.recipe.bands, self.types, piece.width, piece.height)
        except ServiceError as refused:
            error = refused
        refused_for_load = error is not None and error.kind == "overload"
        self.quota.release(sent, refused=refused_for_load or (error is None and reply.restricted))
        with self._lock:
            task.answer.requests += 1
            self.latencies.append(time.monotonic() - sent)
            status = error.status if error else 200
            self.statuses[status] = self.statuses.get(status, 0) + 1
            if error is None:
                task.answer.bytes_in += len(reply.body)
                self._last_good = time.monotonic()
                self._first = None
        if error is not None:
            return self._failed(piece, error)
        return self._arrived(piece, planes)

    def _arrived(self, piece: _Piece, planes: dict[str, npt.NDArray[Any]]) -> Answer | None:
        task, window = piece.task, piece.task.answer.ask.window
        if (piece.width, piece.height) == (window.width, window.height):
            task.answer.planes = planes
            return self._settled(task, None)
        with self._lock:
            whole = task.answer.planes
            if whole is None:
                whole = {name: np.zeros((window.height, window.width), dtype) for name, dtype in self.types.items()}
                task.answer.planes = whole
        part = (slice(piece.row, piece.row + piece.height), slice(piece.column, piece.column + piece.width))
        for name, plane in planes.items():
            whole[name][part] = plane
        with self._lock:
            task.pieces -= 1
            last = task.pieces == 0
        return self._settled(task, None) if last else None

    def _failed(self, piece: _Piece, error: ServiceError) -> Answer | None:
        """Decide once what an error means: again, later, smaller, this tile's end, or the run's."""
        task, retry = piece.task, self.retry
        spent = time.monotonic() - task.started
        if error.kind in ("access", "daily"):
            self.stop(error)
            return self._settled(task, error)
        if error.kind == "overload":
            task.overloads += 1
            if time.monotonic() - self._last_good > retry.deadline:
                self.stop(error)
            if spent > retry.deadline:
                return self._settled(task, error)
            self._again(piece, error, task.overloads)
            return None
        if error.kind in ("transient", "damaged", "unavailable"):
            task.answer.attempts += 1
            if task.answer.attempts > retry.attempts or spent > retry.deadline:
                task.answer.attempts -= 1
                return self._settled(task, error)
            self._again(piece, error, task.answer.attempts - 1)
            return None
        if error.kind == "too_big" and retry.split and max(piece.width, piece.height) > retry.min_tile:
            self._split(piece)
            return None
        if self._first is not None:
            self._first.append(error.message)
            if len(self._first) >= SAME_ANSWERS and len(set(self._first)) == 1:
                self.stop(error)
        return self._settled(task, error)

    def _again(self, piece: _Piece, error: ServiceError, failures: int) -> None:
        """Put a piece back for a time of full jitter, no earlier than the server asked for."""
        wait = self._random.uniform(0, min(LONGEST_WAIT, FIRST_WAIT * 2 ** (failures - 1)))
        with self._lock:
            self.retries += 1
            heapq.heappush(self._due, (time.monotonic() + max(wait, error.wait or 0), next(self._number), piece))

    def _split(self, piece: _Piece) -> None:
        """Put the four quadrants of a piece in its place, or two halves where it is one pixel wide or high."""
        columns, rows = _halves(piece.width), _halves(piece.height)
        parts = [
            _Piece(piece.task, piece.column + x, piece.row + y, width, height)
            for (y, height), (x, width) in itertools.product(rows, columns)
        ]
        with self._lock:
            piece.task.pieces += len(parts) - 1
            piece.task.answer.splits += 1
            for part in parts:
                heapq.heappush(self._due, (time.monotonic(), next(self._number), part))

    def _settled(self, task: _Task, error: ServiceError | None) -> Answer | None:
        with self._lock:
            if task.done:
                return None
            task.done = True
            self._open_tasks -= 1
        answer = task.answer
        if error is not None or (task.pieces > 0 and answer.splits):
            answer.planes = None
        answer.error = error
        answer.milliseconds = round((time.monotonic() - task.started) * 1000)
        return answer


class _Raised:
    def __init__(self, error: BaseException) -> None:
        self.error = error


_END = object()


def _halves(side: int) -> list[tuple[int, int]]:
    """Return (start, length) of the two halves of a side, the first the larger; one if it cannot be halved."""
    first = (side + 1) // 2
    return [(0, first), (first, side - first)] if side > 1 else [(0, 1)]
