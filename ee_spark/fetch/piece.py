"""What is asked for and answered: asks, the tasks that they become, and the pieces that are sent."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ee_spark.errors import ServiceError
from ee_spark.fetch.decode import Planes
from ee_spark.planner.window import Window

DEEPEST_START = 2


@dataclass(frozen=True)
class Ask:
    """One pair of image and tile to fetch: ``ref`` is the caller's own, ``tile`` what log lines call it."""

    ref: Any
    image_id: str
    version: int
    graph: str | None
    window: Window
    tile: str = ""


@dataclass
class Answer:
    """What became of an ask: its planes by column, or its error.

    ``attempts`` counts how often one piece of it was asked for, ``requests`` all that it had a part in.
    """

    ask: Ask
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


@dataclass(eq=False)
class Task:
    """An ask at work: how many of its pieces are still to come, and what it met so far.

    ``held`` are pieces too big at the second level of quadrants, while nothing says that smaller ones would do.
    ``fault`` is the last failure that counted as an attempt.
    """

    answer: Answer
    started: float | None = None
    pieces: int = 1
    depth: int = 0
    worked: bool = False
    held: list[Piece] = field(default_factory=list)
    fault: ServiceError | None = None
    done: bool = False


@dataclass(frozen=True, eq=False)
class Piece:
    """One request: a part of one task's window, or the whole window of several tasks (a pack).

    ``failures`` count against the attempts, ``waits`` do not.
    """

    tasks: tuple[Task, ...]
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
        window = self.tasks[0].answer.ask.window
        return window if self.whole else window.part(self.column, self.row, self.width, self.height)

    def halves(self) -> list[Piece]:
        """Return a pack's two halves."""
        middle = (len(self.tasks) + 1) // 2
        return [replace(self, tasks=part, waits=0) for part in (self.tasks[:middle], self.tasks[middle:])]

    def quadrants(self) -> list[Piece]:
        """Return the four quadrants, the first the largest, or two halves of one that is one pixel wide or high."""
        rows, columns = _halves(self.height), _halves(self.width)
        return [
            Piece(self.tasks, self.column + x, self.row + y, width, height, self.depth + 1)
            for (y, height), (x, width) in itertools.product(rows, columns)
        ]


def first_pieces(tasks: Sequence[Task], depth: int, least: int) -> list[Piece]:
    """Return the pieces of a new pack, or of a new task: its quadrants of level ``depth``, none above ``least`` cut."""
    window = tasks[0].answer.ask.window
    pieces = [Piece(tuple(tasks), 0, 0, window.width, window.height)]
    for _ in range(depth if len(tasks) == 1 else 0):
        pieces = [
            part
            for piece in pieces
            for part in (piece.quadrants() if max(piece.width, piece.height) > least else [piece])
        ]
    for task in tasks:
        task.pieces = len(pieces)
        task.depth = max(piece.depth for piece in pieces)
    return pieces


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
        """Note that a tile came in pieces of level ``depth``, at the deepest."""
        self._last = [self._last[1], depth]


def _halves(side: int) -> list[tuple[int, int]]:
    """Return (start, length) of the two halves of a side, the first the larger; one if it cannot be halved."""
    first = (side + 1) // 2
    return [(0, first), (first, side - first)] if side > 1 else [(0, 1)]
