"""Samples are drawn once: later runs, and other drivers, have the points that were kept first."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from emulator_client import asset, write_catalog, write_raster

import ee_emulator as emulator
from ee_spark import config, extract
from ee_spark.client import Service
from ee_spark.errors import StoreError
from ee_spark.objects import open_store
from ee_spark.planner.points import Points
from ee_spark.store import points as kept_points
from ee_spark.store import samples
from ee_spark.where import Sample, Within

SAMPLE = Sample(count=2, seed=3, within=Within(bbox=(0.0, 0.0, 1.0, 1.0)))


def points(*ids: str) -> Points:
    place = np.arange(len(ids)) + 0.1
    columns = pa.table({"class": pa.array(range(len(ids)), pa.int64()), "name": list(ids)})
    return Points(ids, place, -place / 3, columns)


def test_the_first_draw_is_kept_to_the_bit(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    assert samples.held(store, SAMPLE) is None
    assert samples.hold(store, SAMPLE, points("a", "b")) is None
    kept = samples.held(store, SAMPLE)
    assert kept is not None
    assert kept.ids == ("a", "b")
    assert (kept.lon.tolist(), kept.lat.tolist()) == ([0.1, 1.1], [-0.1 / 3, -1.1 / 3])
    assert kept.columns.equals(points("a", "b").columns)
    others = samples.hold(store, SAMPLE, points("c", "d"))
    assert others is not None
    assert others.ids == ("a", "b"), "whoever comes later takes what is there"
    assert samples.held(store, SAMPLE.model_copy(update={"seed": 4})) is None, "another sample is another draw"


def test_what_an_older_version_drew_is_still_held(tmp_path: Path) -> None:
    """It kept the table itself, as JSON."""
    store, old = open_store(str(tmp_path)), points("a", "b")
    assert samples.hold(store, SAMPLE, old) is None
    ((name, _),) = [(entry.name, entry) for entry in store.list("_ee_spark/samples/")]
    columns = {
        name: {"type": str(column.type), "values": column.to_pylist()}
        for name, column in zip(old.columns.column_names, old.columns.columns, strict=True)
    }
    body = {"id": old.ids, "lon": old.lon.tolist(), "lat": old.lat.tolist(), "columns": columns}
    store.delete(name)
    store.create(name, json.dumps({"sample": SAMPLE.model_dump(mode="json"), **body}).encode())
    kept = samples.held(store, SAMPLE)
    assert kept is not None
    assert (kept.ids, kept.lon.tolist(), kept.lat.tolist()) == (old.ids, old.lon.tolist(), old.lat.tolist())
    assert kept.columns.equals(old.columns)


def test_points_that_are_gone_or_damaged_are_named(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    record = kept_points.keep(store, points("a", "b"))
    assert kept_points.keep(store, points("a", "b")) == record
    (entry,) = store.list("_ee_spark/points/")
    assert record == {"file": entry.name.rpartition("/")[2], "count": 2}
    store.delete(entry.name)
    with pytest.raises(StoreError, match=r"points/\w{16}\.arrow: is missing"):
        kept_points.kept(store, record)
    store.create(entry.name, b"anything")
    with pytest.raises(StoreError, match="is damaged"):
        kept_points.kept(store, record)
    with pytest.raises(StoreError, match="is missing"):
        kept_points.kept(store, {"file": "../job.json", "count": 1})


def test_an_image_of_classes_that_changes_moves_no_point(tmp_path: Path) -> None:
    folder, out = tmp_path / "catalog", tmp_path / "out"
    folder.mkdir()
    (tmp_path / "classes.py").write_text("import ee\n\n\ndef cover(region):\n    return ee.Image('ONE/COVER')\n")
    rng = np.random.default_rng(5)
    with_classes = rng.integers(1, 3, (64, 64), np.uint8)
    for stem, block in (("first", with_classes), ("later", np.flipud(with_classes) % 2 + 1)):
        write_raster(folder / f"{stem}.tif", block, [30, 0, 600000, 0, -30, 4200000], "EPSG:32610")

    def catalog(stem: str) -> None:
        write_catalog(
            folder, [asset("ONE/COVER", {"class": f"{stem}.tif"}, updateTime=f"202{len(stem)}-01-01T00:00:00Z")]
        )

    catalog("first")
    job = {
        "name": "by-class",
        "source": {"asset": "ONE/COVER", "bands": {"cover": "class"}},
        "region": {
            "sample": {
                "count": 5,
                "seed": 1,
                "within": {"bbox": [-121.863, 37.930, -121.845, 37.942]},
                "stratify": {"image": "classes.py:cover", "band": "class", "scale": 30},
            }
        },
        "grid": {"crs": "EPSG:32610", "scale": 30, "tile": 4},
        "output": {"path": str(out)},
    }
    with emulator.start(folder) as service:
        parsed = config.parse({**job, "earth_engine": {"endpoint": service.url}}, base=str(tmp_path))
        place = Service(service.url, "local", "anonymous")
        first = extract.join_dataset(parsed, place, open_store(str(out)))
        catalog("later")
        again = extract.join_dataset(parsed, place, open_store(str(out)))
        drawn_now = extract.join_dataset(parsed, place, open_store(str(tmp_path / "elsewhere")))
    assert isinstance(first.region, Points)
    assert isinstance(again.region, Points)
    assert isinstance(drawn_now.region, Points)
    assert len(first.region.ids) == 10
    assert again.region.ids == first.region.ids
    assert drawn_now.region.ids != first.region.ids, "the classes did change"
    assert again.fingerprint == first.fingerprint
