"""How long a plan of 200,000 images takes, and how much memory: listed from the emulator over HTTP, page by page.

    python benchmarks/listing.py [--images 200000] [--json]

The emulator runs in a process of its own and reads its catalog before the clock starts. The images are scenes of three
bands on a hundred places, two thousand dates each, with twelve properties. The plan runs in a fresh process, so that
its peak memory is its own. Exits 1 where it takes more than 60 seconds or 400 MB.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import urllib3
from measure import used
from rasterio.transform import Affine

import ee_emulator as emulator

PLACES, SIDE, SIZE = 100, 256, 300
MOST_SECONDS, MOST_MB = 60.0, 400.0
FIRST = datetime(2000, 1, 1, 10, tzinfo=UTC)


def catalog(folder: Path, images: int) -> Path:
    """Scenes on ten rows of ten places; those of one place share a raster."""
    for place in range(PLACES):
        row, column = divmod(place, 10)
        transform = Affine(SIZE, 0, 300_000 + column * 40_000, 0, -SIZE, 4_600_000 - row * 40_000)
        profile = {"driver": "GTiff", "width": SIDE, "height": SIDE, "count": 3, "dtype": "uint16", "crs": "EPSG:32610"}
        with rasterio.open(folder / f"{place}.tif", "w", **profile, compress="deflate", transform=transform) as target:
            target.write(np.full((3, SIDE, SIDE), place + 1, np.uint16))
    assets = []
    for number in range(images):
        date, place = divmod(number, PLACES)
        assets.append(
            {
                "id": f"BENCH/SCENES/{date:05}_{place:02}",
                "startTime": (FIRST + timedelta(hours=4 * date)).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "updateTime": "2024-01-01T00:00:00Z",
                "properties": {f"PROPERTY_{index:02}": (number * 7919 + index) % 10_007 / 100 for index in range(12)},
                "bands": [{"id": f"B{index}", "file": f"{place}.tif", "index": index} for index in (1, 2, 3)],
            }
        )
    (folder / "catalog.json").write_text(json.dumps({"assets": assets}))
    return folder


def planned(url: str, out: str, answer: Any) -> None:
    """Plan a job over all of them; what it took goes into ``answer``."""
    import ee_spark

    started, processor = time.monotonic(), time.process_time()
    plan = ee_spark.plan(
        {
            "name": "bench-listing",
            "earth_engine": {"endpoint": url},
            "source": {"collection": "BENCH/SCENES", "start": "2000-01-01", "end": "2200-01-01"},
            "region": {"bbox": [-125.4, 37.0, -120.0, 42.0]},
            "grid": {"crs": "EPSG:32610", "scale": 300, "tile": 128},
            "pixels": {"mask": "none"},
            "output": {"path": out},
        }
    )
    answer.send(
        {
            "images": len(plan.images),
            "pairs": plan.pairs.count,
            "seconds": time.monotonic() - started,
            "cpu_seconds": time.process_time() - processor,
            "peak_mb": used()[1],
        }
    )


def main() -> None:
    """Run it and print what it took beside what it may take."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a line")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = catalog(Path(name), options.images)
        begun = time.monotonic()
        with emulator.start(folder) as service:
            ready = time.monotonic() - begun
            context = multiprocessing.get_context("spawn")
            mine, theirs = context.Pipe()
            process = context.Process(target=planned, args=(service.url, f"{name}/out", theirs))
            process.start()
            theirs.close()
            found = mine.recv()
            process.join()
            stats = json.loads(urllib3.request("GET", f"{service.url}/_emulator/stats").data)
    found |= {
        "requests": stats["requests"],
        "catalog_seconds": ready,
        "ratio_seconds": found["seconds"] / MOST_SECONDS,
        "ratio_mb": found["peak_mb"] / MOST_MB,
    }
    if options.json:
        print(json.dumps(found))
    else:
        print(", ".join(f"{key} {value:,.3g}" for key, value in found.items()))
    sys.exit(found["images"] != options.images or max(found["ratio_seconds"], found["ratio_mb"]) > 1)


if __name__ == "__main__":
    main()
