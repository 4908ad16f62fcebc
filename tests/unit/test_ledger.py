"""Ledgers: there and back, and a clear word where one cannot be read."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_data import layout, part, row

from ee_spark.errors import LedgerError, StoreError
from ee_spark.objects import FileStore
from ee_spark.store import ledger


def footer(data: bytes) -> bytes:
    return bytes(pq.ParquetFile(io.BytesIO(data)).metadata.metadata[ledger.KEY])


@given(st.lists(st.sampled_from(["ok", "empty"]), max_size=12))
@settings(max_examples=20, deadline=None)
def test_a_ledger_round_trips_through_the_footer(statuses: list[str]) -> None:
    mine = layout()
    made = part(mine, [row(mine, n, status) for n, status in enumerate(statuses)])
    found = ledger.decode(footer(made.data), "x")
    assert found.attempt == made.ledger.attempt
    assert found.committed == made.ledger.committed
    assert found.empty == made.ledger.empty
    assert found.tiles == {row(mine, n).key for n in range(len(statuses))}


def test_a_ledger_is_no_column_of_any_reader() -> None:
    mine = layout()
    assert ledger.KEY not in pq.read_schema(io.BytesIO(part(mine, [row(mine, 0)]).data)).names
    assert b"ARROW:schema" in pq.ParquetFile(io.BytesIO(part(mine, [row(mine, 0)]).data)).metadata.metadata


def broken(change: dict[str, object]) -> bytes:
    mine = layout()
    return json.dumps({**json.loads(footer(part(mine, [row(mine, 0)]).data)), **change}).encode()


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (broken({"replaces": ["part-x-0.parquet"]}), "replaces .*a later ee_spark wrote it"),
        (broken({"spec": 2}), "spec 2"),
        (broken({"final": "AAAA"}), "its ledger cannot be read"),
        (broken({"final": json.loads(broken({}))["final"][:-400]}), "its ledger cannot be read"),
        (broken({"final": json.loads(broken({}))["final"].replace("A", "B")}), "its ledger cannot be read"),
        (b"\xff\xfe", "its ledger cannot be read"),
        (b"[]", "its ledger cannot be read"),
        (b"{}", "its ledger cannot be read"),
    ],
)
def test_what_cannot_be_read_is_named_with_the_way_out(value: bytes, why: str) -> None:
    with pytest.raises(LedgerError, match=why) as caught:
        ledger.decode(value, "gs://b/pixels/part-9.parquet")
    assert str(caught.value).startswith("gs://b/pixels/part-9.parquet: ")
    assert "verify.py --repair" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_torn_and_foreign_parts_have_no_ledger(tmp_path: Path) -> None:
    mine, store = layout(), FileStore(tmp_path)
    whole = part(mine, [row(mine, 0)]).data
    sink = io.BytesIO()
    pq.write_table(pa.table({"a": [1]}), sink)
    for name, data in {"torn": whole[:-100], "nothing": b"", "text": b"hello", "foreign": sink.getvalue()}.items():
        store.create(f"pixels/{name}", data)
        with pytest.raises(LedgerError, match=f"pixels/{name}: its ledger cannot be read"):
            ledger.read(store, f"pixels/{name}")
    with pytest.raises(StoreError):
        ledger.read(store, "pixels/absent")
