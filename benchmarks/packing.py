"""Thirteen years of 16-day patches at 64 points: packed, against one image per request over the first year.

299 images × 64 points of 23 × 11 pixels. Aim: at most 150 requests, and the same rows.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import bench
import numpy as np
import pyarrow.parquet as pq
from rasterio.warp import transform

from ee_spark.lane import work

IMAGES, POINTS, SIDE = 299, 64, 1200
MOST = 150


def run(url: str, out: Path, points: Path, size: int | str, end: str) -> tuple[dict[str, Any], dict[Any, Any]]:
    engine = {"requests_per_minute": 600_000, "concurrent_requests": 40}
    data = bench.job(url, out, SIDE, SIDE, 16, earth_engine=engine)
    data["region"] = {"points": str(points)}
    data["grid"]["tile"] = [23, 11]
    data["source"] = {"collection": "BENCH/NOISE", "start": "2010-01-01", "end": end}
    data["pixels"] = {"mask": "band", "images_per_request": size}
    (share,) = bench.shares_of(data)
    started = time.monotonic()
    record = work(share.lane(None))
    columns = ["tile_id", "image_id", "B1", "valid"]
    rows = pq.read_table(out / "pixels", columns=columns).to_pylist()
    return {"ok": record.ok, "requests": record.traffic.requests, "took": time.monotonic() - started}, {
        tuple(row.values())[:2]: row for row in rows
    }


def main() -> int:
    with bench.scratch() as folder:
        catalog = bench.noise(folder, SIDE, SIDE, 1, 128, IMAGES)
        random = np.random.default_rng(5)
        x = bench.ORIGIN[0] + random.uniform(200, SIDE * bench.SCALE - 200, POINTS)
        y = bench.ORIGIN[1] - random.uniform(200, SIDE * bench.SCALE - 200, POINTS)
        lon, lat = transform("EPSG:32632", "EPSG:4326", x, y)
        points = folder / "points.csv"
        points.write_text(
            "id,lon,lat\n" + "".join(f"p{i},{a!r},{b!r}\n" for i, (a, b) in enumerate(zip(lon, lat, strict=True)))
        )
        with bench.served(catalog) as url:
            packed, many = run(url, folder / "packed", points, "auto", "2024-01-01")
            single, first = run(url, folder / "single", points, 1, "2011-01-01")
    same = all(many[key] == row for key, row in first.items())
    good = packed["requests"] <= MOST and same and len(many) == IMAGES * POINTS == packed["ok"]
    print(
        f"{packed['ok']} rows in {packed['requests']} requests (at most {MOST}), {packed['took']:.1f} s; unpacked "
        f"{single['ok']} rows in {single['requests']} requests, {single['took']:.1f} s: "
        f"{packed['ok'] / packed['requests'] / (single['ok'] / single['requests']):.0f} × the rows per request; "
        f"the rows of both are {'the same' if same else 'NOT the same'}"
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
