"""Parts against numpy: pixels, statistics, checksums by their published definition, row groups, determinism."""

from __future__ import annotations

import io
import struct
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_data import block, layout, part, point_tiles, row

from ee_spark.planner.region import Points
from ee_spark.store.part import failed_table
from ee_spark.store.schema import GROUP_BYTES, Layout


def crc32c(data: bytes) -> str:
    """CRC-32C bit by bit, as RFC 3720 (appendix B.4) defines it: polynomial 0x1EDC6F41, reflected."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return f"{crc ^ 0xFFFFFFFF:08x}"


def read(data: bytes) -> pa.Table:
    return pq.read_table(io.BytesIO(data))


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"])
def test_pixels_come_back_row_by_row_from_the_top_left(dtype: str) -> None:
    mine = layout([("a", dtype), ("b", "uint8")], side=5, margin=1)
    table = read(part(mine, [row(mine, n) for n in (3, 1, 2)]).data)
    assert table["tile_id"].to_pylist() == [row(mine, n).key[0] for n in (1, 2, 3)]  # the chunk's order, not ours
    for index, number in enumerate((1, 2, 3)):
        for name in ("a", "b", "valid"):
            truth = block(mine, number)[name]
            assert np.array(table[name][index].as_py(), truth.dtype).reshape(7, 7).tolist() == truth.tolist()
    assert set(table["width"].to_pylist()) == {7}
    assert set(table["margin"].to_pylist()) == {1}


@given(st.integers(0, 2**31), st.sampled_from(["uint8", "int16", "uint32", "float32", "float64"]), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_statistics_and_checksum_are_numpys_and_the_rfcs(number: int, dtype: str, valid: float) -> None:
    mine = layout([("a", dtype), ("b", "uint16")], side=4)
    planes = block(mine, number, valid=valid)
    ledger = part(mine, [replace(row(mine, 0), block=planes)]).ledger.committed.to_pylist()[0]
    good = planes["valid"] > 0
    assert ledger["valid_count"] == good.sum()
    for band in ("a", "b"):
        values = planes[band][good].astype(np.float64)
        found = [ledger[f"{band}_{name}"] for name in ("min", "max", "mean", "stddev")]
        if not values.size:
            assert found == [None] * 4
        else:
            assert found == pytest.approx([values.min(), values.max(), values.mean(), values.std()], rel=1e-9, abs=1e-9)
    raw = b"".join(planes[name].astype(planes[name].dtype.newbyteorder("<")).tobytes() for name in ("a", "b", "valid"))
    assert ledger["crc32c"] == crc32c(raw)


def test_checksums_are_of_little_endian_samples_in_band_order() -> None:
    mine = layout([("a", "uint16"), ("b", "float32")], mask="none", side=1)
    planes = {"a": np.array([[0x1234]], np.uint16), "b": np.array([[1.5]], np.float32)}
    entry = part(mine, [replace(row(mine, 0), block=planes)]).ledger.committed
    assert entry["crc32c"].to_pylist() == [crc32c(b"\x34\x12" + struct.pack("<f", 1.5))]
    assert entry["valid_count"].to_pylist() == [None]
    assert entry["a_mean"].to_pylist() == [None]


def test_bands_masks_count_pixels_that_are_valid_in_all_bands() -> None:
    mine = layout([("a", "int16"), ("b", "int16")], mask="bands", side=2)
    planes = {
        "a": np.array([[5, 0], [7, 9]], np.int16),
        "b": np.array([[1, 2], [0, 4]], np.int16),
        "valid_a": np.array([[1, 0], [1, 1]], np.uint8),
        "valid_b": np.array([[1, 1], [0, 1]], np.uint8),
    }
    found = part(mine, [replace(row(mine, 0), block=planes)]).ledger.committed.to_pylist()[0]
    assert (found["valid_count"], found["a_min"], found["a_mean"], found["b_max"]) == (2, 5, 7, 4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_statistics_leave_out_what_is_not_a_number_and_count_it(dtype: str, share: float) -> None:
    mine = layout([("a", dtype), ("b", "uint16")], side=4)
    mine = replace(mine, frozen=replace(mine.frozen, nans=True))
    planes = block(mine, 7, valid=0.7)
    random = np.random.default_rng(7)
    planes["a"][random.random(planes["a"].shape) < share] = np.nan
    entry = part(mine, [replace(row(mine, 0), block=planes)]).ledger.committed.to_pylist()[0]
    good = planes["valid"] > 0
    values = planes["a"][good].astype(np.float64)
    assert (entry["valid_count"], entry["a_nan_count"]) == (good.sum(), np.isnan(values).sum())
    assert "b_nan_count" not in entry  # integers have none
    found = [entry[f"a_{name}"] for name in ("min", "max", "mean", "stddev")]
    if share == 1:
        assert found == [None] * 4
    else:
        right = [np.nanmin(values), np.nanmax(values), np.nanmean(values), np.nanstd(values)]
        assert found == pytest.approx(right, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("fill", [-9999.0, float("nan"), 0.5])
def test_a_fill_value_is_no_pixel(fill: float) -> None:
    mine = layout([("a", "float32")], mask="fill", side=2)
    planes = {"a": np.array([[fill, 2], [4, fill]], np.float32)}
    found = part(mine, [replace(row(mine, 0), block=planes)], fill={"a": fill}).ledger.committed.to_pylist()[0]
    assert (found["valid_count"], found["a_min"], found["a_max"], found["a_mean"]) == (2, 2, 4, 3)


def test_row_groups_hold_32_mib_of_raw_pixels_at_most() -> None:
    mine = layout([("a", "float32")], side=512)
    step = mine.group_rows()
    rows = [row(mine, n) for n in range(2 * step + 1)]
    metadata = pq.ParquetFile(io.BytesIO(part(mine, rows).data)).metadata
    counts = [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]
    assert counts == [step, step, 1]
    assert step * mine.frozen.tile_bytes <= GROUP_BYTES


def test_pixels_order_and_schema_are_deterministic() -> None:
    """Two builds in another order of arrival give the same bytes in every column chunk; only the ledger differs."""
    mine = layout()
    rows = [row(mine, n, "empty" if n % 5 == 0 else "ok") for n in range(20)]
    first, second = part(mine, rows, "run-1"), part(mine, list(reversed(rows)), "run-2")
    assert first.ledger.attempt != second.ledger.attempt
    file = pq.ParquetFile(io.BytesIO(first.data))
    group = file.metadata.row_group(file.metadata.num_row_groups - 1)
    last = group.column(group.num_columns - 1)
    end = (last.dictionary_page_offset or last.data_page_offset) + last.total_compressed_size
    assert first.data[:end] == second.data[:end]
    assert first.ledger.committed.drop_columns(["run_id", "created_at"]) == second.ledger.committed.drop_columns(
        ["run_id", "created_at"]
    )


def test_a_part_of_empty_tiles_has_only_their_tiles_rows() -> None:
    mine = layout()
    made = part(mine, [row(mine, n, "empty") for n in range(3)])
    assert read(made.data).num_rows == 0
    assert made.ledger.committed["status"].to_pylist() == ["empty"] * 3
    assert made.ledger.committed["valid_count"].to_pylist() == [0] * 3
    assert made.ledger.empty["tile_id"].to_pylist() == [row(mine, n).key[0] for n in range(3)]
    assert made.ledger.empty.column_names == [item.name for item in mine.keys]


def test_points_carry_their_own_columns() -> None:
    extra = pa.table({"crop": ["rye", None, "oats"], "yield": pa.array([1.5, 2.5, None])})
    points = Points(("p1", "p2", "p3"), np.array([-105.0, -104.99, -104.98]), np.array([40.0, 40.01, 40.02]), extra)
    mine = layout(points=True, columns=extra.schema)
    of = point_tiles(mine.frozen.shape, points)
    table = read(part(mine, [row(mine, 0, of=of), row(mine, 1, of=of), row(mine, 2, of=of)]).data)
    assert table["point_id"].to_pylist() == ["p1", "p2", "p3"]
    assert table["crop"].to_pylist() == ["rye", None, "oats"]
    assert table["yield"].to_pylist() == [1.5, 2.5, None]
    assert table["point_lat"].to_pylist() == [40.0, 40.01, 40.02]


def test_failed_rows_say_what_happened_and_claim_no_pixels() -> None:
    mine = layout()
    failed = row(mine, 4, "failed", error_class="permanent", error_message="no such band", http_status=400, attempts=2)
    table = failed_table([failed], mine, "run")
    found = table.to_pylist()[0]
    assert table.schema.equals(mine.tiles.remove_metadata())
    assert (found["status"], found["error_message"], found["http_status"], found["attempts"]) == (
        "failed",
        "no such band",
        400,
        2,
    )
    assert [found[name] for name in ("valid_count", "crc32c", "part", "red_mean")] == [None] * 4


def test_narrower_blocks_are_widened_without_loss() -> None:
    mine: Layout = layout([("a", "int32")], side=2)
    planes = {"a": np.array([[-5, 7], [0, 9]], np.int16), "valid": np.ones((2, 2), np.uint8)}
    table = read(part(mine, [replace(row(mine, 0), block=planes)]).data)
    assert table["a"].to_pylist() == [[-5, 7, 0, 9]]
