"""A lane: what one Spark partition does. It fetches the tiles of its chunks and publishes them, chunk log by chunk log.

No Spark in here: a lane is a value that can be pickled, and :func:`work` a plain generator.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from ee_spark.client import Client, Service
from ee_spark.errors import EESparkError, ServiceError
from ee_spark.fetch.fetcher import Answer, Ask, Fetcher
from ee_spark.fetch.quota import Quota
from ee_spark.job import Retry
from ee_spark.objects import Store, open_store
from ee_spark.plan.chunk import Chunk
from ee_spark.plan.region import Points
from ee_spark.plan.request import Recipe, Window
from ee_spark.plan.tile import Tiles
from ee_spark.store.log import ChunkLog, Key, open_logs
from ee_spark.store.part import Row, build, failed_table
from ee_spark.store.schema import PART_TILES, Layout

RETRIED_LANE_WAIT = 5.0
PENDING_PARTS = 2
REPORT_SECONDS = 0.25


@dataclass(frozen=True)
class Brief:
    """What all lanes of a run share."""

    run_id: str
    path: str
    service: Service
    recipe: Recipe
    layout: Layout
    retry: Retry
    part_size: int
    snap: bool
    fill: dict[str, float]
    skip_failed: bool
    progress: tuple[str, int] | None


@dataclass(frozen=True)
class Lane:
    """One lane's chunks, the images and points that they index, and its share of the quota."""

    index: int
    brief: Brief
    chunks: tuple[Chunk, ...]
    image_ids: tuple[str, ...]
    image_times: tuple[int, ...]
    image_versions: tuple[int, ...]
    graphs: tuple[str, ...]
    points: Points | None
    threads: int
    per_second: float


@dataclass
class _Open:
    """A chunk while the lane works on it: its log, its tiles, the rows that wait for the next part."""

    log: ChunkLog
    tiles: Tiles
    planned: set[Key]
    before: set[Key]
    left: int = 0
    rows: list[Row] = field(default_factory=list)
    waiting_bytes: int = 0
    failed: list[Row] = field(default_factory=list)
    mine: set[Key] = field(default_factory=set)
    published: int = 0


def deal(counts: Sequence[int], lanes: int) -> list[list[int]]:
    """Return for each lane the indices of its chunks: largest first, each to the lane that has the least so far."""
    loads, dealt = [0] * lanes, [[] for _ in range(lanes)]  # type: tuple[list[int], list[list[int]]]
    for index in sorted(range(len(counts)), key=lambda i: (-counts[i], i)):
        lane = loads.index(min(loads))
        dealt[lane].append(index)
        loads[lane] += counts[index]
    return [sorted(indices) for indices in dealt]


def work(lane: Lane, attempt: int = 0) -> Iterator[dict[str, Any]]:
    """Do a lane's work and yield one record: counts over its planned pairs, telemetry, and why it stopped, if it did.

    ``attempt`` is Spark's: a lane that is tried again waits, so that what its predecessor has in flight ends, and
    begins at half its window.
    """
    if attempt:
        time.sleep(RETRIED_LANE_WAIT)
    quota = Quota(lane.threads, lane.per_second, lane.threads / 2 if attempt else 0)
    brief = lane.brief
    fetcher = Fetcher(Client(brief.service, lane.threads), brief.recipe, brief.layout.planes, quota, brief.retry)
    store = open_store(brief.path)
    run = _Run(lane, store, fetcher)
    with _Reporter(run):
        run.fetch_all()
    yield run.record()


