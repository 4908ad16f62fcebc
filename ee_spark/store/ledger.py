"""The ledger in a part's footer: which tiles it commits, with what the rows of the part do not say."""

from __future__ import annotations

import base64
import io
import json
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
import pyarrow.parquet as pq

from ee_spark.errors import LedgerError
from ee_spark.objects import Store
from ee_spark.status import TileStatus
from ee_spark.store.bounds import damage, json_of, read_table

KEY = b"ee_spark.ledger"
MAX_BYTES = 4_000_000
"""Of a ledger as it stands in the footer: readers of a part load its footer whole."""
MOST_LEDGER = 1 << 28
"""Bytes that one of its two tables comes to: of 4,096 tiles it is some ten million."""
SPEC = 1
KEYS = ("tile_id", "image_id")


@dataclass(frozen=True)
class Ledger:
    """What one part commits.

    ``committed`` has tile_id, image_id and the telemetry columns of every committed tile, first those of the part's
    rows, in their order (ok), then the empty ones; ``empty`` has the key and georeference columns of the empty ones, in
    the same order. ``attempt`` names the one publish that this is.
    """

    attempt: str
    committed: pa.Table
    empty: pa.Table

    @cached_property
    def tiles(self) -> frozenset[tuple[str, str]]:
        """The (tile_id, image_id) that are committed here."""
        return frozenset(
            zip(self.committed["tile_id"].to_pylist(), self.committed["image_id"].to_pylist(), strict=True)
        )

    def encode(self) -> bytes:
        """Return the ledger as the value of a footer key: JSON with compressed Arrow columns."""
        value = {
            "spec": SPEC,
            "attempt": self.attempt,
            "replaces": [],
            "final": _pack(self.committed),
            "empty": _pack(self.empty),
        }
        return json.dumps(value).encode()


def decode(value: bytes, name: str) -> Ledger:
    """Return the ledger that a footer's value holds.

    Raises:
        LedgerError: if it cannot be read, or is of a kind that this version does not know.
    """
    with _unreadable(name):
        data = json_of(value)
        if data["spec"] != SPEC or data["replaces"]:
            raise ValueError(f"spec {data['spec']}, replaces {data['replaces']}: a later ee_spark wrote it, use that")
        found = Ledger(str(data["attempt"]), _unpack(data["final"]), _unpack(data["empty"]))
        _check(found)
        return found
    raise AssertionError("damage raises")


def read(store: Store, name: str) -> Ledger:
    """Return the ledger of the part ``name``.

    Raises:
        LedgerError: if it has none that can be read.
    """
    with _unreadable(f"{store.root}/{name}"), store.open(name) as file:
        metadata = pq.ParquetFile(file).metadata.metadata or {}
        if KEY not in metadata:
            raise ValueError("its footer has none")
    return decode(metadata[KEY], f"{store.root}/{name}")


def _check(found: Ledger) -> None:
    """Refuse a ledger whose tiles have no names, or others than it says are empty."""
    keys, empty = ({name: table[name].cast(pa.string()) for name in KEYS} for table in (found.committed, found.empty))
    status = found.committed["status"].cast(pa.string())
    if any(column.null_count for column in (*keys.values(), *empty.values(), status)):
        raise ValueError("a tile without a name or a status")
    rows, ok = len(status), len(status) - len(found.empty)
    if ok < 0 or status.to_pylist() != [TileStatus.OK] * ok + [TileStatus.EMPTY] * (rows - ok):
        raise ValueError(f"{rows} tiles, {len(found.empty)} of them empty, and other statuses")
    if any(keys[name].slice(ok).to_pylist() != empty[name].to_pylist() for name in KEYS):
        raise ValueError("its empty tiles are not those that it commits")


def _unreadable(name: str) -> AbstractContextManager[None]:
    return damage(name, "its ledger cannot be read", "run jobs/verify.py --repair, then run again", LedgerError)


def _pack(table: pa.Table) -> str:
    sink = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(sink, table.schema.remove_metadata(), options=options) as writer:
        writer.write_table(table)
    return base64.b64encode(sink.getvalue()).decode()


def _unpack(text: str) -> pa.Table:
    return read_table(pa.BufferReader(base64.b64decode(text)), MOST_LEDGER)
