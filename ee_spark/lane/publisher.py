"""Rows on their way into tables: gathered by chunk, published beside the fetching, bounded in memory."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

import pyarrow as pa

from ee_spark.errors import EESparkError
from ee_spark.lane.lane import Brief
from ee_spark.lane.sink import ChunkSink, Sink
from ee_spark.planner.tile import Tiles
from ee_spark.status import TileStatus, why_empty
from ee_spark.store.log import Key
from ee_spark.store.part import Row
from ee_spark.store.schema import PART_TILES

HELD_PARTS = 1.25
"""Raw bytes that wait or are being written, in parts; the part that is being written is held once more, encoded."""


@dataclass(eq=False)
class OpenChunk:
    """A chunk while the lane works on it: where its rows go, its tiles, and the rows that wait for the next part.

    ``left`` is how many answers are still to come, ``mine`` what this lane committed, by key; ``noted`` says
    that others know it is open.
    """

    index: int
    sink: ChunkSink
    tiles: Tiles
    planned: set[Key]
    left: int = 0
    noted: bool = False
    rows: list[Row] = field(default_factory=list)
    waiting_bytes: int = 0
    failed: list[Row] = field(default_factory=list)
    mine: dict[Key, str] = field(default_factory=dict)
    closed: threading.Event = field(default_factory=threading.Event)


class Publisher:
    """Publishes chunks' rows in a thread of its own; ``counts`` says what became of the pairs of chunks it ``closed``.

    ``empties`` counts the empty tiles that were committed here, in whatever chunk, by their reason.
    ``error`` is what ended the publishing, if anything did; then ``fail`` was called, and no more is written.
    """

    def __init__(self, brief: Brief, sink: Sink, fail: Callable[[], None]) -> None:
        self.counts: Counter[str] = Counter()
        self.empties: Counter[str] = Counter()
        self.closed: set[int] = set()
        self.parts = 0
        self.error: EESparkError | None = None
        self._brief, self._sink, self._fail = brief, sink, fail
        self._chunks: list[OpenChunk] = []
        self._pool = ThreadPoolExecutor(1, "publish")
        self._running: dict[Future[None], int] = {}

    def opened(self, chunk: OpenChunk) -> None:
        """Take on a chunk."""
        self._chunks = [*(other for other in self._chunks if not other.closed.is_set()), chunk]
        self.advance(chunk)

    def advance(self, chunk: OpenChunk) -> None:
        """Publish what is ripe now that ``chunk`` has another answer, and wait where too much is held."""
        if not chunk.left:
            self._publish(chunk, last=True)
        elif len(chunk.rows) >= PART_TILES or chunk.waiting_bytes >= self._brief.part_size:
            self._publish(chunk)
        elif self._waiting() >= self._brief.part_size:
            self._publish(max(self._chunks, key=lambda other: other.waiting_bytes))
        self._wait_until_held(HELD_PARTS * self._brief.part_size)

    def end(self) -> None:
        """Wait for all that was handed over."""
        self._pool.shutdown()
        self._wait_until_held(0)

    def unclosed(self) -> dict[int, Counter[str]]:
        """Return what the pairs of chunks that were opened, and not closed, have come to."""
        return {chunk.index: Counter(chunk.mine.values()) for chunk in self._chunks if not chunk.closed.is_set()}

    def _waiting(self) -> int:
        return sum(chunk.waiting_bytes for chunk in self._chunks)

    def _publish(self, chunk: OpenChunk, *, last: bool = False) -> None:
        rows, size = chunk.rows, chunk.waiting_bytes
        chunk.rows, chunk.waiting_bytes = [], 0
        self._running[self._pool.submit(self._write, chunk, rows, last)] = size

    def _wait_until_held(self, most: float) -> None:
        """Wait until no more than ``most`` bytes are held; raise what publishing raised that is not ours."""
        while self._running:
            over = self._waiting() + sum(self._running.values()) > most
            for future in wait(self._running, None if over else 0, FIRST_COMPLETED).done:
                self._running.pop(future)
                future.result()
            if not over:
                return

    def _write(self, chunk: OpenChunk, rows: list[Row], last: bool) -> None:
        if self.error is not None:
            return
        try:
            if rows:
                committed = chunk.sink.publish(rows)
                chunk.mine.update({row.key: row.status for row in committed})
                self.empties.update(self._why(row) for row in committed if row.status == TileStatus.EMPTY)
                self.parts += 1
                del committed
                rows.clear()  # with their pixels
                pa.default_memory_pool().release_unused()  # what the encoder took, the next answers may need
            if last:
                self._close(chunk)
        except EESparkError as error:
            self.error = error
            self._fail()

    def _why(self, row: Row) -> str:
        outside = self._brief.outside
        return why_empty(row.error_class, outside=None if outside is None else row.key[0] in outside)

    def _close(self, chunk: OpenChunk) -> None:
        """Close the chunk, and count what its planned pairs have become."""
        self.counts.update(chunk.sink.close(chunk.failed, chunk.planned, chunk.mine))
        if chunk.noted:
            self._sink.closed(chunk.index)
        self.closed.add(chunk.index)
        chunk.closed.set()
