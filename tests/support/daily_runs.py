"""A dataset as a daily job leaves it: each run planned one image over some tiles, in a chunk of its own day."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from store_data import DAY, FINGERPRINT, LATTICE, layout, row

from ee_spark.objects import FileStore, Store
from ee_spark.planner.chunk import Pairs, grouped
from ee_spark.planner.tile import Tiles, grid_tiles
from ee_spark.store import planned
from ee_spark.store.log import ChunkLog
from ee_spark.store.part import build
from ee_spark.store.schema import JOB, RUNS, Layout

LIFE = "d" * 32
_BARE = layout([("a", "uint8")], side=1)
DAILY = replace(_BARE, frozen=replace(_BARE.frozen, life=LIFE))
ROW, FIRST = -148_000, 16_000


def begin(store: Store, of: Layout = DAILY) -> None:
    """Write the dataset's job.json, of a new life."""
    body = {"name": "daily", "fingerprint": FINGERPRINT, "identity": {}, "frozen": of.frozen.to_json(), "replaced": []}
    found = store.read(JOB)
    assert store.replace(JOB, json.dumps(body).encode(), found and found[1])


def pairs_of(days: Sequence[int], tiles: int) -> Pairs:
    """Return ``tiles`` tiles of one image a day."""
    count = len(days)
    zeros = np.zeros(count, np.int64)
    first = np.full(count, FIRST)
    row, image, bucket = np.full(count, ROW), np.arange(count), np.array(days)
    edges = np.zeros(1, np.int64)
    return grouped(Pairs((LATTICE,), zeros, zeros, zeros, bucket, image, row, first, first + tiles, edges))


def report_of(run_id: str, status: str = "complete") -> dict[str, Any]:
    """Return as much of a run report as the account needs."""
    return {"run_id": run_id, "status": status}


def record(store: Store, run_id: str, days: Sequence[int], tiles: int = 4, **changes: Any) -> None:
    """Write the record of a run that has ended."""
    pairs = pairs_of(days, tiles)
    body = {
        "run_id": run_id,
        "fingerprint": FINGERPRINT,
        "life": LIFE,
        "job": {"grid": {"snap": True}},
        "region": {"geojson": {"type": "Polygon", "coordinates": []}},
        "images": planned.pack_images(store, [f"DAILY/{day}" for day in days]),
        "pairs": planned.pack(store, pairs),
        "planned": pairs.count,
        "started_at": "2020-01-01T00:00:00Z",
        "report": report_of(run_id),
    }
    put(store, f"{RUNS}/{run_id}.json", json.dumps({**body, **changes}).encode())


def put(store: Store, name: str, data: bytes) -> None:
    """Write an object; into a directory without syncing it, which hundreds of them have no time for."""
    if not isinstance(store, FileStore):
        store.create(name, data)
        return
    path = Path(store.root) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def tiles_of(count: int) -> Tiles:
    """Return the tiles of every day."""
    return grid_tiles(LATTICE, DAILY.frozen.shape, np.full(count, ROW), FIRST + np.arange(count))


def commit(store: Store, day: int, tiles: Sequence[int] = range(4), most: int = 4) -> None:
    """Commit some tiles of one day's image."""
    log = ChunkLog(store, DAILY, pairs_of([day], most).key(0))
    of, image = tiles_of(most), {"image_id": f"DAILY/{day}", "image_time": day * DAY}
    rows = [row(DAILY, number, "empty", of=of, **image) for number in tiles]
    assert log.publish(rows, partial(build, layout=DAILY, run_id=f"day-{day}"))
