"""A lane at work: it fetches the tiles of its chunks as one continuous stream and publishes them, chunk by chunk."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from itertools import groupby
from typing import Any

from ee_spark.client import Client
from ee_spark.errors import EESparkError, ServiceError, StoppedError
from ee_spark.fetch.decode import Planes
from ee_spark.fetch.fetcher import Fetcher
from ee_spark.fetch.piece import Answer, Ask
from ee_spark.fetch.quota import Quota
from ee_spark.lane.lane import Lane
from ee_spark.lane.notes import Notes, Watch
from ee_spark.lane.publisher import OpenChunk, Publisher
from ee_spark.lane.reporter import Reporter
from ee_spark.logs import log_as
from ee_spark.objects import Store, open_store
from ee_spark.planner.chunk import Chunk
from ee_spark.planner.request import is_nothing
from ee_spark.planner.tile import Tiles
from ee_spark.planner.window import Window, widened
from ee_spark.store.log import ChunkLog, Key, open_logs
from ee_spark.store.part import Row

RETRIED_LANE_WAIT = 5.0
DEATHS = 2
"""How many workers a tile may cost, alone, before it is failed without being asked for again."""
WORKER_DIED = "worker_died"
DROPPED = "dropped"
MESSAGES = 200
"""Different error messages that a lane counts; all of them are in its rows."""

log = logging.getLogger(__name__)


def work(lane: Lane, attempt: int = 0) -> Iterator[dict[str, Any]]:
    """Do a lane's work and yield one record: counts over its planned pairs, telemetry, and why it stopped, if it did.

    ``attempt`` is Spark's. A lane that is tried again, or works in a later round, waits, so that what its predecessor
    has in flight ends, and begins at half its window. What its predecessor had open it leaves to the next round.
    """
    again = bool(attempt or lane.round)
    if again:
        time.sleep(RETRIED_LANE_WAIT)
    brief = lane.brief
    if brief.logs is not None:
        log_as(brief.logs, brief.run_id, lane.index)
    log.info("round %d, try %d: %d chunks, %d in flight", lane.round, attempt, len(lane.chunks), lane.threads)
    quota = Quota(lane.threads, lane.per_second, lane.threads / 2 if again else 0)
    client = Client(brief.service, lane.threads)
    fetcher = Fetcher(client, brief.recipe, brief.layout.planes, quota, brief.retry)
    store = open_store(brief.path, brief.storage)
    notes = Notes(store, brief.run_id, lane.round, lane.index)
    run = _Run(lane, attempt, store, notes, fetcher)
    with Reporter(brief.progress, run.progress), Watch(notes, run.stop_with_others):
        run.fetch_all()
    record = run.record()
    notes.ended(record)
    counts = ", ".join(f"{record[name]} {name}" for name in ("ok", "empty", "failed", "skipped", "missing"))
    log.info("ended after %.1f s: %s", record["seconds"], counts)
    yield record


class _Run:
    """The state of one lane at work."""

    def __init__(self, lane: Lane, attempt: int, store: Store, notes: Notes, fetcher: Fetcher) -> None:
        self.lane, self.brief, self.store, self.notes, self.fetcher = lane, lane.brief, store, notes, fetcher
        self.attempt = attempt
        self.left = notes.left_open() if attempt else set()
        self.publisher = Publisher(lane.brief, notes, fetcher.stop)
        self.answers = self.bytes_in = self.empty = self.failed = 0
        self.errors: Counter[str] = Counter()
        self.error: EESparkError | None = None
        self._started = time.monotonic()

    def fetch_all(self) -> None:
        """Fetch every chunk as one continuous stream; publishing goes on beside it."""
        try:
            with closing(self.fetcher.stream(self._asks())) as stream:
                for item in stream:
                    if isinstance(item, OpenChunk):
                        self.publisher.opened(item)
                    else:
                        self.publisher.advance(self._take(item))
        except EESparkError as error:
            self.error = error
            self.fetcher.stop()
        finally:
            self.publisher.end()
        self.error = self.error or self.publisher.error or self.fetcher.stopped
        if self.error is not None:
            self.notes.stop_all(str(self.error))

    def stop_with_others(self, reason: str) -> None:
        """Stop because another lane stopped the run."""
        self.error = self.error or StoppedError(reason)
        self.fetcher.stop()

    def record(self) -> dict[str, Any]:
        """Return what the driver adds up."""
        counts = {name: self.publisher.counts[name] for name in ("ok", "empty", "failed", "skipped")}
        mine = [index for index in range(len(self.lane.chunks)) if index not in self.left]
        opened = self.publisher.unclosed()
        unclosed = {index: dict(opened.get(index, {})) for index in mine if index not in self.publisher.closed}
        planned = sum(self.lane.chunks[index].count for index in mine)
        return {
            "lane": self.lane.index,
            **counts,
            "missing": planned - sum(counts.values()) - sum(sum(done.values()) for done in unclosed.values()),
            "left": sorted(self.left),
            "unclosed": {str(index): done for index, done in unclosed.items()},
            **self.fetcher.telemetry.record(),
            "rejected": self.fetcher.quota.refusals,
            "bytes_in": self.bytes_in,
            "parts": self.publisher.parts,
            "peak_in_flight": self.fetcher.quota.peak,
            "restricted": self.fetcher.restricted,
            "errors": dict(self.errors.most_common(20)),
            "stopped": str(self.error) if self.error else None,
            "stop_kind": getattr(self.error, "kind", None),
            "seconds": time.monotonic() - self._started,
        }

    def progress(self) -> dict[str, int | str]:
        """Return the counters that a progress bar shows."""
        return {
            "lane": f"{self.lane.round}.{self.lane.index}.{self.attempt}",
            "answers": self.answers,
            "ok": self.answers - self.empty - self.failed,
            "empty": self.empty,
            "skipped": self.publisher.counts["skipped"],
            "failed": self.failed,
            "retries": self.fetcher.telemetry.retries,
            "in_flight": self.fetcher.quota.in_flight,
            "bytes_in": self.bytes_in,
        }

    def _asks(self) -> Iterator[Ask | tuple[Ask, ...] | OpenChunk]:
        """Yield each chunk as it is opened, then its asks: the planned pairs that are committed in no part."""
        mine = [index for index in range(len(self.lane.chunks)) if index not in self.left]
        chunk_logs = open_logs(self.store, self.brief.layout, [self.lane.chunks[index].key for index in mine])
        for index, chunk_log in zip(mine, chunk_logs, strict=True):
            if self.fetcher.stopping:
                return
            chunk, asks = self._open(index, self.lane.chunks[index], chunk_log)
            chunk.left = len(asks)
            if asks:  # a chunk that is done needs no note: a resumed lane would write thousands of them first
                self.notes.opened(index)
                chunk.noted = True
            yield chunk
            yield from _packs(asks, self.brief.pack)
            while self.lane.alone and not chunk.closed.wait(0.2) and not self.fetcher.stopping:
                pass

    def _open(self, index: int, planned: Chunk, chunk_log: ChunkLog) -> tuple[OpenChunk, list[Ask]]:
        """Return a chunk with what is known of it, and what is to be asked for."""
        lane, frozen = self.lane, self.brief.layout.frozen
        tiles, tile, image = planned.pairs(frozen.shape, lane.points, snap=self.brief.snap)
        pairs = list(zip(tile.tolist(), image.tolist(), strict=True))
        keys = [(tiles.ids[t], lane.image_ids[i]) for t, i in pairs]
        committed = chunk_log.committed
        chunk = OpenChunk(index, chunk_log, tiles, set(keys))
        deaths = lane.deaths[index] if lane.deaths else 0
        if deaths >= DEATHS and len(keys) == 1 and keys[0] not in committed:
            message = f"it was alone at work when its worker died, {deaths} times; run again with a smaller tile"
            error = ServiceError(message, kind="permanent", label=WORKER_DIED)
            (pair,) = pairs
            self._fail(
                chunk,
                (0, *pair),
                Answer(Ask(None, keys[0][1], -1, None, _NOWHERE, keys[0][0]), error=error, attempts=deaths),
            )
            return chunk, []
        failed: frozenset[Key] = chunk_log.failed if self.brief.skip_failed else frozenset()
        asks = []
        for order, ((t, i), key) in enumerate(zip(pairs, keys, strict=True)):
            if key not in committed and key not in failed:
                window, _ = tiles.window(t).within_world()
                graph = lane.graphs[i if len(lane.graphs) > 1 else 0] if lane.graphs else None
                asks.append(Ask((chunk, order, t, i), lane.image_ids[i], lane.image_versions[i], graph, window, key[0]))
        return chunk, asks

    def _take(self, answer: Answer) -> OpenChunk:
        """Put an answer where it belongs: among the rows of the next part, the failed, or nowhere (missing)."""
        chunk: OpenChunk
        chunk, *place = answer.ask.ref
        chunk.left -= 1
        tile = {"tile": answer.ask.tile, "image": answer.ask.image_id}
        log.debug("answered: %d requests, %d ms", answer.requests, answer.milliseconds, extra=tile)
        self.bytes_in += answer.bytes_in
        self.answers += 1
        if answer.planes is not None:
            empty = self.brief.layout.validity.is_empty(answer.planes)
            self.empty += empty
            block = None if empty else self._whole(answer, chunk.tiles, place[1])
            chunk.rows.append(self._row(chunk, place, answer, "empty" if empty else "ok", block=block, http_status=200))
            chunk.waiting_bytes += 0 if empty else self.brief.layout.frozen.tile_bytes
        elif answer.error is not None and is_nothing(answer.error, answer.ask.image_id, answer.ask.graph):
            self.empty += 1  # there is no image: there are no pixels, and never will be
            why = {"error_class": DROPPED, "error_message": answer.error.message}
            chunk.rows.append(self._row(chunk, place, answer, "empty", **why))
        elif not answer.missing:
            self._fail(chunk, place, answer)
        return chunk

    def _whole(self, answer: Answer, tiles: Tiles, tile: int) -> Planes:
        """Return a block's planes as wide as the block: what lies beyond ±180° was not asked for, and is masked."""
        planes, (width, _) = answer.planes or {}, tiles.shape.stored
        if answer.ask.window.width == width:
            return planes
        _, left = tiles.window(tile).within_world()
        return widened(planes, width, left, self.brief.layout.fill)

    def _fail(self, chunk: OpenChunk, place: Any, answer: Answer) -> None:
        error = answer.error
        assert error is not None
        self.failed += 1
        log.info("failed: %s", error, extra={"tile": answer.ask.tile, "image": answer.ask.image_id})
        if error.message in self.errors or len(self.errors) < MESSAGES:
            self.errors[error.message] += 1
        status = error.status or None
        row = self._row(
            chunk, place, answer, "failed", error_class=error.label, error_message=error.message, http_status=status
        )
        chunk.failed.append(row)

    def _row(self, chunk: OpenChunk, place: Any, answer: Answer, status: str, **more: Any) -> Row:
        order, tile, image = place
        return Row(
            order=order,
            tiles=chunk.tiles,
            tile=tile,
            image_id=answer.ask.image_id,
            image_time=self.lane.image_times[image],
            version=answer.ask.version,
            status=status,
            attempts=answer.attempts,
            requests=answer.requests,
            fetch_ms=answer.milliseconds,
            bytes_in=answer.bytes_in,
            **more,
        )


_NOWHERE = Window("", (1, 0, 0, 0, -1, 0), 1, 1)


def _packs(asks: list[Ask], size: int) -> Iterator[Ask | tuple[Ask, ...]]:
    """Yield asks one by one, or up to ``size`` of the same window together."""
    if size == 1:
        yield from asks
        return
    for _, same in groupby(asks, key=lambda ask: ask.window):
        group = tuple(same)
        yield from (group[first : first + size] for first in range(0, len(group), size))