class _Run:
    """The state of one lane at work."""

    def __init__(self, lane: Lane, store: Store, fetcher: Fetcher) -> None:
        self.lane, self.brief, self.store, self.fetcher = lane, lane.brief, store, fetcher
        self.counts: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.error: EESparkError | None = None
        self._publisher = ThreadPoolExecutor(1, "publish")
        self._pending: list[Future[None]] = []
        self._started = time.monotonic()

    def fetch_all(self) -> None:
        """Fetch every chunk as one continuous stream; publishing goes on beside it."""
        try:
            open_chunks: list[_Open] = []
            for item in self.fetcher.stream(self._asks()):
                if isinstance(item, _Open):
                    open_chunks.append(item)
                    chunk = item
                else:
                    assert isinstance(item, Answer)
                    chunk = self._take(item)
                if not chunk.left:
                    self._publish(chunk, last=True)
                    open_chunks.remove(chunk)
                elif len(chunk.rows) >= PART_TILES or chunk.waiting_bytes >= self.brief.part_size:
                    self._publish(chunk)
                elif sum(other.waiting_bytes for other in open_chunks) >= 2 * self.brief.part_size:
                    self._publish(max(open_chunks, key=lambda other: other.waiting_bytes))
        except EESparkError as error:
            self.error = error
            self.fetcher.stop()
        finally:
            self._publisher.shutdown()
        for future in self._pending:
            failure = future.exception()
            if isinstance(failure, EESparkError):
                self.error = self.error or failure
            elif failure is not None:
                raise failure

    def record(self) -> dict[str, Any]:
        """Return what the driver adds up."""
        fetcher, planned = self.fetcher, sum(chunk.count for chunk in self.lane.chunks)
        settled = sum(self.counts[name] for name in ("ok", "empty", "failed", "skipped"))
        stopped = fetcher.stopped or self.error
        return {
            "lane": self.lane.index,
            **{name: self.counts[name] for name in ("ok", "empty", "failed", "skipped")},
            "missing": planned - settled,
            "requests": sum(fetcher.statuses.values()),
            "retries": fetcher.retries,
            "splits": self.counts["splits"],
            "rejected": fetcher.quota.refusals,
            "bytes_in": self.counts["bytes_in"],
            "peak_in_flight": fetcher.quota.peak,
            "statuses": {str(status): count for status, count in sorted(fetcher.statuses.items())},
            "latencies": np.percentile(fetcher.latencies, range(0, 101, 5)).tolist() if fetcher.latencies else [],
            "restricted": fetcher.restricted,
            "errors": dict(self.errors.most_common(20)),
            "stopped": str(stopped) if stopped else None,
            "stop_kind": getattr(stopped, "kind", None) if stopped else None,
            "seconds": time.monotonic() - self._started,
        }

    def _asks(self) -> Iterator[Ask | _Open]:
        """Yield each chunk as it is opened, then its asks: the planned pairs that are final in no part."""
        lane, width_height = self.lane, self.brief.layout.frozen.shape.stored
        logs = open_logs(self.store, self.brief.layout, [chunk.key for chunk in lane.chunks])
        for planned, log in zip(lane.chunks, logs, strict=True):
            if self.fetcher.stopping:
                return
            tiles, tile, image = planned.pairs(self.brief.layout.frozen.shape, lane.points, snap=self.brief.snap)
            keys = [(tiles.ids[t], lane.image_ids[i]) for t, i in zip(tile.tolist(), image.tolist(), strict=True)]
            final = log.final
            failed: frozenset[Key] = log.failed if self.brief.skip_failed else frozenset()
            chunk = _Open(log, tiles, set(keys), final & set(keys))
            wanted = [order for order, key in enumerate(keys) if key not in final and key not in failed]
            chunk.left = len(wanted)
            yield chunk
            for order in wanted:
                t, i = int(tile[order]), int(image[order])
                window = Window(tiles.lattice.crs, tiles.transform(t), *width_height)
                graph = lane.graphs[i if len(lane.graphs) > 1 else 0] if lane.graphs else None
                yield Ask((chunk, order, t, i), lane.image_ids[i], lane.image_versions[i], graph, window)

    def _take(self, answer: Answer) -> _Open:
        """Put an answer where it belongs: among the rows of the next part, the failed, or nowhere (missing)."""
        chunk: _Open
        chunk, order, tile, image = answer.ask.ref
        chunk.left -= 1
        self.counts["bytes_in"] += answer.bytes_in
        self.counts["splits"] += answer.splits
        self.counts["answers"] += 1
        if answer.missing:
            return chunk
        row = partial(
            Row,
            order=order,
            tiles=chunk.tiles,
            tile=tile,
            image_id=answer.ask.image_id,
            image_time=self.lane.image_times[image],
            version=answer.ask.version,
            attempts=answer.attempts,
            requests=answer.requests,
            fetch_ms=answer.milliseconds,
            bytes_in=answer.bytes_in,
        )
        if answer.planes is None:
            error = answer.error or ServiceError("no answer", kind="permanent")
            self.errors[error.message] += 1
            chunk.failed.append(
                row(
                    status="failed",
                    error_class=error.label,
                    error_message=error.message,
                    http_status=error.status or None,
                )
            )
        elif self._is_empty(answer):
            chunk.rows.append(row(status="empty", http_status=200))
        else:
            chunk.rows.append(row(status="ok", block=answer.planes, http_status=200))
            chunk.waiting_bytes += self.brief.layout.frozen.tile_bytes
        return chunk

    def _is_empty(self, answer: Answer) -> bool:
        """Return True if no band has a valid pixel."""
        planes, frozen = answer.planes or {}, self.brief.layout.frozen
        if frozen.mask == "none":
            return False
        if frozen.mask == "fill":
            return all(bool((planes[name] == value).all()) for name, value in self.brief.fill.items())
        return not any(planes[name].any() for name in frozen.validity)

    def _publish(self, chunk: _Open, *, last: bool = False) -> None:
        """Hand the waiting rows to the publisher; wait where too many parts wait already."""
        rows, chunk.rows, chunk.waiting_bytes = chunk.rows, [], 0
        while len(running := [future for future in self._pending if not future.done()]) >= PENDING_PARTS:
            running[0].exception()
        self._pending.append(self._publisher.submit(self._write, chunk, rows, last))
        done = [future for future in self._pending if future.done()]
        for future in done:
            future.result()
            self._pending.remove(future)

    def _write(self, chunk: _Open, rows: list[Row], last: bool) -> None:
        layout, brief = self.brief.layout, self.brief
        if self.error is None:
            try:
                if rows:
                    make = partial(build, layout=layout, run_id=brief.run_id, mask=layout.frozen.mask, fill=brief.fill)
                    mine = chunk.log.publish(rows, make)
                    chunk.mine |= {row.key for row in mine}
                    self.counts.update(row.status for row in mine)
                if last:
                    self._leave(chunk)
            except EESparkError as error:
                self.error = error
                self.fetcher.stop()

    def _leave(self, chunk: _Open) -> None:
        """Fold the chunk, and count what its planned pairs have become."""
        failed = chunk.log.fold(failed_table(chunk.failed, self.brief.layout, self.brief.run_id))
        final = chunk.log.final & chunk.planned
        self.counts["skipped"] += len(final - chunk.mine)
        if len(final) < len(chunk.planned):
            self.counts["failed"] += len((failed & chunk.planned) - final)


class _Reporter:
    """Tells the driver, now and then and without any promise, how far the lane is: one small UDP datagram."""

    def __init__(self, run: _Run) -> None:
        self._run, self._address = run, run.brief.progress
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)

    def __enter__(self) -> None:
        if self._address:
            self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._end.set()
        if self._address:
            self._thread.join()

    def _loop(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            while True:
                ended = self._end.wait(REPORT_SECONDS)
                run = self._run
                text = {
                    "lane": run.lane.index,
                    "answers": run.counts["answers"],
                    "ok": run.counts["ok"],
                    "empty": run.counts["empty"],
                    "skipped": run.counts["skipped"],
                    "failed": sum(run.errors.values()),
                    "retries": run.fetcher.retries,
                    "in_flight": run.fetcher.quota.in_flight,
                    "bytes_in": run.counts["bytes_in"],
                }
                try:
                    sender.sendto(json.dumps(text).encode(), self._address or ("", 0))
                except OSError:
                    return  # progress never fails a job
                if ended:
                    return
