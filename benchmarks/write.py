"""The write path: fetched blocks to a published part on local disk, beside the bare Parquet write of the same arrays.

    python benchmarks/write.py [--rounds 5]

Pixels: the packaged Sentinel-2 scene in blocks of 256² × 4. It was recompressed with loss to some 230 values a band;
uniform noise within those steps gives it back the radiometry of a sensor. As float32 the same, divided by 10,000.
Speeds are raw bytes per second of CPU time of this process, which a shared machine disturbs least; both sides write a
file, ours is synced too. Sizes are against the smallest encoding that Spark 3.5 can read, all at zstd level 1. One line
of JSON at the end.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import rasterio

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from store_data import FINGERPRINT, layout, row, tiles

from ee_spark.objects import FileStore
from ee_spark.store.log import ChunkLog
from ee_spark.store.part import Part, Row, build
from ee_spark.store.schema import JOB, Layout, list_of

DATA = Path(__file__).parents[1] / "ee_emulator/data/sentinel2"
SIDE, COUNT = 256, 64


def scenes(dtype: str) -> list[np.ndarray[Any, Any]]:
    """Return four bands of the scene, their steps filled with noise."""
    planes, rng = [], np.random.default_rng(0)
    for band in ("B02", "B03", "B04", "B08"):
        with rasterio.open(DATA / f"T33UUU_20170216T102101_{band}.jp2") as file:
            plane = file.read(1)
        step = int(np.diff(np.unique(plane)).min())
        plane = plane + rng.integers(0, step, plane.shape, np.uint16)
        planes.append(plane / np.float32(10_000) if dtype == "float32" else plane)
    return planes


def rows_of(mine: Layout, dtype: str) -> list[Row]:
    planes, rng = scenes(dtype), np.random.default_rng(1)
    of, rows = tiles(mine.frozen.shape, COUNT), []
    for number in range(COUNT):
        top, left = (int(rng.integers(0, side - SIDE + 1)) for side in planes[0].shape)
        window = (slice(top, top + SIDE), slice(left, left + SIDE))
        block = {f"b{i}": np.ascontiguousarray(plane[window]) for i, plane in enumerate(planes)}
        block["valid"] = (rng.random((SIDE, SIDE)) < (0.9 if number % 2 else 2)).astype(np.uint8)
        rows.append(row(mine, number, of=of, block=block))
    return rows


def bare(mine: Layout, rows: list[Row]) -> bytes:
    """What no writer can do without: the same arrays through pyarrow, with the same encodings."""
    sink = io.BytesIO()
    fields = [mine.pixels.field(name) for name in mine.planes]
    schema = pa.schema(fields)
    with pq.ParquetWriter(sink, schema, **mine.writer_options(schema)) as writer:
        for first in range(0, len(rows), mine.group_rows()):
            group = rows[first : first + mine.group_rows()]
            offsets = pa.array(np.arange(len(group) + 1, dtype=np.int32) * SIDE * SIDE)
            columns = []
            for name in mine.planes:
                values = pa.array(np.concatenate([item.block[name].ravel() for item in group]))
                columns.append(pa.ListArray.from_arrays(offsets, values, type=list_of(values.type)))
            writer.write_table(pa.Table.from_arrays(columns, schema=schema), row_group_size=len(group))
    return sink.getvalue()


def smallest(mine: Layout, rows: list[Row], dtype: str) -> int:
    """Return the bytes of the best encoding that Spark 3.5 reads: plain, dictionary, or deltas where there are any."""
    table = pq.read_table(io.BytesIO(bare(mine, rows))).select([f"b{i}" for i in range(4)])
    sizes = []
    for options in ({"use_dictionary": False}, {"use_dictionary": True}, {"encoding": "DELTA_BINARY_PACKED"}):
        if "encoding" in options and dtype == "float32":
            continue
        encoding = {f"b{i}.list.element": options["encoding"] for i in range(4)} if "encoding" in options else None
        sink = io.BytesIO()
        pq.write_table(
            table,
            sink,
            compression="zstd",
            compression_level=1,
            row_group_size=mine.group_rows(),
            use_dictionary=bool(options.get("use_dictionary", False)),
            column_encoding=encoding,
            write_statistics=False,
        )
        sizes.append(len(sink.getvalue()))
    return min(sizes)


def pixel_bytes(data: bytes) -> int:
    """Return the compressed bytes of the four bands' columns."""
    metadata = pq.ParquetFile(io.BytesIO(data)).metadata
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    columns = [group.column(i) for group in groups for i in range(group.num_columns)]
    return sum(
        c.total_compressed_size for c in columns if c.path_in_schema.startswith("b") and ".list." in c.path_in_schema
    )


def best(rounds: int, task: Callable[[int], object]) -> float:
    """Return the least CPU seconds of a task."""
    found = []
    for number in range(rounds):
        started = time.process_time()
        task(number)
        found.append(time.process_time() - started)
    return min(found)


def measure(dtype: str, rounds: int) -> dict[str, Any]:
    mine = layout([(f"b{i}", dtype) for i in range(4)], side=SIDE)
    rows = rows_of(mine, dtype)
    raw = COUNT * SIDE * SIDE * (4 * np.dtype(dtype).itemsize + 1)
    make: Callable[..., Part] = partial(build, layout=mine, run_id="run")
    with tempfile.TemporaryDirectory() as folder:
        store = FileStore(Path(folder))
        store.create(JOB, json.dumps({"fingerprint": FINGERPRINT}).encode())
        published = best(rounds, lambda n: ChunkLog(store, mine, f"k{n}_r0c0_t0").publish(rows, make))
        part = Path(folder, store.list("pixels/")[0].name).read_bytes()
        floor = best(rounds, lambda n: Path(folder, f"bare-{n}").write_bytes(bare(mine, rows)))
    least = smallest(mine, rows, dtype)
    return {
        "dtype": dtype,
        "raw_mb": round(raw / 1e6, 1),
        "mb_per_cpu_second": round(raw / 1e6 / published),
        "floor_mb_per_cpu_second": round(raw / 1e6 / floor),
        "ratio_to_floor": round(published / floor, 3),
        "size_to_raw": round(pixel_bytes(part) / raw, 3),
        "size_to_best_encoding": round(pixel_bytes(part) / least, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    pa.set_cpu_count(1)
    found = [measure(dtype, options.rounds) for dtype in ("uint16", "float32")]
    for item in found:
        print(item, file=sys.stderr)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
