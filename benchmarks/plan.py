"""How fast a plan is, and how much it holds: 10 million tiles, 100,000 points, 20,000 images.

    python benchmarks/plan.py [--json]

Each case runs in a process of its own, so that its peak memory is its own. Seconds are of CPU time, which a shared
machine disturbs least. No service is asked: what is measured is the planner between the listing and the lanes, and the
listing's own columns from answers as the service writes them.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from measure import used

from ee_spark.lane.deal import deal
from ee_spark.planner.alignment import Layer
from ee_spark.planner.chunk import bucket_days, by_time, cut
from ee_spark.planner.crs import LONLAT, project
from ee_spark.planner.images import Images
from ee_spark.planner.intersection import patch_runs, region_runs, tile_runs
from ee_spark.planner.lattice import Lattice
from ee_spark.planner.metadata import gather
from ee_spark.planner.point_file import read_points
from ee_spark.planner.polygon import Polygons, bounds, boxes
from ee_spark.planner.tile import Shape
from ee_spark.planner.utm import codes

LIMITS = {"tiles": (10.0, 1000.0), "points": (3.0, 1000.0), "images": (30.0, 2000.0), "held": (60.0, 100.0)}
"""Seconds and MB that a case may take; for ``held`` the MB are what 20,000 images hold, not the peak."""
SHAPE = Shape(256, 256)


def tiles() -> dict[str, Any]:
    """Ten million tiles of a country-shaped region: the region's runs, chunks, chunks dealt to lanes, one slice."""
    angle = np.linspace(0, 2 * np.pi, 2000)
    reach = 1 + 0.2 * np.sin(9 * angle) + 0.05 * np.sin(71 * angle)
    ring = np.column_stack([-100 + 16.5 * reach * np.cos(angle), 40 + 8.2 * reach * np.sin(angle)])
    ring[-1] = ring[0]
    region, lattice = Polygons(((ring,),)), Lattice("EPSG:5070", 2.4, 2.4)
    started = time.process_time()
    layers = [Layer(lattice, np.arange(1))]
    wanted = region_runs(region, layers, SHAPE)
    pairs = by_time(
        cut([lattice], tile_runs(region, _one_image(), layers, wanted, SHAPE)[0], 32), np.zeros(1, np.int64), 1
    )
    dealt = deal(pairs.counts.tolist(), 100)
    slice_ = [pairs.chunk(index) for index in dealt[0]]
    seconds = time.process_time() - started
    return {
        "seconds": seconds,
        "tiles": pairs.count,
        "chunks": len(pairs),
        "slice_tiles": sum(one.count for one in slice_),
    }


def points() -> dict[str, Any]:
    """A CSV of 100,000 points with two columns of their own: read, placed, cut into chunks."""
    random = np.random.default_rng(1)
    lon, lat = random.uniform(-120, -80, 100_000), random.uniform(30, 48, 100_000)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "points.csv"
        rows = zip(lon.tolist(), lat.tolist(), strict=True)
        path.write_text("lon,lat,field,crop\n" + "".join(f"{x},{y},{n},wheat\n" for n, (x, y) in enumerate(rows)))
        started = time.process_time()
        found = read_points(str(path))
        lattice = Lattice("EPSG:5070", 30.0, 30.0)
        (runs, _), corners = patch_runs(found, _one_image(), [Layer(lattice, np.arange(1))], Shape(64, 64), snap=True)
        pairs = cut([lattice], runs, 256, corners)
        seconds = time.process_time() - started
    return {"seconds": seconds, "points": pairs.count, "chunks": len(pairs)}


def images() -> dict[str, Any]:
    """20,000 scenes, each with a footprint of its own, over a region of nearly a million tiles."""
    found, region = gather(_scenes(20_000)), Polygons(boxes((-124.0, 33.0, -100.0, 45.0)))
    lattice = Lattice("EPSG:5070", 10.0, 10.0)
    started = time.process_time()
    layers = [Layer(lattice, np.arange(len(found)))]
    wanted = region_runs(region, layers, SHAPE)
    touched, _ = tile_runs(region, found, layers, wanted, SHAPE)
    runs = cut([lattice], touched, 32)
    days = bucket_days(runs, found.time, 256 * 256 * 8, packed=False)
    pairs = by_time(runs, found.time, days)
    seconds = time.process_time() - started
    return {"seconds": seconds, "pairs": pairs.count, "chunks": len(pairs), "days": days}


