"""What footprints take away from a plan, and a plan where those of some images take nothing away."""

from __future__ import annotations

import numpy as np
import pyproj
from job_files import catalog, job, scene

import ee_emulator as emulator
from ee_spark.client import Service
from ee_spark.planner.chunk import Pairs
from ee_spark.planner.plan import make

X, Y, UTM10 = 500_010.0, 4_200_000.0, "EPSG:32610"


def cells(pairs: Pairs) -> set[tuple[str, int, int, int]]:
    """The pairs as (chunk, image, row, column)."""
    return {
        (pairs.key(index), int(image), int(row), column)
        for index in range(len(pairs))
        for chunk in [pairs.chunk(index)]
        for image, row, start, stop in zip(chunk.image, chunk.row, chunk.start, chunk.stop, strict=True)
        for column in range(int(start), int(stop))
    }


def test_a_plan_by_raster_is_the_plan_with_what_was_spared(tmp_path):
    turn = pyproj.Transformer.from_crs(UTM10, "OGC:CRS84", always_xy=True).transform
    lon, lat = turn(X + np.array([0, 3000, 3000, 0, 0]), Y - np.array([6000, 6000, 0, 0, 6000]))  # its western half
    half = {"type": "Polygon", "coordinates": [np.column_stack([lon, lat]).tolist()]}
    assets = [
        scene(tmp_path, f"HALF/{name}", [30, 0, X, 0, -30, Y], UTM10, size=(200, 200), geometry=half)
        for name in ("A", "B")
    ]
    catalog(tmp_path, assets)
    west, south = turn(X - 500, Y - 6500)
    east, north = turn(X + 6500, Y + 500)
    changes = {
        "source": {"collection": "HALF"},
        "region": {"bbox": [west, south, east, north]},
        "grid": {"crs": UTM10, "scale": 30, "tile": 16},
    }
    with emulator.start(tmp_path) as running:
        service = Service(running.url, "demo", "anonymous")
        plan = make(job(changes), service)
        by_raster = make(job(changes), service, by_raster=["HALF/B"])
        ignored = make(job({**changes, "source": {"collection": "HALF", "footprints": "ignore"}}), service)
    assert plan.spared.count > 50
    assert not cells(plan.spared) & cells(plan.pairs)
    assert cells(ignored.pairs) == cells(plan.pairs) | cells(plan.spared)
    assert not ignored.spared.count
    moved = plan.with_spared([1])
    assert cells(moved.pairs) == cells(by_raster.pairs)
    assert cells(moved.spared) == cells(by_raster.spared)
    assert moved.untouched == by_raster.untouched
    assert cells(moved.pairs) - cells(plan.pairs) == cells(plan.spared_of([1]))
    assert plan.fingerprint == moved.fingerprint == by_raster.fingerprint == ignored.fingerprint
    notes = {what: (value, why) for what, value, why in plan.notes}
    assert notes["footprints"][0] == "2 of 2 images"
    assert f"{plan.spared.count:,} pairs" in notes["footprints"][1]
    assert ("footprints", "ignored") in {note[:2] for note in ignored.notes}
