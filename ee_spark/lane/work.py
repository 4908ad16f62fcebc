"""A lane at work: it fetches the tiles of its chunks as one continuous stream and publishes them, chunk by chunk."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy.typing as npt

from ee_spark.client import Client
from ee_spark.errors import EESparkError, ServiceError, StoppedError, StoreError
from ee_spark.fetch.fetcher import Fetcher
from ee_spark.fetch.quota import Quota
from ee_spark.fetch.request import Answer, Mark, Pack
from ee_spark.lane.lane import Lane
from ee_spark.lane.publisher import OpenChunk, Publisher
from ee_spark.lane.record import LaneRecord
from ee_spark.lane.reporter import Reporter
from ee_spark.lane.sink import ChunkSink, Sink, StoreSink
from ee_spark.lane.slice import Slice
from ee_spark.lane.spared import reaches
from ee_spark.logs import log_as
from ee_spark.objects import open_store
from ee_spark.planner.request import TileRequest, is_nothing
from ee_spark.status import DROPPED, TileStatus
from ee_spark.store.log import Key
from ee_spark.store.part import Row

RETRIED_LANE_WAIT = 5.0
DEATHS = 2
"""How many workers a tile may cost, alone, before it is failed without being asked for again."""
WORKER_DIED = "worker_died"
COUNTS = tuple(TileStatus)
MESSAGES = 200
"""Different error messages that a lane counts; all of them are in its rows."""

log = logging.getLogger(__name__)


def work(lane: Lane, attempt: int = 0) -> LaneRecord:
    """Do a lane's work for a dataset; return its record, which is left among the run's notes too, if they take it.

    ``attempt`` is Spark's. A lane that is tried again, or works in a later round, waits, so that what its predecessor
    has in flight ends, and begins at half its window. What its predecessor had open it leaves to the next round.
    """
    if attempt or lane.round:
        time.sleep(RETRIED_LANE_WAIT)
    store = open_store(lane.brief.path, lane.brief.storage, away=True)
    sink = StoreSink(store, lane, attempt)
    try:
        return work_into(sink, lane, lane.open(store), attempt)
    except EESparkError as error:
        sink.stop_all(str(error))
        return _end(sink, _not_begun(lane, error))


def work_into(sink: Sink, lane: Lane, mine: Slice, attempt: int = 0) -> LaneRecord:
    """Do a lane's work, on its slice, into any sink."""
    brief = lane.brief
    if brief.logs is not None:
        log_as(brief.logs, brief.run_id, lane.index)
    log.info("round %d, try %d: %d chunks, %d in flight", lane.round, attempt, len(mine.chunks), lane.threads)
    quota = Quota(lane.threads, lane.per_second, lane.threads / 2 if attempt or lane.round else 0)
    client = Client(brief.service, lane.threads)
    fetcher: Fetcher[Place, OpenChunk] = Fetcher(client, brief.recipe, brief.layout.planes, quota, brief.retry)
    run = _Run(lane, mine, attempt, sink, fetcher)
    with Reporter(brief.progress, run.progress), sink.watch(run.stop_with_others):
        run.fetch_all()
    return _end(sink, run.record())


def _end(sink: Sink, record: LaneRecord) -> LaneRecord:
    try:
        sink.ended(record)
    except StoreError as error:  # a full disk takes no note either: the reason travels back with the task
        record = replace(record, stopped=record.stopped or str(error), unnoted=True)
    counts = ", ".join(f"{getattr(record, name)} {name}" for name in COUNTS)
    log.info("ended after %.1f s: %s", record.seconds, counts)
    return record


