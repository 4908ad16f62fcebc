"""What of a dataset is unfolded: records, streams, arrays and Parquet say how much first, and may lie about it."""

from __future__ import annotations

import base64
import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ee_spark.errors import DamagedError, JobError
from ee_spark.objects import FileStore
from ee_spark.planner.chunk import Pairs
from ee_spark.planner.lattice import Lattice
from ee_spark.store import bounds, planned

ROWS = 1001


def stream(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    bounds.write_table(sink, table)
    return sink.getvalue()


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"a": np.arange(ROWS), "b": ["x"] * ROWS, "c": pa.array([[1], None] * 500 + [[2, 3]])}),
        pa.table({"a": pa.array(["x", "y"] * 500).dictionary_encode()}),
        pa.table({"a": pa.array([], pa.int32())}),
        pa.table({}),
    ],
)
def test_streams_one_after_the_other_are_read_again(table: pa.Table) -> None:
    source = pa.BufferReader(stream(table) + stream(pa.table({"z": [1]})))
    assert bounds.read_table(source).equals(table)
    assert bounds.read_table(source)["z"].to_pylist() == [1]


@pytest.mark.parametrize("said", [2**62, 2**40, 2**32])
def test_a_stream_is_not_decoded_that_says_too_much(said: int) -> None:
    data = stream(pa.table({"a": np.zeros(ROWS, np.int64)}))
    assert data.count(struct.pack("<q", 8 * ROWS)) == 1
    made = data.replace(struct.pack("<q", 8 * ROWS), struct.pack("<q", said))
    with pytest.raises(ValueError, match="unfolds to"):
        bounds.read_table(pa.BufferReader(made))


def test_a_stream_of_nothing_without_end_is_not_decoded() -> None:
    data = stream(pa.table({"a": pa.nulls(1 << 28)}))
    assert len(data) < 1000
    with pytest.raises(ValueError, match="unfolds to"):
        bounds.read_table(pa.BufferReader(data))


def test_texts_that_lie_beyond_their_bytes_are_refused() -> None:
    texts = pa.array(["abc"] * 3, pa.large_string())
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, pa.schema([("a", texts.type)])) as writer:
        writer.write_table(pa.table({"a": texts}))
    made = sink.getvalue().replace(struct.pack("<q", 6), struct.pack("<q", 2**40))
    with pytest.raises((ValueError, OSError)):
        bounds.read_table(pa.BufferReader(made))


def test_a_table_whose_texts_are_not_utf_8_is_refused(tmp_path: Path) -> None:
    offsets, data = pa.py_buffer(np.array([0, 2, 4], np.int32)), pa.py_buffer(b"ok\xc9\xc9")
    texts = pa.Array.from_buffers(pa.string(), 2, [None, offsets, data])
    pq.write_table(pa.table({"image_id": texts, "n": [1, 2]}), tmp_path / "t.parquet")
    assert bounds.parquet_rows(tmp_path / "t.parquet", ["n"])["n"].to_pylist() == [1, 2]
    with pytest.raises(ValueError, match="UTF8"):
        bounds.parquet_rows(tmp_path / "t.parquet", ["image_id"])


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"1", b"[" * 10**6, b'{"a":' * 10**5, b"\xff", b"\0"])
def test_a_record_is_a_json_object(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"JSON|Expecting|lists in lists|decode|larger"):
        bounds.json_of(data)


def test_a_record_of_millions_of_lists_is_not_parsed() -> None:
    with pytest.raises(ValueError, match="larger than any"):
        bounds.json_of(b'{"a":[' + b"[]," * bounds.MOST_CONTAINERS + b"0]}")


def test_a_table_is_not_read_whose_footer_says_too_much(tmp_path: Path) -> None:
    path = tmp_path / "long.parquet"
    pq.write_table(pa.table({"a": np.zeros(1 << 20, np.int64), "b": [1] * (1 << 20)}), path)
    assert path.stat().st_size < 1 << 20
    assert bounds.parquet(path, ["a"], most=1 << 24).metadata.num_rows == 1 << 20
    with pytest.raises(ValueError, match="at most"):
        bounds.parquet(path, most=1 << 23)


def pairs(**changes: Any) -> Pairs:
    columns = {
        name: np.zeros(2, np.int64) for name in ("lattice", "block_row", "block_column", "bucket", "image", "row")
    }
    columns |= {"start": np.array([0, 3]), "stop": np.array([3, 5]), "edges": np.array([0, 2])}
    return Pairs((Lattice("EPSG:32610", 10, 10),), **{**columns, **changes})


@pytest.mark.parametrize(
    ("column", "values"),
    [
        *[("stop", [2**40, 5]), ("stop", [-5, 5]), ("stop", [2**62, 2**62]), ("start", [-(2**40), 3])],
        *[("image", [0, 7]), ("image", [-1, 0]), ("lattice", [0, 1]), ("row", [0, 2**40])],
    ],
)
def test_runs_of_tiles_that_no_plan_has_are_refused(column: str, values: list[int]) -> None:
    planned.check(pairs(), 1, None)
    with pytest.raises(ValueError, match="can be"):
        planned.check(pairs(**{column: np.array(values)}), 1, None)


def test_points_are_runs_of_one(tmp_path: Path) -> None:
    ones = pairs(row=np.array([0, 1]), start=np.zeros(2, np.int64), stop=np.ones(2, np.int64))
    planned.check(ones, 1, 2)
    for wrong in (pairs(), ones):
        with pytest.raises(ValueError, match="can be"):
            planned.check(wrong, 1, 1)


def test_a_plan_is_written_only_if_it_is_read_again(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    assert planned.unpack(store, planned.pack(store, pairs())).count == 5
    many = np.broadcast_to(np.int64(0), planned.MOST_RUNS + 1)
    with pytest.raises(JobError, match=f"{planned.MOST_RUNS + 1:,} runs of tiles, and a record holds"):
        planned.pack(store, pairs(image=many))


def test_arrays_of_older_records_say_how_long_they_are(tmp_path: Path) -> None:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("row.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, {"descr": "<i8", "fortran_order": False, "shape": (1 << 40,)})
        member.write(bytes(1 << 20))
    said = {"lattices": [], "arrays": base64.b64encode(sink.getvalue()).decode()}
    with pytest.raises(ValueError, match="an array of"):
        planned.unpack(FileStore(tmp_path), said)


def test_what_is_raised_while_a_dataset_is_read_is_one_line() -> None:
    for error in (
        KeyError("a\nb"),
        pa.ArrowInvalid("x"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        ZeroDivisionError(),
    ):
        with pytest.raises(DamagedError) as raised, bounds.damage("job.json"):
            raise error
        assert "\n" not in str(raised.value)
        assert str(raised.value).startswith("job.json: cannot be read: ")
