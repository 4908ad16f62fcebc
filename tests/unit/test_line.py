"""The line by itself: whatever the threads' order, each request is sent once and answered once."""

from __future__ import annotations

import threading

from ee_spark.fetch.line import Line
from ee_spark.fetch.request import Answer, HttpRequest, Mark, Task, TileRequest, first_requests
from ee_spark.planner.window import Window

WINDOW = Window("EPSG:32633", (10, 0, 0, 0, -10, 0), 1, 1)


class Echo:
    """An engine that answers at once."""

    line: Line[int, str]

    def begin(self, wanted: tuple[TileRequest[int], ...]) -> list[HttpRequest[int]]:
        self.line.open += len(wanted)
        return [request for one in wanted for request in first_requests([Task(Answer(one))], 0, 32)]

    def send(self, request: HttpRequest[int]) -> None:
        answer = request.tasks[0].answer
        answer.requests += 1
        self.line.give([answer])

    def look(self, now: float) -> None: ...

    def leave(self) -> list[Answer[int]]:
        return []


def test_what_is_not_begun_when_the_source_ends_is_still_sent() -> None:
    """While marks wait to be taken nothing is begun; then the source has ended before the first request."""
    engine = Echo()
    line = engine.line = Line(engine, 1)
    wanted = TileRequest(1, "", -1, None, WINDOW)
    answers = []
    for item in line.stream([Mark("a"), Mark("b"), Mark("c"), wanted]):
        if item == Mark("a"):
            (feed,) = [thread for thread in threading.enumerate() if thread.name == "fetch-feed"]
            feed.join(10)
            assert not feed.is_alive()
        elif isinstance(item, Answer):
            answers.append((item.wanted, item.requests))
    assert answers == [(wanted, 1)]
