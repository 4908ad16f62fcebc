"""The line by itself: whatever the threads' order, each ask is sent once and answered once."""

from __future__ import annotations

import threading

from ee_spark.fetch.line import Line
from ee_spark.fetch.piece import Answer, Ask, Piece, Task, first_pieces
from ee_spark.planner.window import Window

WINDOW = Window("EPSG:32633", (10, 0, 0, 0, -10, 0), 1, 1)


class Echo:
    """An engine that answers at once."""

    line: Line

    def begin(self, asks: tuple[Ask, ...]) -> list[Piece]:
        self.line.open += len(asks)
        return [piece for ask in asks for piece in first_pieces([Task(Answer(ask))], 0, 32)]

    def send(self, piece: Piece) -> None:
        answer = piece.tasks[0].answer
        answer.requests += 1
        self.line.give([answer])

    def look(self, now: float) -> None: ...

    def leave(self) -> list[Answer]:
        return []


def test_what_nobody_has_begun_when_the_source_ends_is_still_sent() -> None:
    """While what was handed through waits to be taken nothing is begun; then the source has ended before the first."""
    engine = Echo()
    line = engine.line = Line(engine, 1)
    ask = Ask(1, "", -1, None, WINDOW)
    answers = []
    for item in line.stream(["a", "b", "c", ask]):
        if item == "a":
            (feed,) = [thread for thread in threading.enumerate() if thread.name == "fetch-feed"]
            feed.join(10)
            assert not feed.is_alive()
        elif isinstance(item, Answer):
            answers.append((item.ask, item.requests))
    assert answers == [(ask, 1)]
