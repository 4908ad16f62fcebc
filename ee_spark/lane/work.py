"""A lane at work: it fetches the tiles of its chunks as one continuous stream and publishes them, chunk by chunk."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from ee_spark.client import Client
from ee_spark.errors import EESparkError, ServiceError, StoppedError
from ee_spark.fetch.fetcher import Fetcher
from ee_spark.fetch.quota import Quota
from ee_spark.fetch.request import Answer, Mark, Pack
from ee_spark.lane.lane import Lane
from ee_spark.lane.notes import Notes, Watch
from ee_spark.lane.publisher import OpenChunk, Publisher
from ee_spark.lane.reporter import Reporter
from ee_spark.logs import log_as
from ee_spark.objects import Store, open_store
from ee_spark.planner.chunk import Chunk
from ee_spark.planner.request import TileRequest, graph_of, is_nothing
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
    fetcher: Fetcher[Place, OpenChunk] = Fetcher(client, brief.recipe, brief.layout.planes, quota, brief.retry)
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


@dataclass(frozen=True)
class Place:
    """Where an answer belongs: its chunk, its order in it, and the indices of its tile and image."""

    chunk: OpenChunk
    order: int
    tile: int
    image: int


Wanted = TileRequest[Place]
"""A tile request of a lane."""


class _Run:
    """The state of one lane at work."""

    def __init__(
        self, lane: Lane, attempt: int, store: Store, notes: Notes, fetcher: Fetcher[Place, OpenChunk]
    ) -> None:
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
            with closing(self.fetcher.stream(self._wanted())) as stream:
                for item in stream:
                    if isinstance(item, Mark):
                        self.publisher.opened(item.value)
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

    def _wanted(self) -> Iterator[Wanted | Pack[Place] | Mark[OpenChunk]]:
        """Yield each chunk as it is opened, then its tile requests: the planned pairs that are committed in no part."""
        mine = [index for index in range(len(self.lane.chunks)) if index not in self.left]
        chunk_logs = open_logs(self.store, self.brief.layout, [self.lane.chunks[index].key for index in mine])
        for index, chunk_log in zip(mine, chunk_logs, strict=True):
            if self.fetcher.stopping:
                return
            chunk, wanted = self._open(index, self.lane.chunks[index], chunk_log)
            chunk.left = len(wanted)
            if wanted:  # a chunk that is done needs no note: a resumed lane would write thousands of them first
                self.notes.opened(index)
                chunk.noted = True
            yield Mark(chunk)
            yield from _packs(wanted, self.brief.pack)
            while self.lane.alone and not chunk.closed.wait(0.2) and not self.fetcher.stopping:
                pass

    def _open(self, index: int, planned: Chunk, chunk_log: ChunkLog) -> tuple[OpenChunk, list[Wanted]]:
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
            request = self._request(chunk, 0, *pairs[0])
            self._fail(Answer(request, error=error, attempts=deaths), error)
            return chunk, []
        failed: frozenset[Key] = chunk_log.failed if self.brief.skip_failed else frozenset()
        wanted = [
            self._request(chunk, order, *pair)
            for order, (pair, key) in enumerate(zip(pairs, keys, strict=True))
            if key not in committed and key not in failed
        ]
        return chunk, wanted

    def _request(self, chunk: OpenChunk, order: int, tile: int, image: int) -> Wanted:
        lane, tiles = self.lane, chunk.tiles
        graph, version = graph_of(lane.graphs, image), lane.image_versions[image]
        place = Place(chunk, order, tile, image)
        return TileRequest(place, lane.image_ids[image], version, graph, tiles.window(tile), tiles.ids[tile])

    def _take(self, answer: Answer[Place]) -> OpenChunk:
        """Put an answer where it belongs: among the rows of the next part, the failed, or nowhere (missing)."""
        wanted, chunk = answer.wanted, answer.wanted.ref.chunk
        chunk.left -= 1
        where = {"tile": wanted.tile, "image": wanted.image_id}
        log.debug("answered: %d requests, %d ms", answer.requests, answer.milliseconds, extra=where)
        self.bytes_in += answer.bytes_in
        self.answers += 1
        if answer.planes is not None:
            empty = self.brief.layout.validity.is_empty(answer.planes)
            self.empty += empty
            block = None if empty else answer.block(self.brief.layout.fill)
            chunk.rows.append(self._row(answer, "empty" if empty else "ok", block=block, http_status=200))
            chunk.waiting_bytes += 0 if empty else self.brief.layout.frozen.tile_bytes
        elif answer.error is not None and is_nothing(answer.error, wanted.image_id, wanted.graph):
            self.empty += 1  # there is no image: there are no pixels, and never will be
            chunk.rows.append(self._row(answer, "empty", error_class=DROPPED, error_message=answer.error.message))
        elif answer.error is not None:
            self._fail(answer, answer.error)
        return chunk

    def _fail(self, answer: Answer[Place], error: ServiceError) -> None:
        self.failed += 1
        log.info("failed: %s", error, extra={"tile": answer.wanted.tile, "image": answer.wanted.image_id})
        if error.message in self.errors or len(self.errors) < MESSAGES:
            self.errors[error.message] += 1
        row = self._row(
            answer,
            "failed",
            error_class=error.label,
            error_message=error.message,
            http_status=error.status or None,
        )
        answer.wanted.ref.chunk.failed.append(row)

    def _row(self, answer: Answer[Place], status: str, **more: Any) -> Row:
        wanted, place = answer.wanted, answer.wanted.ref
        return Row(
            order=place.order,
            tiles=place.chunk.tiles,
            tile=place.tile,
            image_id=wanted.image_id,
            image_time=self.lane.image_times[place.image],
            version=wanted.version,
            status=status,
            attempts=answer.attempts,
            requests=answer.requests,
            fetch_ms=answer.milliseconds,
            bytes_in=answer.bytes_in,
            **more,
        )


def _packs(wanted: list[Wanted], size: int) -> Iterator[Wanted | Pack[Place]]:
    """Yield tile requests one by one, or up to ``size`` of the same window together."""
    if size == 1:
        yield from wanted
        return
    for _, same in groupby(wanted, key=lambda one: one.window):
        group = tuple(same)
        yield from (Pack(group[first : first + size]) for first in range(0, len(group), size))
