"""A chunk is a log: its parts are published one after the other, and each commits some of its tiles.

A part's number is taken by one atomic create-if-absent. Whoever publishes first reads the ledgers of all parts that are
there and leaves out what is committed in them, so the parts of a chunk are disjoint whoever writes them: retried,
speculative and zombie tasks, a second driver. No lock, no coordinator, no rename.
"""

from __future__ import annotations

import json
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ee_spark.errors import StoppedError, StoreError
from ee_spark.objects import Store
from ee_spark.status import TileStatus
from ee_spark.store import ledger
from ee_spark.store.bounds import damage, json_of, parquet, parquet_rows
from ee_spark.store.georeference import extent
from ee_spark.store.ledger import Ledger
from ee_spark.store.life import goes_on
from ee_spark.store.part import Part, Row
from ee_spark.store.schema import PIXELS, TILES, Layout, parse_part, with_extent

FOLDED = b"ee_spark.folded"
FAILED = b"ee_spark.failed"
THREADS = 16
AHEAD = 32
"""Chunks whose logs are read before their turn comes."""
FRESH_SECONDS = 60.0
REPAIR = "run jobs/verify.py --repair, then run again"
Key = tuple[str, str]


@dataclass
class ChunkLog:
    """The log of one chunk as one writer sees it.

    ``ledgers`` by part number, as far as they were read; ``folded`` has the parts that the chunk's file in ``tiles``
    was folded from, with the attempts that wrote them, and ``failed`` the keys that it holds as failed.
    """

    store: Store
    layout: Layout
    chunk: str
    ledgers: dict[int, Ledger] = field(default_factory=dict)
    folded: dict[str, str] | None = None
    failed: frozenset[Key] = frozenset()

    @property
    def committed(self) -> set[Key]:
        """The (tile_id, image_id) that are committed in the parts that were read."""
        return {key for entry in self.ledgers.values() for key in entry.tiles}

    @property
    def prefix(self) -> str:
        """What the names of all parts of the chunk begin with."""
        return f"{PIXELS}/{self.layout.prefix}{self.chunk}-"

    @property
    def tiles_name(self) -> str:
        """The name of the chunk's file in ``tiles``."""
        return f"{TILES}/{self.layout.prefix}{self.chunk}.parquet"

    @property
    def parts(self) -> dict[str, str]:
        """The names of the parts that were read, with the attempts that wrote them."""
        return {self.part_name(number): self.ledgers[number].attempt for number in sorted(self.ledgers)}

    def part_name(self, number: int) -> str:
        """Return the name of the chunk's part ``number``."""
        return f"{self.prefix}{number}.parquet"

    def read(self, names: Iterable[str] | None = None) -> None:
        """Read the ledgers of all parts that are there (``names``, if they were listed) and were not read yet.

        Raises:
            LedgerError: if a part has none that can be read: nobody knows what is committed in it.
        """
        for name in [entry.name for entry in self.store.list(self.prefix)] if names is None else names:
            match = re.fullmatch(r"(\d+)\.parquet", name.removeprefix(self.prefix))
            if match and int(match[1]) not in self.ledgers:
                self.ledgers[int(match[1])] = ledger.read(self.store, name)

    def publish(self, rows: Sequence[Row], build: Callable[[Sequence[Row]], Part]) -> list[Row]:
        """Commit ``rows``, those that are not yet, in one part, or in more where its ledger would be too large.

        Returns the rows that this writer committed.

        Raises:
            StoppedError: if the job was overwritten meanwhile; what was published too late is taken back.
        """
        self.read()
        waiting, mine = [list(rows)], []
        while waiting:
            batch = waiting.pop()
            committed = self.committed
            left = [row for row in batch if row.key not in committed]
            if not left:
                continue
            part = build(left)
            if part.ledger_bytes > ledger.MAX_BYTES and len(left) > 1:
                waiting += [left[len(left) // 2 :], left[: len(left) // 2]]
            else:
                mine += self._append(part, build)
        return mine

    def fold(self, failed: pa.Table) -> frozenset[Key]:
        """Bring the chunk's file in ``tiles`` up to its parts and to ``failed`` rows; return the keys failed in it.

        A committed tile's row comes from its ledger, whatever failed before; of failed rows the newest stays.

        Raises:
            StoppedError: if the job was overwritten meanwhile.
        """
        while failed.num_rows or self.folded != self.parts:
            self.read()
            current = self.store.read(self.tiles_name)
            old = self._parse(current[0]) if current else None
            if old is None:
                self.folded, self.failed = None, frozenset()
            if self.folded == self.parts and not failed.num_rows:
                break
            table = self._folded(self.layout.tiles.empty_table() if old is None else old, failed)
            if not table.num_rows and not current and not self.ledgers:
                break
            keys = _failed(table)
            self._stand_down()
            data = _tiles_bytes(table, self.parts, len(keys), self.layout)
            if self.store.replace(self.tiles_name, data, current[1] if current else None):
                self.folded, self.failed = self.parts, keys
                self._stand_down(self.tiles_name)
                break
        return self.failed

    def refold(self) -> None:
        """Write the chunk's file in ``tiles`` anew, whatever it says it was folded from.

        Raises:
            StoreError: if it cannot be read, and so nobody knows which tiles failed.
        """
        while True:
            self.read()
            current = self.store.read(self.tiles_name)
            old = self._parse(current[0]) if current else self.layout.tiles.empty_table()
            table = self._folded(old, self.layout.tiles.empty_table())
            data = _tiles_bytes(table, self.parts, len(self.failed - self.committed), self.layout)
            if self.store.replace(self.tiles_name, data, current[1] if current else None):
                return

    def behind(self) -> str:
        """Return what is wrong with the chunk's file in ``tiles``, next to the ledgers that were read; "" if nothing.

        Raises:
            StoreError: if it cannot be read.
        """
        current = self.store.read(self.tiles_name)
        if current is None:
            return "is gone"
        old = self._parse(current[0])
        if self.folded != self.parts:
            return f"was folded from {len(self.folded or ())} parts, and there are {len(self.parts)}"
        table = self._folded(old, self.layout.tiles.empty_table())
        return "" if old.equals(table) else "its rows are not those of its parts"

    def read_tiles(self) -> None:
        """Read, from the footer of the chunk's file in ``tiles``, what it was folded from, and which keys failed."""
        with self._torn(), self.store.open(self.tiles_name) as file:
            tiles = parquet(file, columns := ["tile_id", "image_id", "status"])
            footer = tiles.metadata.metadata or {}
            table = tiles.read(columns=columns) if footer.get(FAILED) != b"0" else None
            self.folded = json_of(footer[FOLDED]) if FOLDED in footer else None
            self.failed = _failed(table) if table is not None else frozenset()

    def _append(self, part: Part, build: Callable[[Sequence[Row]], Part]) -> list[Row]:
        """Publish a part under the next number that nobody has taken; drop from it what others committed."""
        number = max(self.ledgers, default=-1) + 1
        self._stand_down()
        while True:
            name = self.part_name(number)
            created = self._create(name, part.data)
            self.ledgers[number] = part.ledger if created else ledger.read(self.store, name)
            if self.ledgers[number].attempt == part.ledger.attempt:  # also where the answer to our create was lost
                self._stand_down(name)
                return list(part.rows)
            left = [row for row in part.rows if row.key not in self.ledgers[number].tiles]
            if not left:
                return []
            if len(left) < len(part.rows):
                part = build(left)
            number += 1

    def _create(self, name: str, data: bytes) -> bool:
        try:
            return self.store.create(name, data)
        except StoreError:
            if not any(entry.name == name for entry in self.store.list(name)):
                raise  # the outcome was ambiguous, and it is settled: nothing was published
            return False

    def _stand_down(self, published: str | None = None) -> None:
        """Stop if another run has replaced the job meanwhile, and take back what was published too late.

        It is looked at before each publish too, so that readers see little of such a part.
        """
        if not goes_on(self.store, self.layout.fingerprint, self.layout.frozen.life):
            if published is not None:
                self.store.delete(published)
            raise StoppedError(f"{self.store.root}: another run has overwritten this job; nothing more is written")

    def _parse(self, data: bytes) -> pa.Table:
        """Return the rows of the chunk's file in ``tiles``, and note what it was folded from and what failed."""
        with self._torn():
            file = parquet(pa.BufferReader(data))
            table = file.read()
            table.validate(full=True)
            if table.column_names != self.layout.tiles.names:
                raise ValueError("its columns are not those of the other parts")
            table = table.replace_schema_metadata().cast(self.layout.tiles.remove_metadata())
            footer = file.metadata.metadata or {}
            self.folded = json_of(footer[FOLDED]) if FOLDED in footer else None
            self.failed = _failed(table)
            return table
        raise AssertionError("damage raises")

    def _torn(self) -> AbstractContextManager[None]:
        where = f"{self.store.root}/{self.tiles_name}"
        return damage(where, way_out=REPAIR, kind=StoreError)

    def _folded(self, old: pa.Table, failed: pa.Table) -> pa.Table:
        committed = self.committed
        plain = self.layout.tiles.remove_metadata()
        was_failed = old.filter(pc.equal(old["status"], TileStatus.FAILED))
        candidates = pa.concat_tables([was_failed.replace_schema_metadata().cast(plain), failed.cast(plain)])
        newest: dict[Key, tuple[Any, int]] = {}
        keys = zip(candidates["tile_id"].to_pylist(), candidates["image_id"].to_pylist(), strict=True)
        for index, (key, made) in enumerate(zip(keys, candidates["created_at"].to_pylist(), strict=True)):
            if key not in committed and (key not in newest or made >= newest[key][0]):
                newest[key] = (made, index)
        kept = candidates.take(pa.array([index for _, index in newest.values()], pa.int64()))
        tables = [self._ledger_rows(number, entry) for number, entry in sorted(self.ledgers.items())]
        table = pa.concat_tables([*tables, kept])
        order = [("tile_id", "ascending"), ("image_time", "ascending"), ("image_id", "ascending")]
        return table.take(pc.sort_indices(table, order))

    def _ledger_rows(self, number: int, entry: Ledger) -> pa.Table:
        """Return one part's committed tiles as rows of ``tiles``: the ledger beside the part's own columns."""
        name = self.part_name(number)
        with damage(f"{self.store.root}/{name}", way_out=REPAIR, kind=StoreError):
            return self._rows_of(name, entry)
        raise AssertionError("damage raises")

    def _rows_of(self, name: str, entry: Ledger) -> pa.Table:
        keys = [item.name for item in self.layout.keys]
        if entry.committed.num_rows > entry.empty.num_rows:
            with self.store.open(name) as file:
                ok = parquet_rows(file, keys)
        else:
            ok = entry.empty.slice(0, 0)
        plain = pa.schema(self.layout.keys)
        where = pa.concat_tables([ok.replace_schema_metadata().cast(plain), entry.empty.cast(plain)])
        is_ok = pc.equal(entry.committed["status"], TileStatus.OK)
        part = pc.if_else(is_ok, pa.scalar(name.removeprefix(f"{PIXELS}/")), pa.scalar(None, pa.string()))
        rest = entry.committed.drop_columns(["tile_id", "image_id"])
        arrays = [*where.columns, *rest.columns, part]
        return pa.Table.from_arrays(arrays, schema=self.layout.tiles.remove_metadata())


def open_logs(store: Store, layout: Layout, chunks: Iterable[str], *, tiles: bool = True) -> Iterator[ChunkLog]:
    """Yield the log of each chunk in turn, its ledgers and, with ``tiles``, the footer of its ``tiles`` file read.

    One listing serves all chunks whose turn comes soon; footers are read by several threads, ahead of their turn.
    """
    listed: dict[str, dict[str, list[str]]] = {}
    expires = 0.0

    def opened(chunk: str, names: list[str], has_tiles: bool) -> ChunkLog:
        log = ChunkLog(store, layout, chunk)
        log.read(names)
        if has_tiles:
            log.read_tiles()
        return log

    def ready() -> ChunkLog:
        log, since = ahead.popleft()
        found = log.result()
        if time.monotonic() - since > FRESH_SECONDS:
            found.read()
        return found

    ahead: deque[tuple[Future[ChunkLog], float]] = deque()
    pool = ThreadPoolExecutor(THREADS, "ledgers")
    try:
        for chunk in chunks:
            now = time.monotonic()
            if now > expires:
                listed, expires = listing(store, layout), now + FRESH_SECONDS
            names, has_tiles = listed[PIXELS].get(chunk, []), tiles and chunk in listed[TILES]
            ahead.append((pool.submit(opened, chunk, names, has_tiles), now))
            if len(ahead) == AHEAD:
                yield ready()
        while ahead:
            yield ready()
    finally:
        pool.shutdown(cancel_futures=True)


def listing(store: Store, layout: Layout) -> dict[str, dict[str, list[str]]]:
    """Return the names of the job's parts that are there, by table and chunk."""
    found: dict[str, dict[str, list[str]]] = {PIXELS: {}, TILES: {}}
    for table, by_chunk in found.items():
        for entry in store.list(f"{table}/{layout.prefix}"):
            if part := parse_part(entry.name):
                by_chunk.setdefault(part.chunk, []).append(entry.name)
    return found


def _failed(table: pa.Table) -> frozenset[Key]:
    return _keys(table.filter(pc.equal(table["status"], TileStatus.FAILED)))


def _keys(table: pa.Table) -> frozenset[Key]:
    return frozenset(zip(table["tile_id"].to_pylist(), table["image_id"].to_pylist(), strict=True))


def _tiles_bytes(table: pa.Table, parts: dict[str, str], failed: int, layout: Layout) -> bytes:
    sink = pa.BufferOutputStream()
    schema = with_extent(layout.tiles, extent(table))
    with pq.ParquetWriter(sink, schema, **layout.writer_options(layout.tiles)) as writer:
        writer.write_table(table.cast(layout.tiles))
        writer.add_key_value_metadata({FOLDED: json.dumps(parts).encode(), FAILED: str(failed).encode()})
    return bytes(sink.getvalue().to_pybytes())
