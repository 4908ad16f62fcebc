"""The fetch engine of a lane: sends what the line passes on, and decides once what each failure means.

A tile request is a task of one or more HTTP requests; a pack is one HTTP request of several tasks. Again, later,
smaller, this tile's end, or the run's: every answer without pixels becomes one of these.
"""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any, Generic

import numpy as np

from ee_spark.client import Client
from ee_spark.errors import ServiceError, way_out
from ee_spark.fetch.decode import Planes, decode
from ee_spark.fetch.line import Line
from ee_spark.fetch.pack import packed
from ee_spark.fetch.quota import Quota
from ee_spark.fetch.request import Answer, HttpRequest, M, Mark, Pack, R, Sizes, Task, TileRequest, first_requests
from ee_spark.fetch.telemetry import Telemetry
from ee_spark.job import Retry
from ee_spark.limits import answer_bytes
from ee_spark.planner.request import Recipe, is_gone, is_nothing

FIRST_WAIT = 1.0
LONGEST_WAIT = 60.0
STOP_SECONDS = 8.0
"""How long requests in flight may take when the run stops."""
LEAST_SECONDS = 1.0
"""What the last request before a tile's deadline may take."""
SILENT_TILES = 3
"""When requests for so many tiles got no answer at all, and no other came, the service is out, not the tiles."""
AILING_SECONDS = 60.0
"""When a service has answered nothing for so long, a tile whose deadline runs out is not to blame."""
SAME_ANSWERS = 20
"""A lane whose first answers are all one permanent error asks for nothing more."""
DEADLINE_TRIES = 2
"""How often a request is sent before it is cut, when the service ran out of time: each may have taken five minutes."""
FUTILE_DEPTH = 2
"""Levels of quadrants that all have to fail before a tile fails at once."""
FUTILE = "independent of tile size: reduce the stack or raise tileScale/parallelScale in the function"
log = logging.getLogger(__name__)


