"""The ledger in a part's footer: which tiles it commits, with what the rows of the part do not say."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
import pyarrow.parquet as pq

from ee_spark.errors import LedgerError
from ee_spark.objects import Store

KEY = b"ee_spark.ledger"
MAX_BYTES = 4_000_000
"""Of a ledger as it stands in the footer: readers of a part load its footer whole."""
SPEC = 1


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
    try:
        data = json.loads(value)
        if data["spec"] != SPEC or data["replaces"]:
            raise ValueError(f"spec {data['spec']}, replaces {data['replaces']}: a later ee_spark wrote it, use that")
        return Ledger(data["attempt"], _unpack(data["final"]), _unpack(data["empty"]))
    except (ValueError, KeyError, TypeError, OSError, pa.ArrowException) as error:  # OSError: Arrow's for bad zstd
        raise LedgerError(_unreadable(name, error)) from None


def read(store: Store, name: str) -> Ledger:
    """Return the ledger of the part ``name``.

    Raises:
        LedgerError: if it has none that can be read.
    """
    try:
        with store.open(name) as file:
            metadata = pq.ParquetFile(file).metadata.metadata or {}
    except (pa.ArrowException, OSError) as error:
        raise LedgerError(_unreadable(f"{store.root}/{name}", error)) from None
    if KEY not in metadata:
        raise LedgerError(_unreadable(f"{store.root}/{name}", "its footer has none"))
    return decode(metadata[KEY], f"{store.root}/{name}")


def _unreadable(name: str, error: object) -> str:
    return f"{name}: its ledger cannot be read ({error}); run jobs/verify.py --repair, then run again"


def _pack(table: pa.Table) -> str:
    sink = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(sink, table.schema.remove_metadata(), options=options) as writer:
        writer.write_table(table)
    return base64.b64encode(sink.getvalue()).decode()


def _unpack(text: str) -> pa.Table:
    return pa.ipc.open_stream(base64.b64decode(text)).read_all()
