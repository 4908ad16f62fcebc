"""Resume: a dataset of a million tiles of which 99.9 % are done; how long until a lane asks for its first tile.

    python benchmarks/resume.py [--tiles 1000000] [--path DIR]

Builds the dataset with ledgers as a run leaves them (tiles of 1 pixel, so that ledgers are all there is), in chunks of
1,024 tiles, 1 of each 1,000 tiles not committed; then opens all logs in order as a lane does, and takes the time to the
first wanted tile, to the last, and the memory. ``--last``: the open tiles are all in the last chunks, the worst case.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from measure import used

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from store_data import FINGERPRINT, LATTICE, layout, row

from ee_spark.objects import FileStore
from ee_spark.planner.tile import Tiles, grid_tiles
from ee_spark.store.log import ChunkLog, open_logs
from ee_spark.store.part import build, failed_table
from ee_spark.store.schema import JOB

MINE = layout([("ndvi", "float32")], side=1)
SIDE = 32


def chunk_tiles(chunk: int) -> Tiles:
    """Return the 1,024 tiles of a chunk: a block of 32 × 32, 128 blocks a row."""
    block_row, block_column = divmod(chunk, 128)
    down, across = np.divmod(np.arange(SIDE * SIDE), SIDE)
    return grid_tiles(
        LATTICE, MINE.frozen.shape, -148_000 + block_row * SIDE + down, 16_000 + block_column * SIDE + across
    )


def name_of(chunk: int) -> str:
    return f"0a1b2c3d_r{chunk // 128}c{chunk % 128}_t0"


def is_open(chunk: int, tile: int, last: int | None) -> bool:
    """Return True for the tiles that are not done: one in a thousand, or all of the chunks from ``last`` on."""
    return (chunk * SIDE * SIDE + tile) % 1000 == 999 if last is None else chunk >= last


def write(path: str, last: int | None, chunk: int) -> None:
    """Write one chunk as a run leaves it: a part of two thirds, one of the rest, and its file in ``tiles``."""
    log = ChunkLog(FileStore(Path(path)), MINE, name_of(chunk))
    of = chunk_tiles(chunk)
    pixel = {"ndvi": np.ones((1, 1), np.float32), "valid": np.ones((1, 1), np.uint8)}
    rows = [row(MINE, n, "empty" if n % 3 == 0 else "ok", of=of) for n in range(len(of)) if not is_open(chunk, n, last)]
    rows = [item if item.status == "empty" else type(item)(**{**item.__dict__, "block": pixel}) for item in rows]
    make = partial(build, layout=MINE, run_id="run")
    for part in (rows[:700], rows[700:]):
        log.publish(part, make)
    log.fold(failed_table([], MINE, "run"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiles", type=int, default=1_000_000)
    parser.add_argument("--path", type=Path)
    parser.add_argument("--last", action="store_true", help="the open tiles are all in the last chunks")
    options = parser.parse_args()
    path = options.path or Path(tempfile.mkdtemp(prefix="resume-"))
    chunks = options.tiles // (SIDE * SIDE)
    last = chunks - max(1, chunks // 1000) if options.last else None
    store = FileStore(path)
    if store.create(JOB, json.dumps({"fingerprint": FINGERPRINT}).encode()):
        with ProcessPoolExecutor(2) as pool:
            list(pool.map(partial(write, str(path), last), range(chunks), chunksize=8))
    before = used()[1]
    started, cpu = time.monotonic(), time.process_time()
    first, wanted = None, 0
    names = [name_of(chunk) for chunk in range(chunks)]
    for chunk, log in enumerate(open_logs(store, MINE, names)):
        committed = log.committed
        left = [key for key in ((tile, "COLLECTION/IMAGE") for tile in chunk_tiles(chunk).ids) if key not in committed]
        wanted += len(left)
        if left and first is None:
            first = time.monotonic() - started
        log.fold(failed_table([], MINE, "run"))
    found = {
        "tiles": chunks * SIDE * SIDE,
        "chunks": chunks,
        "parts": len(store.list("pixels/")),
        "wanted": wanted,
        "seconds_to_first": round(first or 0, 2),
        "seconds_to_last": round(time.monotonic() - started, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "peak_mb": round(used()[1]),
        "mb_before": round(before),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
