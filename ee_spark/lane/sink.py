"""Where a lane's rows go: into the chunks' logs beside a dataset, or to somebody who reads them as they come."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import pyarrow as pa

from ee_spark.errors import StoppedError
from ee_spark.lane.lane import Brief, Lane
from ee_spark.lane.notes import Notes, Watch
from ee_spark.lane.record import LaneRecord
from ee_spark.lane.tally import tally
from ee_spark.objects import Store
from ee_spark.status import TileStatus
from ee_spark.store import exceeded
from ee_spark.store.log import ChunkLog, Key, open_logs
from ee_spark.store.part import Row, build, failed_table, pixel_table
from ee_spark.store.schema import Layout

NOBODY = "nobody reads on"


class ChunkSink(Protocol):
    """Where the rows of one chunk go."""

    @property
    def committed(self) -> AbstractSet[Key]:
        """The (tile_id, image_id) that are committed, by anybody."""

    @property
    def failed(self) -> AbstractSet[Key]:
        """Those that failed before."""

    def publish(self, rows: Sequence[Row]) -> list[Row]:
        """Commit rows (ok and empty); return those that this lane committed."""

    def close(self, failed: Sequence[Row], planned: AbstractSet[Key], mine: Mapping[Key, str]) -> Counter[str]:
        """Publish the chunk's failed rows, and count what its planned pairs have become; ``mine`` were committed here.

        Nothing is published after it.
        """


class Sink(Protocol):
    """Where the rows of one lane go, and who is told how far it is."""

    def left(self) -> set[int]:
        """Return the indices of the chunks that a predecessor had open, and that are left to the next round."""

    def chunks(self, keys: Sequence[str]) -> Iterator[ChunkSink]:
        """Yield the sink of each chunk in turn."""

    def opened(self, index: int) -> None:
        """Say that work on the chunk with this index begins."""

    def closed(self, index: int) -> None:
        """Say that it has ended."""

    def exceeds(self, image_id: str) -> None:
        """Say that pixels of an image reach beyond its footprint, before a tile that shows it is committed."""

    def ended(self, record: LaneRecord) -> None:
        """Say that the lane has ended."""

    def stop_all(self, reason: str) -> None:
        """Have all lanes of the run stop."""

    def watch(self, stop: Callable[[str], None]) -> AbstractContextManager[None]:
        """Call ``stop`` with the reason when this lane is to stop, as long as the context lasts."""


@dataclass(frozen=True)
class LogSink:
    """One chunk's log."""

    log: ChunkLog
    run_id: str

    @property
    def committed(self) -> AbstractSet[Key]:
        """The keys that are committed in the parts that were read."""
        return self.log.committed

    @property
    def failed(self) -> AbstractSet[Key]:
        """The keys that the chunk's file in ``tiles`` has as failed."""
        return self.log.failed

    def publish(self, rows: Sequence[Row]) -> list[Row]:
        """Commit rows in a part, or in more."""
        return self.log.publish(rows, partial(build, layout=self.log.layout, run_id=self.run_id))

    def close(self, failed: Sequence[Row], planned: AbstractSet[Key], mine: Mapping[Key, str]) -> Counter[str]:
        """Fold the chunk, and count."""
        self.log.fold(failed_table(failed, self.log.layout, self.run_id))
        return tally(self.log, planned, self.run_id, mine)


class StoreSink:
    """Into the chunks' logs of a dataset, with notes beside them; ``attempt`` is Spark's."""

    def __init__(self, store: Store, lane: Lane, attempt: int = 0) -> None:
        self._store, self._brief, self._attempt = store, lane.brief, attempt
        self._notes = Notes(store, lane.brief.notes, lane.round, lane.index)

    def left(self) -> set[int]:
        """Return what an earlier attempt noted as open."""
        return self._notes.left_open() if self._attempt else set()

    def chunks(self, keys: Sequence[str]) -> Iterator[ChunkSink]:
        """Yield each chunk's log, read ahead of its turn."""
        for log in open_logs(self._store, self._brief.layout, keys):
            yield LogSink(log, self._brief.run_id)

    def opened(self, index: int) -> None:
        """Note that a chunk is open."""
        self._notes.opened(index)

    def closed(self, index: int) -> None:
        """Take the note back."""
        self._notes.closed(index)

    def exceeds(self, image_id: str) -> None:
        """Note it in the dataset."""
        layout = self._brief.layout
        exceeded.note(self._store, layout.fingerprint, layout.frozen.life, image_id)

    def ended(self, record: LaneRecord) -> None:
        """Leave the record among the notes, where it outlives a stage that fails."""
        self._notes.ended(record)

    def stop_all(self, reason: str) -> None:
        """Leave word for all lanes."""
        self._notes.stop_all(reason)

    def watch(self, stop: Callable[[str], None]) -> AbstractContextManager[None]:
        """Look for such a word now and then."""
        return Watch(self._notes, stop)


