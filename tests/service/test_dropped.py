"""Images that ``map`` drops (null): empty, never failed, also where they are all of a run."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from job_files import LEAST, catalog, scene

import ee_emulator as emulator
from ee_spark import config, extract
from ee_spark.client import Service
from ee_spark.errors import ServiceError
from ee_spark.lane import work
from ee_spark.lane.deal import make_shares
from ee_spark.objects import open_store
from ee_spark.planner.request import is_nothing
from ee_spark.store import manifest, runs

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
            with pytest.raises(config.JobError, match=r"source\.map: .* gave no image for any of the 3 images"):
                extract.join_dataset(parsed, Service(service.url, "local", "anonymous"), store)
            return
        plan = extract.join_dataset(parsed, Service(service.url, "local", "anonymous"), store)
        manifest.open_tables(store, manifest.layout_of(plan))
        run_id = runs.start_run(store, plan, "run")
        (share,) = make_shares(plan, plan.images.version, run_id, slots=int(parsed.earth_engine.lanes))
        record = work(share.lane(None))
    tiles = plan.tiles
    assert plan.pairs.count >= 3 * 20
    assert (record.failed, record.missing, record.stopped) == (0, 0, None)
    found = pq.read_table(tmp_path / "out" / "tiles").to_pylist()
    gone = [row for row in found if row["error_class"] == "dropped"]
    assert all("Parameter 'input' is required" in row["error_message"] for row in gone)
    assert {row["image_id"] for row in gone} == {f"SERIES/I{n}" for n in range(dropped)}
    assert {row["status"] for row in gone} <= {"empty"}
    assert len(gone) == plan.pairs.count // 3 * dropped
    assert all(row["status"] in ("ok", "empty") for row in found)
    assert tiles


COMPOSITE = """
import ee

def newest(region, start, end):
    return ee.ImageCollection("SERIES").filterDate(start, end).select("B1").reduce(ee.Reducer.max()).rename("B1")
"""


@pytest.mark.parametrize("packed", [1, 8])
def test_periods_without_images_are_empty_and_asked_for_once(tmp_path: Path, packed: int) -> None:
    """Twelve months, of which three have images: in the others ``reduce`` makes an image without bands."""
    transform = [30.0, 0.0, 336375.0, 0.0, -30.0, 4462425.0]
    months = (6, 7, 10)
    scenes = [
        scene(
            tmp_path, f"SERIES/I{month}", transform, "EPSG:32613", size=(60, 60), start=f"2020-{month:02}-15T00:00:00Z"
        )
        for month in months
    ]
    catalog(tmp_path, scenes)
    (tmp_path / "c.py").write_text(COMPOSITE)
    source = {"image": "c.py:newest", "every": "1 month", "start": "2020-01-01", "end": "2021-01-01"}
    with emulator.start(tmp_path) as service:
        data = {
            **LEAST,
            "earth_engine": {
                "endpoint": service.url,
                "lanes": 1,
                "concurrent_requests": 1,
                "requests_per_minute": 60_000,
            },
            "source": source,
            "pixels": {"images_per_request": packed, "mask": "band"},
            "output": {"path": str(tmp_path / "out")},
        }
        parsed = config.parse(data, base=str(tmp_path))
        store, place = open_store(parsed.output.path), Service(service.url, "local", "anonymous")
        plan = extract.join_dataset(parsed, place, store)
        manifest.open_tables(store, manifest.layout_of(plan))
        (share,) = make_shares(plan, plan.images.version, runs.start_run(store, plan, "run"), slots=1)
        record = work(share.lane(None))
        winter = config.parse(
            {**data, "source": {**source, "end": "2020-05-01"}, "output": {"path": str(tmp_path / "w")}},
            base=str(tmp_path),
        )
        with pytest.raises(config.JobError, match=r"source\.image: .*newest gave no bands for any of the 4 periods"):
            extract.join_dataset(winter, place, open_store(winter.output.path))
    assert (record.failed, record.missing, record.stopped) == (0, 0, None)
    rows = pq.read_table(tmp_path / "out" / "tiles").to_pylist()
    tiles = len(rows) // 12
    assert tiles >= 20
    seen = {(row["status"], row["error_class"]) for row in rows if int(row["image_id"][5:7]) in months}
    assert seen == {("ok", None), ("empty", None)}, "the scenes do not fill the box"
    gone = [row for row in rows if int(row["image_id"][5:7]) not in months]
    assert {(row["status"], row["error_class"]) for row in gone} == {("empty", "dropped")}
    assert sum(row["requests"] for row in gone) <= 5 * 9, "known after the first of its tiles, and those beside it"


JOINED = """
import ee

