"""What the benchmarks stand on: a catalog of noise, a job over it, lanes without Spark, a child that is measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.transform import Affine

import ee_emulator as emulator
from ee_spark import config, extract
from ee_spark.client import Service
from ee_spark.lane import work
from ee_spark.lane.deal import Share, make_shares
from ee_spark.lane.record import LaneRecord
from ee_spark.objects import open_store
from ee_spark.store import manifest, runs

ORIGIN = (300_000.0, 5_000_000.0)
SCALE = 10.0


def noise(folder: Path, width: int, height: int, bands: int, block: int, images: int = 1) -> Path:
    """Write a catalog with ``images`` images of ``bands`` uint16 bands, all of them the same raster of noise."""
    transform = Affine(SCALE, 0, ORIGIN[0], 0, -SCALE, ORIGIN[1])
    profile = {"driver": "GTiff", "width": width, "height": height, "count": bands, "dtype": "uint16"}
    tiling = {"tiled": True, "blockxsize": block, "blockysize": block, "interleave": "pixel"}
    random = np.random.default_rng(0)
    with rasterio.open(folder / "noise.tif", "w", crs="EPSG:32632", transform=transform, **profile, **tiling) as file:
        for band in range(1, bands + 1):
            smooth = np.linspace(500, 4000, width).astype(np.uint16)
            file.write(smooth + random.integers(0, 90, (height, width), np.uint16), band)
    entries = [
        {
            "id": f"BENCH/NOISE/{index:04}",
            "startTime": time.strftime("%Y-%m-%dT00:00:00Z", time.gmtime(1262304000 + index * 16 * 86400)),
            "updateTime": "2024-01-01T00:00:00Z",
            "bands": [{"id": f"B{band}", "file": "noise.tif", "index": band} for band in range(1, bands + 1)],
        }
        for index in range(images)
    ]
    (folder / "catalog.json").write_text(json.dumps({"assets": entries}))
    return folder


def job(url: str, path: Path, width: int, height: int, tile: int, **more: Any) -> dict[str, Any]:
    """Return a job for exactly the whole tiles of the noise: getPixels, no mask, on its own pixels."""
    from rasterio.warp import transform_bounds

    west, north = ORIGIN
    box = (west + 1, north - height * SCALE + 1, west + width * SCALE - 1, north - 1)
    x, y = (
        transform_bounds("EPSG:32632", "EPSG:4326", *box)[::2],
        transform_bounds("EPSG:32632", "EPSG:4326", *box)[1::2],
    )
    data: dict[str, Any] = {
        "name": "benchmark",
        "earth_engine": {"endpoint": url, "concurrent_requests": 40, "requests_per_minute": 6000, "lanes": 1},
        "source": {"collection": "BENCH/NOISE"},
        "region": {"bbox": [x[0], y[0], x[1], y[1]]},
        "grid": {"crs": "EPSG:32632", "transform": [SCALE, 0, west, 0, -SCALE, north], "tile": tile},
        "pixels": {"mask": "none"},
        "output": {"path": str(path)},
    }
    for key, value in more.items():
        data[key] = {**data.get(key, {}), **value}
    return data


def shares_of(data: dict[str, Any]) -> list[Share]:
    """Plan a job and return what its lanes get, ready to work."""
    parsed = config.parse(data)
    store = open_store(parsed.output.path)
    plan = extract.join_dataset(parsed, Service(parsed.earth_engine.endpoint, "local", "anonymous"), store)
    manifest.open_tables(store, manifest.layout_of(plan))
    run_id = runs.start_run(store, plan, "bench")
    return make_shares(plan, plan.images.version, run_id, slots=int(parsed.earth_engine.lanes))


def run_side_by_side(shares: list[Share]) -> list[LaneRecord]:
    """Run lanes in threads of this process and return their records."""
    found: list[LaneRecord] = []
    lanes = [one.lane(None) for one in shares]
    threads = [threading.Thread(target=lambda lane=lane: found.append(work(lane))) for lane in lanes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@contextmanager
def served(catalog: Path, **options: Any) -> Iterator[str]:
    """Serve a catalog as long as the context lasts."""
    with emulator.start(catalog, **options) as running:
        yield running.url


@contextmanager
def scratch() -> Iterator[Path]:
    """Yield a directory of its own."""
    with tempfile.TemporaryDirectory(prefix="ee-spark-bench-") as folder:
        yield Path(folder)


def stats(url: str) -> dict[str, Any]:
    """Return what the emulator has counted."""
    with urllib.request.urlopen(f"{url}/_emulator/stats") as answer:
        return dict(json.loads(answer.read()))


def traffic(url: str, **rules: Any) -> None:
    """Change the emulator's rules while it runs."""
    request = urllib.request.Request(f"{url}/_emulator/traffic", json.dumps(rules).encode(), method="POST")
    urllib.request.urlopen(request).close()


HERE = os.pathsep.join(filter(None, (str(Path(__file__).parent), os.environ.get("PYTHONPATH"))))
"""Where the child finds this folder's modules: as a worker does, it takes no code from the folder of its script."""


def measured(script: str, *arguments: object) -> dict[str, Any]:
    """Run ``script`` with arguments in a Python of its own; return the JSON of its last line."""
    command = [sys.executable, script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": HERE})
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))