class QueueSink:
    """To a reader of this process: the pixels' rows as Arrow batches, in the order in which they are published.

    At most ``most`` batches wait; then publishing does, and with it fetching. Nothing is kept.
    """

    def __init__(self, brief: Brief, most: int = 2) -> None:
        self._layout, self._most = brief.layout, most
        self._changed = threading.Condition()
        self._waiting: deque[pa.RecordBatch] = deque()
        self._over = self._left = False
        self._stop: Callable[[str], None] | None = None

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield batches as they come, until the lane has ended."""
        while True:
            with self._changed:
                while not self._waiting and not self._over:
                    self._changed.wait()
                if not self._waiting:
                    return
                batch = self._waiting.popleft()
                self._changed.notify_all()
            yield batch

    def put(self, batch: pa.RecordBatch) -> None:
        """Hand on a batch once there is room for it.

        Raises:
            StoppedError: if nobody reads on.
        """
        with self._changed:
            while len(self._waiting) >= self._most and not self._left:
                self._changed.wait()
            if self._left:
                raise StoppedError(NOBODY)
            self._waiting.append(batch)
            self._changed.notify_all()

    def end(self) -> None:
        """Say that no batch will come any more."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def leave(self) -> None:
        """Say that nobody reads on, as after ``limit(1)``: the lane stops, and its requests with it."""
        with self._changed:
            self._left = True
            self._waiting.clear()
            self._changed.notify_all()
            stop = self._stop
        if stop is not None:
            stop(NOBODY)

    def left(self) -> set[int]:
        """Return nothing: a task that is tried again fetches all again."""
        return set()

    def chunks(self, keys: Sequence[str]) -> Iterator[ChunkSink]:
        """Yield for each chunk a way into the queue."""
        yield from (QueuedChunk(self, self._layout) for _ in keys)

    def opened(self, index: int) -> None:
        """Tell nobody."""

    def closed(self, index: int) -> None:
        """Tell nobody."""

    def exceeds(self, image_id: str) -> None:
        """Tell nobody: where rows are only handed on, a plan takes nothing away for footprints."""

    def ended(self, record: LaneRecord) -> None:
        """Tell nobody."""

    def stop_all(self, reason: str) -> None:
        """Tell nobody: whoever reads learns of it when the lane has ended."""

    @contextmanager
    def watch(self, stop: Callable[[str], None]) -> Iterator[None]:
        """Call ``stop`` when the reader leaves."""
        with self._changed:
            self._stop, left = stop, self._left
        if left:
            stop(NOBODY)
        try:
            yield
        finally:
            with self._changed:
                self._stop = None


@dataclass(frozen=True)
class QueuedChunk:
    """One chunk's way into the queue: every pair of it is new."""

    sink: QueueSink
    layout: Layout
    committed: AbstractSet[Key] = frozenset()
    failed: AbstractSet[Key] = frozenset()

    def publish(self, rows: Sequence[Row]) -> list[Row]:
        """Hand on the pixels of ``rows``, in their order, some rows at a time."""
        ok = [row for row in sorted(rows, key=lambda row: row.order) if row.status == TileStatus.OK]
        step = self.layout.group_rows()
        for first in range(0, len(ok), step):
            for batch in pixel_table(ok[first : first + step], self.layout).combine_chunks().to_batches():
                self.sink.put(batch)
        return list(rows)

    def close(self, failed: Sequence[Row], planned: AbstractSet[Key], mine: Mapping[Key, str]) -> Counter[str]:
        """Count what the planned pairs have become."""
        return Counter(mine.values()) + Counter(failed=len(failed))