def brightened(image):
    others = ee.ImageCollection("OTHERS").filterDate(image.date(), image.date().advance(1, "day"))
    return image.add(others.reduce(ee.Reducer.max()).rename("B1")).rename("B1")
"""


def test_an_image_that_lacks_what_map_joins_to_it_fails(tmp_path: Path) -> None:
    """The image is there: a tile of it that cannot be computed is a failure that somebody has to see."""
    transform = [30.0, 0.0, 336375.0, 0.0, -30.0, 4462425.0]
    pairs = [(f"SERIES/I{n}", f"2020-0{n + 1}-15T00:00:00Z") for n in range(3)]
    pairs += [("OTHERS/A", pairs[0][1]), ("OTHERS/C", pairs[2][1])]
    catalog(tmp_path, [scene(tmp_path, name, transform, "EPSG:32613", size=(60, 60), start=at) for name, at in pairs])
    (tmp_path / "m.py").write_text(JOINED)
    with emulator.start(tmp_path, latency_ms=300) as service:  # all packs are refused before any half of one answers
        data = {
            **LEAST,
            "earth_engine": {"endpoint": service.url, "requests_per_minute": 60_000},
            "source": {"collection": "SERIES", "map": "m.py:brightened"},
            "output": {"path": str(tmp_path / "out")},
        }
        parsed = config.parse(data, base=str(tmp_path))
        store = open_store(parsed.output.path)
        plan = extract.join_dataset(parsed, Service(service.url, "local", "anonymous"), store)
        manifest.open_tables(store, manifest.layout_of(plan))
        (share,) = make_shares(plan, plan.images.version, runs.start_run(store, plan, "run"), slots=1)
        record = work(share.lane(None))
    rows = pq.read_table(tmp_path / "out" / "tiles").to_pylist()
    failed = [row for row in rows if row["status"] == "failed"]
    assert {row["image_id"] for row in failed} == {"SERIES/I1"}
    assert len(failed) == record.failed == plan.pairs.count // 3
    assert all("number of bands (0)" in row["error_message"] for row in failed)
    assert not [row for row in rows if row["error_class"] == "dropped"]


@pytest.mark.parametrize(
    "message",
    [
        "Image.select: Band pattern 'NDVI' was applied to an Image with no bands.",
        "Image.rename: The number of names (1) must match the number of bands (0).",
        "Image.normalizedDifference: No band named 'B8'. Available band names: [].",
    ],
)
def test_without_bands_is_nothing_for_a_period_alone(message: str) -> None:
    error = ServiceError(message, kind="permanent", status=400)
    period, template = '{"result": "0"}', '{"result": "ee_spark/placeholder/image"}'
    assert is_nothing(error, "2020-01-01/2020-02-01", period)
    assert not is_nothing(error, "SERIES/I1", template)
    assert not is_nothing(error, "SERIES/I1", None), "getPixels"
    assert not is_nothing(error, "", period), "one computed image: the plan says what is wrong"
    other = ServiceError("Image.select: Band pattern 'B8' did not match any bands.", kind="permanent", status=400)
    assert not is_nothing(other, "2020-01-01/2020-02-01", period)