def _not_begun(lane: Lane, error: EESparkError) -> LaneRecord:
    """Return the record of a lane that cannot begin, which stops the run."""
    return LaneRecord(
        lane.index,
        missing=lane.pairs,
        unclosed={index: {} for index in range(lane.chunks)},
        stopped=str(error),
    )


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

    def __init__(self, lane: Lane, mine: Slice, attempt: int, sink: Sink, fetcher: Fetcher[Place, OpenChunk]) -> None:
        self.lane, self.brief, self.slice, self.attempt = lane, lane.brief, mine, attempt
        self.sink, self.fetcher = sink, fetcher
        self.left = sink.left()
        self.publisher = Publisher(lane.brief, sink, fetcher.stop)
        self.answers = self.bytes_in = self.empty = self.failed = 0
        self.errors: Counter[str] = Counter()
        self.exceeded: set[int] = set()
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
            self.sink.stop_all(str(self.error))

    def stop_with_others(self, reason: str) -> None:
        """Stop because another lane stopped the run."""
        self.error = self.error or StoppedError(reason)
        self.fetcher.stop()

    def record(self) -> LaneRecord:
        """Return what the driver adds up."""
        counts = {name: self.publisher.counts[name] for name in COUNTS[:4]}
        mine = [index for index in range(len(self.slice.chunks)) if index not in self.left]
        opened = self.publisher.unclosed()
        unclosed = {index: dict(opened.get(index, {})) for index in mine if index not in self.publisher.closed}
        planned = sum(self.slice.chunks[index].count for index in mine)
        return LaneRecord(
            lane=self.lane.index,
            **counts,
            empties=dict(self.publisher.empties),
            missing=planned - sum(counts.values()) - sum(sum(done.values()) for done in unclosed.values()),
            left=tuple(sorted(self.left)),
            unclosed=unclosed,
            traffic=self.fetcher.telemetry.traffic,
            rejected=self.fetcher.quota.refusals,
            bytes_in=self.bytes_in,
            parts=self.publisher.parts,
            peak_in_flight=self.fetcher.quota.peak,
            restricted=self.fetcher.restricted,
            errors=dict(self.errors.most_common(20)),
            stopped=str(self.error) if self.error else None,
            stop_kind=self.error.kind if isinstance(self.error, ServiceError) else None,
            seconds=time.monotonic() - self._started,
            unnoted=False,
        )

    def progress(self) -> dict[str, int | str]:
        """Return the counters that a progress bar shows."""
        return {
            "lane": f"{self.brief.nonce}/{self.lane.round}.{self.lane.index}.{self.attempt}",
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
        mine = [index for index in range(len(self.slice.chunks)) if index not in self.left]
        sinks = self.sink.chunks([self.slice.chunks[index].key for index in mine])
        for index, sink in zip(mine, sinks, strict=True):
            if self.fetcher.stopping:
                return
            chunk, wanted = self._open(index, sink)
            chunk.left = len(wanted)
            if wanted:  # a chunk that is done needs no note: a resumed lane would write thousands of them first
                self.sink.opened(index)
                chunk.noted = True
            yield Mark(chunk)
            yield from _packs(wanted, self.brief.pack)
            while self.lane.alone and not chunk.closed.wait(0.2) and not self.fetcher.stopping:
                pass

    def _open(self, index: int, sink: ChunkSink) -> tuple[OpenChunk, list[Wanted]]:
        """Return a chunk with what is known of it, and what is to be asked for."""
        shape, snap = self.brief.layout.frozen.shape, self.brief.snap
        tiles, tile, image = self.slice.chunks[index].pairs(shape, self.slice.points, snap=snap)
        pairs = list(zip(tile.tolist(), image.tolist(), strict=True))
        keys = [(tiles.ids[t], self.slice.image_ids[i]) for t, i in pairs]
        committed = sink.committed
        chunk = OpenChunk(index, sink, tiles, set(keys))
        deaths = self.lane.deaths[index] if self.lane.deaths else 0
        if deaths >= DEATHS and len(keys) == 1 and keys[0] not in committed:
            message = f"it was alone at work when its worker died, {deaths} times; run again with a smaller tile"
            error = ServiceError(message, kind="permanent", label=WORKER_DIED)
            self._fail(Answer(self._request(chunk, 0, *pairs[0]), error=error, attempts=deaths), error)
            return chunk, []
        failed: AbstractSet[Key] = sink.failed if self.brief.skip_failed else frozenset()
        wanted = [
            self._request(chunk, order, *pair)
            for order, (pair, key) in enumerate(zip(pairs, keys, strict=True))
            if key not in committed and key not in failed
        ]
        return chunk, wanted

    def _request(self, chunk: OpenChunk, order: int, tile: int, image: int) -> Wanted:
        mine, tiles = self.slice, chunk.tiles
        graph, version = mine.graph(image), mine.image_versions[image]
        place = Place(chunk, order, tile, image)
        return TileRequest(place, mine.image_ids[image], version, graph, tiles.window(tile), tiles.ids[tile])

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
            if block is not None:
                self._look_beyond(wanted.ref, block)
            chunk.rows.append(
                self._row(answer, TileStatus.EMPTY if empty else TileStatus.OK, block=block, http_status=200)
            )
            chunk.waiting_bytes += 0 if empty else self.brief.layout.frozen.tile_bytes
        elif answer.error is not None and is_nothing(answer.error, wanted.image_id, wanted.graph):
            self.empty += 1  # there is no image: there are no pixels, and never will be
            chunk.rows.append(
                self._row(answer, TileStatus.EMPTY, error_class=DROPPED, error_message=answer.error.message)
            )
        elif answer.error is not None:
            self._fail(answer, answer.error)
        return chunk

    def _look_beyond(self, place: Place, planes: Mapping[str, npt.NDArray[Any]]) -> None:
        """Say so where pixels reach a side beyond which only the image's footprint took a tile away."""
        spared, tiles, layout = self.slice.spared, place.chunk.tiles, self.brief.layout
        if not len(spared) or place.image in self.exceeded or tiles.row is None or tiles.column is None:
            return
        lattice, row, column = tiles.lattice.key, int(tiles.row[place.tile]), int(tiles.column[place.tile])
        sides = spared.around(lattice, place.image, row, column)
        if sides and reaches(planes, layout.validity, layout.frozen.shape.margin, sides):
            self.exceeded.add(place.image)
            self.sink.exceeds(self.slice.image_ids[place.image])

    def _fail(self, answer: Answer[Place], error: ServiceError) -> None:
        self.failed += 1
        log.info("failed: %s", error, extra={"tile": answer.wanted.tile, "image": answer.wanted.image_id})
        if error.message in self.errors or len(self.errors) < MESSAGES:
            self.errors[error.message] += 1
        row = self._row(
            answer,
            TileStatus.FAILED,
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
            image_time=self.slice.image_times[place.image],
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
