"""Images that ``map`` drops (null): empty, never failed, also where they are all of a run."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from job_files import LEAST, catalog, scene

from ee_spark import config, emulator, extract
from ee_spark.client import Service
from ee_spark.lane import work
from ee_spark.lane.deal import make_lanes
from ee_spark.objects import open_store
from ee_spark.store import records

MAP = """
import ee

def late(image):
    early = ee.Date(image.get("system:time_start")).get("month").lt({month})
    return ee.Image(ee.Algorithms.If(early, None, image))
"""


@pytest.mark.parametrize(("month", "packed", "dropped"), [(2, 1, 1), (2, 4, 1), (9, 1, 3), (1, 1, 0)])
def test_a_null_result_is_empty_and_dropped(tmp_path: Path, month: int, packed: int, dropped: int) -> None:
    transform = [30.0, 0.0, 336375.0, 0.0, -30.0, 4462425.0]
    scenes = [
        scene(tmp_path, f"SERIES/I{n}", transform, "EPSG:32613", size=(60, 60), start=f"2020-0{n + 1}-15T00:00:00Z")
        for n in range(3)
    ]
    catalog(tmp_path, scenes)
    (tmp_path / "m.py").write_text(MAP.replace("{month}", str(month)))
    with emulator.start(tmp_path) as service:
        data = {
            **LEAST,
            "earth_engine": {"endpoint": service.url, "lanes": 1, "requests_per_minute": 60_000},
            "source": {"collection": "SERIES", "map": "m.py:late", "bands": ["B1"]},
            "pixels": {"images_per_request": packed, "dtype": {"B1": "int16"}},
            "output": {"path": str(tmp_path / "out")},
        }
        parsed = config.parse(data, base=str(tmp_path))
        store = open_store(parsed.output.path)
        if dropped == 3:
            with pytest.raises(config.JobError, match=r"source\.map: .* gave no image for any of the images"):
                extract.settle(parsed, Service(service.url, "local", "anonymous"), store)
            return
        plan = extract.settle(parsed, Service(service.url, "local", "anonymous"), store)
        records.open_tables(store, records.layout_of(plan))
        run_id = records.start_run(store, plan, "run")
        (lane,) = make_lanes(plan, plan.images.version, run_id, slots=int(parsed.earth_engine.lanes))
        (record,) = work(lane)
    tiles = plan.tiles
    assert plan.pairs.count >= 3 * 20
    assert (record["failed"], record["missing"], record["stopped"]) == (0, 0, None)
    found = pq.read_table(tmp_path / "out" / "tiles").to_pylist()
    gone = [row for row in found if row["error_class"] == "dropped"]
    assert {row["image_id"] for row in gone} == {f"SERIES/I{n}" for n in range(dropped)}
    assert {row["status"] for row in gone} <= {"empty"}
    assert len(gone) == plan.pairs.count // 3 * dropped
    assert all(row["status"] in ("ok", "empty") for row in found)
    assert tiles
