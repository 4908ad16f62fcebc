"""What is to be fetched and what is sent: tile requests, the tasks that they become, and their HTTP requests."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from ee_spark.errors import ServiceError
from ee_spark.fetch.decode import Planes
from ee_spark.planner.request import TileRequest
from ee_spark.planner.window import Window

__all__ = ["Answer", "HttpRequest", "Mark", "Pack", "Sizes", "Task", "TileRequest", "first_requests"]

R = TypeVar("R")
M = TypeVar("M")
DEEPEST_START = 2


@dataclass(frozen=True)
class Pack(Generic[R]):
    """Tile requests of one window, for several images, that go into one HTTP request."""

    wanted: tuple[TileRequest[R], ...]


@dataclass(frozen=True)
class Mark(Generic[M]):
    """Something of the caller's own between tile requests, which the stream hands through in its place."""

    value: M


@dataclass
class Answer(Generic[R]):
    """What became of a tile request: its planes by column, or its error.

    ``attempts`` counts how often one part of it was asked for, ``requests`` all HTTP requests that it had a part in.
    """

    wanted: TileRequest[R]
    planes: Planes | None = None
    error: ServiceError | None = None
    attempts: int = 1
    requests: int = 0
    milliseconds: int = 0
    bytes_in: int = 0

    @property
    def missing(self) -> bool:
        """True if the run stopped, or the service could not be had, before an answer came."""
        return self.planes is None and self.error is None

    def block(self, fill: Mapping[str, float]) -> Planes:
        """Return the planes of the whole stored block: what lies beyond ±180° was not asked for, and is masked."""
        return self.wanted.widened(self.planes or {}, fill)


@dataclass(eq=False)
class Task(Generic[R]):
    """A tile request at work: how many of its parts are still to come, and what it met so far.

    ``held`` are parts too big at the second level of quadrants, while nothing says that smaller ones would do.
    ``fault`` is the last failure that counted as an attempt.
    """

    answer: Answer[R]
    started: float | None = None
    parts: int = 1
    depth: int = 0
    worked: bool = False
    held: list[HttpRequest[R]] = field(default_factory=list)
    fault: ServiceError | None = None
    done: bool = False

    @property
    def wanted(self) -> TileRequest[R]:
        """The tile request."""
        return self.answer.wanted


@dataclass(frozen=True, eq=False)
class HttpRequest(Generic[R]):
    """One HTTP request: a part of one task's window, or the whole window of several tasks (a pack).

    ``failures`` count against the attempts, ``waits`` do not.
    """

    tasks: tuple[Task[R], ...]
    column: int
    row: int
    width: int
    height: int
    depth: int = 0
    failures: int = 0
    waits: int = 0

    @property
    def whole(self) -> bool:
        """True if this is the whole window."""
        return self.depth == 0

    def window(self) -> Window:
        """Return the window to ask for."""
        window = self.tasks[0].wanted.window
        return window if self.whole else window.part(self.column, self.row, self.width, self.height)

    def halves(self) -> list[HttpRequest[R]]:
        """Return a pack's two halves."""
        middle = (len(self.tasks) + 1) // 2
        return [replace(self, tasks=part, waits=0) for part in (self.tasks[:middle], self.tasks[middle:])]

    def quadrants(self) -> list[HttpRequest[R]]:
        """Return the four quadrants, the first the largest, or two halves of one that is one pixel wide or high."""
        rows, columns = _halves(self.height), _halves(self.width)
        return [
            HttpRequest(self.tasks, self.column + x, self.row + y, width, height, self.depth + 1)
            for (y, height), (x, width) in itertools.product(rows, columns)
        ]


def first_requests(tasks: Sequence[Task[R]], depth: int, least: int) -> list[HttpRequest[R]]:
    """Return the requests of a new pack, or of a new task: its quadrants of level ``depth``.

    No part is cut whose sides are ``least`` at most.
    """
    window = tasks[0].wanted.window
    requests = [HttpRequest(tuple(tasks), 0, 0, window.width, window.height)]
    for _ in range(depth if len(tasks) == 1 else 0):
        requests = [
            part
            for request in requests
            for part in (request.quadrants() if max(request.width, request.height) > least else [request])
        ]
    for task in tasks:
        task.parts = len(requests)
        task.depth = max(request.depth for request in requests)
    return requests


class Sizes:
    """The size that worked: how deep a lane's tiles are cut before they are asked for, how many images are one pack.

    As deep as both of the last two tiles had to be. Now and then a tile is tried one level up, in case only some of
    them are heavy.
    """

    again = 32

    def __init__(self) -> None:
        self.pack = 1024
        self._last = [0, 0]
        self._count = 0

    def start(self) -> int:
        """Return the level to begin the next tile at."""
        depth = min(*self._last, DEEPEST_START)
        self._count += depth > 0
        return depth - 1 if depth and self._count % self.again == 0 else depth

    def worked(self, depth: int) -> None:
        """Note that a tile came in parts of level ``depth``, at the deepest."""
        self._last = [self._last[1], depth]


def _halves(side: int) -> list[tuple[int, int]]:
    """Return (start, length) of the two halves of a side, the first the larger; one if it cannot be halved."""
    first = (side + 1) // 2
    return [(0, first), (first, side - first)] if side > 1 else [(0, 1)]