@dataclass
class Fetcher(Generic[R, M]):
    """Answers tile requests; ``types`` are the columns' numpy types in the recipe's band order.

    ``stopped`` is set, with the error, when the run cannot go on: what was not reached comes back as missing.
    """

    client: Client
    recipe: Recipe
    types: Mapping[str, np.dtype[Any]]
    quota: Quota
    retry: Retry
    stopped: ServiceError | None = None
    restricted: bool = False
    telemetry: Telemetry = field(default_factory=Telemetry)

    def __post_init__(self) -> None:
        self._line: Line[R, M] = Line(self, self.quota.limit)
        self._open: dict[Task[R], None] = {}
        self._sizes = Sizes()
        self._first: list[str] | None = []
        self._trouble: float | None = None
        self._silent: set[Task[R]] = set()
        self._nothing: dict[str, ServiceError] = {}
        self._random = random.Random()

    @property
    def stopping(self) -> bool:
        """True once nothing more is asked for."""
        return self._line.stop_event.is_set()

    def stop(self, error: ServiceError | None = None) -> None:
        """Ask for nothing more; what is in flight may end, what waits comes back as missing."""
        with self._line.lock:
            self.stopped = self.stopped or error
            self._line.stop()
            self.quota.wake()

    def stream(
        self, source: Iterable[TileRequest[R] | Pack[R] | Mark[M]]
    ) -> Generator[Answer[R] | Mark[M], None, None]:
        """Yield an :class:`Answer` for every tile request, as they come, and each :class:`Mark` in its place."""
        try:
            yield from self._line.stream(source)
        finally:
            self.client.close()

    def answers(self, source: Iterable[TileRequest[R] | Pack[R]]) -> Generator[Answer[R], None, None]:
        """Yield an :class:`Answer` for every tile request, as they come."""
        with closing(self.stream(source)) as stream:
            yield from (item for item in stream if isinstance(item, Answer))

    def begin(self, wanted: tuple[TileRequest[R], ...]) -> list[HttpRequest[R]]:
        """Return the first HTTP requests of new tile requests."""
        tasks = [Task(Answer(one)) for one in wanted]
        self._open.update(dict.fromkeys(tasks))
        self._line.open += len(tasks)
        requests: list[HttpRequest[R]] = []
        for first in range(0, len(tasks), self._sizes.pack):
            pack = tasks[first : first + self._sizes.pack]
            depth = self._sizes.start() if self.retry.split and len(pack) == 1 else 0
            requests += first_requests(pack, depth, self.retry.min_tile)
        return requests

    def send(self, request: HttpRequest[R]) -> None:
        """Send one request and deal with its answer."""
        self._drop(request)
        tasks = [task for task in request.tasks if not task.done]
        if not tasks:
            return
        request = request if len(tasks) == len(request.tasks) else replace(request, tasks=tuple(tasks))
        recipe, path, body = self._call(request)
        if not self.quota.acquire(self._line.stop_event):
            return
        sent = time.monotonic()
        for task in tasks:
            task.started = task.started or sent
        error: ServiceError | None = None
        restricted: bool | None = None
        size, images = 0, list[Planes]()
        try:
            try:
                most = answer_bytes(request.width, request.height, len(recipe.bands))
                seconds = max(LEAST_SECONDS, self._until(request) - sent)
                reply = self.client.call("POST", path, body, seconds, most)
                restricted, size = reply.restricted, len(reply.body)
            finally:
                answered = time.monotonic()
        except ServiceError as refused:
            error = refused
        self._release(sent, error, restricted)
        if error is None:
            try:
                images = decode(reply.body, recipe.format, recipe.bands, self.types, request.width, request.height)
            except ServiceError as wrong:
                error = wrong
        with self._line.lock:
            self.telemetry.answered(error.status if error else 200, sent, answered)
            for task in tasks:
                task.answer.requests += 1
                task.answer.bytes_in += size // len(tasks)
            if error is not None:
                self._failed(request, error)
                return
            self._trouble = self._first = None
            self._silent.clear()
        self._arrived(request, images)

    def look(self, now: float) -> None:
        """End all that is in flight when the run has stopped for too long; what is past its time ends by itself."""
        since = self._line.stopped_at
        if since is not None and now - since > STOP_SECONDS:
            self.client.expire(everything=True)
        self.telemetry.looked(now, self.quota.window)

    def leave(self) -> list[Answer[R]]:
        """Return answers for what was begun and not reached."""
        with self._line.lock:
            left, self._open = list(self._open), {}
            return [self._closed(task, None) for task in left]

    def _drop(self, request: HttpRequest[R]) -> None:
        """End those tasks of a request whose image is known to be none: it is none at every tile."""
        with self._line.lock:
            for task in request.tasks if self._nothing else ():
                if error := self._nothing.get(task.wanted.image_id):
                    self._end(task, error)

    def _call(self, request: HttpRequest[R]) -> tuple[Recipe, str, bytes]:
        first = request.tasks[0].wanted
        if len(request.tasks) == 1:
            return self.recipe, *self.recipe.call(first.image_id, first.version, first.graph, request.window())
        recipe, graph = packed(self.recipe, [task.wanted for task in request.tasks])
        return recipe, *recipe.call("", -1, graph, request.window())

    def _until(self, request: HttpRequest[R]) -> float:
        """Return when the first deadline of a request's tasks runs out."""
        return min(task.started or time.monotonic() for task in request.tasks) + self.retry.deadline

    def _release(self, sent: float, error: ServiceError | None, restricted: bool | None) -> None:
        refused = error is not None and error.kind == "overload"
        self.quota.release(sent, refused=refused, restricted=restricted)
        if refused and error is not None and error.wait:
            self.quota.pause(error.wait)
        if restricted and not self.restricted:
            self.restricted = True
            log.warning("Earth Engine has the project in restricted mode: half of its concurrent requests are used")

    def _arrived(self, request: HttpRequest[R], images: list[Planes]) -> None:
        """Take a request's pixels to their tasks."""
        if not request.whole:
            self._reassemble(request, images[0])
        with self._line.lock:
            answers = []
            for task, planes in zip(request.tasks, images, strict=True):
                if task.done:
                    continue
                task.parts -= 1
                task.worked = True
                if request.whole:
                    task.answer.planes = planes
                if task.held:
                    held, task.held = task.held, []
                    for waiting in held:
                        self._cut(waiting)
                if not task.parts:
                    self._sizes.worked(task.depth)
                    del self._open[task]
                    answers.append(self._closed(task, None))
            if answers:
                self._line.give(answers)

    def _reassemble(self, request: HttpRequest[R], planes: Planes) -> None:
        (task,) = request.tasks
        window = task.wanted.window
        with self._line.lock:
            if task.answer.planes is None:
                shape = (window.height, window.width)
                task.answer.planes = {name: np.zeros(shape, dtype) for name, dtype in self.types.items()}
            whole = task.answer.planes
        part = (slice(request.row, request.row + request.height), slice(request.column, request.column + request.width))
        for name, plane in planes.items():
            whole[name][part] = plane

    def _failed(self, request: HttpRequest[R], error: ServiceError) -> None:
        """Decide what an error means: again, later, smaller, this tile's end, or the run's. The line's lock is held."""
        now = time.monotonic()
        if log.isEnabledFor(logging.DEBUG):
            for task in request.tasks:
                where = {"tile": task.wanted.tile, "image": task.wanted.image_id}
                log.debug("%s: %s", error.kind, error, extra=where)
        if self.stopping:
            return
        if error.status and error.kind not in ("overload", "unavailable"):
            self._trouble = None
            self._silent.clear()
        elif not error.status:
            self._silent.add(request.tasks[0])
        if error.kind in ("permanent", "access") and any(self._gone(task.wanted, error) for task in request.tasks):
            way = "run with --repin to take today's versions"
            self.stop(_stopping(error, f"{error.message} It was there when it was pinned; {way}"))
        elif error.kind in ("overload", "unavailable") or len(self._silent) >= SILENT_TILES:
            self._wait(request, error, now)
        elif error.kind in ("access", "daily"):
            self.stop(_stopping(error, f"{error.message}; {way_out(error)}"))
        elif error.kind in ("transient", "damaged") or self._late_by_chance(request, error):
            self._again(request, error, now)
        elif len(request.tasks) > 1:
            self._halve(replace(request, failures=0) if error.kind == "deadline" else request, error)
        elif error.kind in ("too_big", "deadline"):
            self._too_big(request, error)
        else:
            self._permanent(request, error)

    def _late_by_chance(self, request: HttpRequest[R], error: ServiceError) -> bool:
        return error.kind == "deadline" and request.failures + 1 < min(DEADLINE_TRIES, self.retry.attempts)

    def _wait(self, request: HttpRequest[R], error: ServiceError, now: float) -> None:
        """Ask again later for what the service could not deal with at all: that uses up time, but no attempt."""
        self._trouble = self._trouble or now
        lasting, until = now - self._trouble, self._until(request)
        if lasting > self.retry.deadline:
            self.stop(_stopping(error, f"nothing but refusals for {self.retry.deadline:g} s: {error.message}"))
        elif now < until:
            request = replace(request, waits=request.waits + 1)
            self.telemetry.retries += 1
            self._line.put([request], min(now + self._backoff(request.waits, error), until))
        else:
            ailing = lasting > min(AILING_SECONDS, self.retry.deadline / 4)
            for task in request.tasks:
                missing = ailing or (error.kind == "overload" and not task.fault)
                self._end(task, None if missing else task.fault or error)

    def _again(self, request: HttpRequest[R], error: ServiceError, now: float) -> None:
        """Ask again for what failed by chance, as often and as long as the job allows."""
        request = replace(request, failures=request.failures + 1)
        until = self._until(request)
        for task in request.tasks:
            task.fault = error
        if request.failures < self.retry.attempts and now < until:
            for task in request.tasks:
                task.answer.attempts = max(task.answer.attempts, request.failures + 1)
            self.telemetry.retries += 1
            self._line.put([request], min(now + self._backoff(request.failures, error), until))
        elif len(request.tasks) > 1 and now < until:
            self._halve(replace(request, failures=max(0, request.failures - 2)), error)
        else:
            self._end_all(request, error)

    def _too_big(self, request: HttpRequest[R], error: ServiceError) -> None:
        """Cut a request into quadrants, unless it is as small as the job allows, or size is not what it is about."""
        (task,) = request.tasks
        if not self.retry.split or max(request.width, request.height) <= self.retry.min_tile:
            reason = f"at {request.width} × {request.height} pixels, the smallest part asked for"
            self._end(task, _too_heavy(error, f"{error.message} ({reason}; {FUTILE})"))
        elif request.depth < FUTILE_DEPTH or task.worked:
            self._cut(request)
        else:
            task.held.append(request)
            if len(task.held) == task.parts:
                self._end(task, _too_heavy(error, f"{error.message} ({FUTILE})"))

    def _cut(self, request: HttpRequest[R]) -> None:
        (task,) = request.tasks
        parts = request.quadrants()
        task.parts += len(parts) - 1
        task.depth = max(task.depth, request.depth + 1)
        self.telemetry.splits += 1
        self._line.put(parts)

    def _halve(self, request: HttpRequest[R], error: ServiceError) -> None:
        """Ask for a pack's two halves: what one image cannot be computed for refuses all of a pack."""
        if error.kind in ("too_big", "deadline"):
            self._sizes.pack = min(self._sizes.pack, (len(request.tasks) + 1) // 2)
        if not self.stopping:
            self.telemetry.splits += 1
            self._line.put(request.halves())

    def _permanent(self, request: HttpRequest[R], error: ServiceError) -> None:
        first = request.tasks[0].wanted
        if is_nothing(error, first.image_id, first.graph):
            self._nothing[first.image_id] = error
        else:
            self._storm(error)
        self._end_all(request, error)

    def _gone(self, wanted: TileRequest[R], error: ServiceError) -> bool:
        """Return True if a version that was sent is not there; getPixels sends none."""
        sent = self.recipe.method == "computePixels" and wanted.version >= 0
        return sent and is_gone(error, wanted.image_id, wanted.version)

    def _storm(self, error: ServiceError) -> None:
        """Stop the run where a lane's first answers are all the same refusal: there is no point in asking for more."""
        if self._first is None:
            return
        self._first.append(re.sub(r"'[^']*'|\d+", "…", error.message))
        if len(self._first) < SAME_ANSWERS:
            return
        if len(set(self._first)) == 1:
            self.stop(_stopping(error, f"the first {SAME_ANSWERS} answers are all: {error.message}"))
        self._first = None

    def _backoff(self, failures: int, error: ServiceError) -> float:
        """Return seconds of full jitter (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).

        No less than the service asked for.
        """
        longest = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(failures - 1, 10))
        return max(self._random.uniform(0, longest), error.wait or 0.0)

    def _end_all(self, request: HttpRequest[R], error: ServiceError) -> None:
        for task in request.tasks:
            self._end(task, error)

    def _end(self, task: Task[R], error: ServiceError | None) -> None:
        if not task.done:
            del self._open[task]
            self._line.give([self._closed(task, error)])

    def _closed(self, task: Task[R], error: ServiceError | None) -> Answer[R]:
        answer = task.answer
        task.done, task.held = True, []
        if task.parts or error is not None:
            answer.planes = None
        answer.error = error
        if task.started is not None:
            answer.milliseconds = round((time.monotonic() - task.started) * 1000)
        return answer


def _stopping(error: ServiceError, message: str) -> ServiceError:
    return ServiceError(message, kind=error.kind, status=error.status, label=error.label)


def _too_heavy(error: ServiceError, message: str) -> ServiceError:
    return ServiceError(message, kind="too_big", status=error.status)
