"""A chunk is a log: its parts are published one after the other, and each makes some of its tiles final.

A part's number is taken by one atomic create-if-absent. Whoever publishes first reads the ledgers of all parts that are
there and leaves out what is final in them, so the parts of a chunk are disjoint whoever writes them: retried,
speculative and zombie tasks, a second driver. No lock, no coordinator, no rename.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ee_spark.errors import StoreError
from ee_spark.objects import Store
from ee_spark.store import ledger
from ee_spark.store.ledger import Ledger
from ee_spark.store.part import Part, Row
from ee_spark.store.schema import PIXELS, TILES, Layout

FOLDED = b"ee_spark.folded"
Key = tuple[str, str]

log = logging.getLogger(__name__)


@dataclass
class ChunkLog:
    """The log of one chunk as one writer sees it: ``ledgers`` by part number, as far as they were read."""

    store: Store
    layout: Layout
    chunk: str
    ledgers: dict[int, Ledger] = field(default_factory=dict)

    @property
    def final(self) -> set[Key]:
        """The (tile_id, image_id) that are final in the parts that were read."""
        return {key for entry in self.ledgers.values() for key in entry.tiles}

    def part_name(self, number: int) -> str:
        """Return the name of the chunk's part ``number``."""
        return f"{PIXELS}/{self.layout.prefix}{self.chunk}-{number}.parquet"

    @property
    def tiles_name(self) -> str:
        """The name of the chunk's file in ``tiles``."""
        return f"{TILES}/{self.layout.prefix}{self.chunk}.parquet"

    def read(self) -> None:
        """Read the ledgers of all parts that are there and were not read yet.

        Raises:
            LedgerError: if a part has none that can be read: nobody knows what is final in it.
        """
        prefix = f"{PIXELS}/{self.layout.prefix}{self.chunk}-"
        for entry in self.store.list(prefix):
            match = re.fullmatch(r"(\d+)\.parquet", entry.name.removeprefix(prefix))
            if match and int(match[1]) not in self.ledgers:
                self.ledgers[int(match[1])] = ledger.read(self.store, entry.name)

    def publish(self, rows: Sequence[Row], build: Callable[[Sequence[Row]], Part]) -> tuple[str | None, list[Row]]:
        """Make ``rows`` final, those that are not yet; return the part's name and the rows that became final in it.

        The name is None where nothing was left to publish.
        """
        self.read()
        number = max(self.ledgers, default=-1) + 1
        part: Part | None = None
        while True:
            final = self.final
            left = [row for row in rows if row.key not in final]
            if not left:
                return None, []
            if part is None or len(left) < len(part.rows):
                part = build(left)
            name = self.part_name(number)
            created = self._create(name, part.data)
            self.ledgers[number] = part.ledger if created else ledger.read(self.store, name)
            if self.ledgers[number].attempt == part.ledger.attempt:  # also where the answer to our create was lost
                return name, left
            number += 1

    def fold(self, failed: pa.Table) -> pa.Table:
        """Bring the chunk's file in ``tiles`` up to its parts and to ``failed`` rows; return what it then holds.

        A final tile's row comes from its ledger, whatever failed before; of failed rows the newest stays.
        """
        while True:
            self.read()
            current = self.store.read(self.tiles_name)
            parts = [self.part_name(number) for number in sorted(self.ledgers)]
            old, folded = _read_tiles(current[0]) if current else (self.layout.tiles.empty_table(), None)
            if folded == parts and not failed.num_rows:
                return old
            table = self._folded(old, failed)
            if not table.num_rows and not current:
                return table
            data = _tiles_bytes(table, parts, self.layout)
            if self.store.replace(self.tiles_name, data, current[1] if current else None):
                return table

    def _create(self, name: str, data: bytes) -> bool:
        try:
            return self.store.create(name, data)
        except StoreError:
            if self.store.read(name) is None:  # the outcome was ambiguous, and it is settled: nothing was published
                raise
            return False

    def _folded(self, old: pa.Table, failed: pa.Table) -> pa.Table:
        final = self.final
        plain = self.layout.tiles.remove_metadata()
        was_failed = old.filter(pc.equal(old["status"], "failed")).replace_schema_metadata()
        candidates = pa.concat_tables([was_failed.cast(plain), failed.cast(plain)])
        newest: dict[Key, tuple[Any, int]] = {}
        keys = zip(candidates["tile_id"].to_pylist(), candidates["image_id"].to_pylist(), strict=True)
        for index, (key, made) in enumerate(zip(keys, candidates["created_at"].to_pylist(), strict=True)):
            if key not in final and (key not in newest or made >= newest[key][0]):
                newest[key] = (made, index)
        kept = candidates.take(pa.array([index for _, index in newest.values()], pa.int64()))
        tables = [self._ledger_rows(number, entry) for number, entry in sorted(self.ledgers.items())]
        table = pa.concat_tables([*tables, kept])
        order = [("tile_id", "ascending"), ("image_time", "ascending"), ("image_id", "ascending")]
        return table.take(pc.sort_indices(table, order))

    def _ledger_rows(self, number: int, entry: Ledger) -> pa.Table:
        """Return one part's final tiles as rows of ``tiles``: the ledger beside the part's own columns."""
        name = self.part_name(number)
        keys = [item.name for item in self.layout.keys]
        if entry.final.num_rows > entry.empty.num_rows:
            with self.store.open(name) as file:
                ok = pq.ParquetFile(file).read(columns=keys).select(keys)
        else:
            ok = entry.empty.slice(0, 0)
        plain = pa.schema(self.layout.keys)
        where = pa.concat_tables([ok.replace_schema_metadata().cast(plain), entry.empty.cast(plain)])
        is_ok = pc.equal(entry.final["status"], "ok")
        part = pc.if_else(is_ok, pa.scalar(name.removeprefix(f"{PIXELS}/")), pa.scalar(None, pa.string()))
        rest = entry.final.drop_columns(["tile_id", "image_id"])
        arrays = [*where.columns, *rest.columns, part]
        return pa.Table.from_arrays(arrays, schema=self.layout.tiles.remove_metadata())


def failed_keys(store: Store, name: str) -> set[Key]:
    """Return the (tile_id, image_id) that a file of ``tiles`` holds as failed."""
    current = store.read(name)
    if current is None:
        return set()
    table = pq.read_table(pa.BufferReader(current[0]), columns=["tile_id", "image_id", "status"])
    table = table.filter(pc.equal(table["status"], "failed"))
    return set(zip(table["tile_id"].to_pylist(), table["image_id"].to_pylist(), strict=True))


def _read_tiles(data: bytes) -> tuple[pa.Table, list[str] | None]:
    file = pq.ParquetFile(pa.BufferReader(data))
    folded = (file.metadata.metadata or {}).get(FOLDED)
    return file.read(), json.loads(folded) if folded else None


def _tiles_bytes(table: pa.Table, parts: Sequence[str], layout: Layout) -> bytes:
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, layout.tiles, **layout.writer_options(layout.tiles)) as writer:
        writer.write_table(table.cast(layout.tiles))
        writer.add_key_value_metadata({FOLDED: json.dumps(list(parts)).encode()})
    return bytes(sink.getvalue().to_pybytes())