def held() -> dict[str, Any]:
    """What 20,000 Landsat-like assets hold, once listed: resident memory after the listing, less before."""
    list(_scenes(10))
    before = _resident()
    started = time.process_time()
    found = gather(_scenes(20_000))
    seconds = time.process_time() - started
    return {"seconds": seconds, "images": len(found), "held_mb": (_resident() - before) / 1e6}


def _one_image() -> Images:
    """Return a mosaic of the whole Earth at one second of arc."""
    second = 1 / 3600
    grid = {
        "crsCode": "EPSG:4326",
        "dimensions": {"width": 360 * 3600, "height": 180 * 3600},
        "affineTransform": {"scaleX": second, "translateX": -180, "scaleY": -second, "translateY": 90},
    }
    return gather([{"name": "one", "bands": [{"id": "B1", "grid": grid}]}])


def _scenes(count: int) -> Iterator[dict[str, Any]]:
    """Yield assets as the service writes them: 12 bands, a footprint of 9 corners, 90 properties."""
    random = np.random.default_rng(3)
    corners = np.array(
        [[-1, -0.9], [0, -0.95], [1, -0.9], [1.02, 0], [1, 0.9], [0, 0.95], [-1, 0.9], [-1.02, 0], [-1, -0.9]]
    )
    for number in range(count):
        turn = np.radians(random.uniform(-12, 12))
        rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        ring = random.uniform((-125, 32), (-99, 46)) + corners @ rotation
        west, south, east, north = bounds(ring)
        crs = codes(np.array([(west + east) / 2]), np.array([south]))[0]
        x, y = project(LONLAT, crs, np.array([west, west, east, east]), np.array([south, north, south, north]))
        left, top = 30 * (x.min() // 30) + 15, 30 * (y.max() // 30) + 45
        size = {"width": int(np.ptp(x) // 30) + 2, "height": int(np.ptp(y) // 30) + 2}
        yield {
            "type": "IMAGE",
            "name": f"projects/earthengine-public/assets/LANDSAT/LC08/C02/T1_L2/LC08_{number:06}",
            "startTime": f"20{13 + number % 10}-0{1 + number % 9}-1{number % 10}T10:00:00Z",
            "updateTime": "2024-01-01T00:00:00Z",
            "geometry": {"type": "Polygon", "coordinates": [ring.tolist()]},
            "properties": {
                **{f"PROPERTY_NUMBER_{index}": float(random.normal()) for index in range(45)},
                **{f"PROPERTY_TEXT_{index}": "as in every scene of the collection" for index in range(45)},
            },
            "bands": [_band(f"SR_B{index}", crs, left, top, size) for index in range(12)],
        }


def _band(name: str, crs: str, left: float, top: float, size: dict[str, int]) -> dict[str, Any]:
    affine = {"scaleX": 30, "translateX": left, "scaleY": -30, "translateY": top}
    return {
        "id": name,
        "dataType": {"precision": "INT", "range": {"max": 65535}},
        "grid": {"crsCode": crs, "dimensions": size, "affineTransform": affine},
        "pyramidingPolicy": "MEAN",
    }


def _resident() -> int:
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) * 1024


def _measured(case: Callable[[], dict[str, Any]], out: Any) -> None:
    found = case()
    out.send({**found, "peak_mb": used()[1]})


def main() -> None:
    """Run every case in a fresh process and print what it took beside what it may take."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    as_json = parser.parse_args().json
    context, results = multiprocessing.get_context("spawn"), {}
    for case in (tiles, points, images, held):
        mine, theirs = context.Pipe()
        process = context.Process(target=_measured, args=(case, theirs))
        process.start()
        theirs.close()
        results[case.__name__] = found = mine.recv()
        process.join()
        seconds, megabytes = LIMITS[case.__name__]
        found |= {
            "ratio_seconds": found["seconds"] / seconds,
            "ratio_mb": found.get("held_mb", found["peak_mb"]) / megabytes,
        }
        if not as_json:
            figures = ", ".join(
                f"{key} {value:,.3g}" if isinstance(value, float) else f"{key} {value:,}"
                for key, value in found.items()
            )
            print(f"{case.__name__:<7} {figures}")
    if as_json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
