"""Recorded metadata, served as the real service said it beside pixels of the test's own.

The recordings were collected from public repositories, notebooks and documentation; each names its source.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ee
import numpy as np
import pytest
import shapely
from emulator_client import compute, connect, get, grid, write_raster
from places import REPO
from shapely.geometry import shape

import ee_emulator
from ee_emulator.errors import CatalogError

RECORDED: list[dict[str, Any]] = json.loads((REPO / "tests/data/recorded/assets.json").read_text(encoding="utf-8"))
PIXELS = np.arange(1, 17, dtype=np.uint8).reshape(4, 4)
GRID = grid("EPSG:32633", [30.0, 0.0, 500000.0, 0.0, -30.0, 5000000.0], 4, 4)


def is_image(asset: dict[str, Any]) -> bool:
    return "id" in asset and asset.get("type") not in ("TABLE", "IMAGE_COLLECTION") and "projection" not in asset


def form(number: int) -> str:
    return "rest" if RECORDED[number]["form"].startswith("getAsset") else "info"


IMAGES = [number for number, record in enumerate(RECORDED) if is_image(record["asset"])]


def entry(number: int) -> dict[str, Any]:
    """The catalog's entry of one recording, in a folder of its own: some of them are of one and the same asset."""
    asset = dict(RECORDED[number]["asset"])
    asset["id"] = f"N{number}/{asset['id']}"
    if "name" in asset:
        asset["name"] = f"projects/earthengine-public/assets/{asset['id']}"
    bands = [{"id": band["id"], "file": "pixels.tif"} for band in asset.get("bands", [{"id": "b1"}])]
    return {"id": asset["id"], "bands": bands, "recorded": asset}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("recorded")
    transform = GRID["affineTransform"]
    terms = [transform[key] for key in ("scaleX", "shearX", "translateX", "shearY", "scaleY", "translateY")]
    write_raster(folder / "pixels.tif", PIXELS, terms, "EPSG:32633")
    entries = [entry(number) for number in IMAGES]
    (folder / "catalog.json").write_text(json.dumps({"assets": entries}))
    with ee_emulator.start(folder) as service:
        connect(service.url)
        yield service.url


def resource(url: str, asset_id: str) -> dict[str, Any]:
    name = asset_id if asset_id.startswith("projects/") else f"projects/earthengine-public/assets/{asset_id}"
    found: dict[str, Any] = json.loads(get(url, f"/v1/{name}").data)
    return found


def test_both_forms_are_there() -> None:
    assert len(RECORDED) == 39
    assert [form(number) for number in IMAGES].count("rest") == 3
    assert [form(number) for number in IMAGES].count("info") >= 20


@pytest.mark.parametrize("number", IMAGES)
def test_the_form_that_was_recorded_is_served_as_it_is(url: str, number: int) -> None:
    recorded = entry(number)["recorded"]
    if form(number) == "rest":
        found = resource(url, recorded["id"])
        assert {key: found[key] for key in recorded} == recorded
        assert set(found) - set(recorded) <= {"type", "name"}
    else:
        assert ee.Image(recorded["id"]).getInfo() == recorded


def to_info(found: dict[str, Any]) -> dict[str, Any]:
    """A REST resource in the form of getInfo, written after the documentation of both."""
    properties = dict(found.get("properties", {}))
    for key, name in (("startTime", "system:time_start"), ("endTime", "system:time_end")):
        if key in found:
            properties[name] = round(dt.datetime.fromisoformat(found[key]).timestamp() * 1000)
    for key, name in (("geometry", "system:footprint"), ("title", "system:title")):
        if key in found:
            properties[name] = found[key]
    if "sizeBytes" in found:
        properties["system:asset_size"] = int(found["sizeBytes"])
    info: dict[str, Any] = {"id": found["id"], "properties": properties}
    if "updateTime" in found:
        at = dt.datetime.fromisoformat(found["updateTime"]) - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
        info["version"] = at // dt.timedelta(microseconds=1)
    info["bands"] = []
    for band in found.get("bands", []):
        kind, where = band["dataType"], band["grid"]
        data_type = {"type": "PixelType", "precision": kind["precision"].lower()}
        if "range" in kind:
            data_type |= {"min": kind["range"].get("min", 0), "max": kind["range"].get("max", 0)}
        affine = where["affineTransform"]
        terms = [affine.get(k, 0) for k in ("scaleX", "shearX", "translateX", "shearY", "scaleY", "translateY")]
        told = {"id": band["id"], "data_type": data_type, "crs": where.get("crsCode", where.get("crsWkt"))}
        told["crs_transform"] = terms
        if "dimensions" in where:
            told["dimensions"] = [where["dimensions"]["width"], where["dimensions"]["height"]]
        info["bands"].append(told)
    return info


def stripped(info: dict[str, Any]) -> dict[str, Any]:
    """A recorded description without what REST has no place for; an origin is part of the transform there."""
    properties = {
        k: v for k, v in info.get("properties", {}).items() if k not in ("system:index", "system:description")
    }
    found = {**{k: v for k, v in info.items() if k not in ("type", "bands")}, "properties": properties, "bands": []}
    for band in info.get("bands", []):
        kept = {k: v for k, v in band.items() if k not in ("origin", "properties")}
        a, b, c, d, e, f = band["crs_transform"]
        column, row = band.get("origin", (0, 0))
        kept["crs_transform"] = [a, b, c + a * column + b * row, d, e, f + d * column + e * row]
        found["bands"].append(kept)
    return found


@pytest.mark.parametrize("number", [number for number in IMAGES if form(number) == "info"])
def test_a_description_is_translated_for_listings(url: str, number: int) -> None:
    recorded = entry(number)["recorded"]
    found = resource(url, recorded["id"])
    assert found["type"] == "IMAGE"
    assert to_info(found) == stripped(recorded)
    name = found["name"]
    (listed,) = [a for a in ee.data.listAssets(name.rpartition("/")[0])["assets"] if a["name"] == name]
    assert listed == found


def test_a_rest_record_is_described_by_its_pixels_and_properties(url: str) -> None:
    (number,) = [n for n in IMAGES if "Infinity" in json.dumps(RECORDED[n]["asset"]) and form(n) == "rest"]
    recorded = entry(number)["recorded"]
    info = ee.Image(recorded["id"]).getInfo()
    assert info["properties"]["system:footprint"] == recorded["geometry"]
    assert info["properties"]["system:asset_size"] == int(recorded["sizeBytes"])
    assert info["properties"]["title"] == recorded["properties"]["title"]
    at = dt.datetime.fromisoformat(recorded["updateTime"]) - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    assert info["version"] == at // dt.timedelta(microseconds=1)
    where = ee.ImageCollection([ee.Image(recorded["id"])]).filterBounds(ee.Geometry.Point([1, 2]))
    assert where.size().getInfo() == 1, "an unbounded image is everywhere"


def test_pixels_are_the_files_and_what_is_made_of_them_is_described_anew(url: str) -> None:
    for number in IMAGES:
        recorded = entry(number)["recorded"]
        band = recorded.get("bands", [{"id": "b1"}])[0]["id"]
        image = ee.Image(recorded["id"]).select([band], ["one"])
        np.testing.assert_array_equal(compute(image, GRID)["one"], PIXELS)
        assert [b["id"] for b in image.getInfo()["bands"]] == ["one"]


def test_filters_go_by_what_was_recorded(url: str) -> None:
    scenes = [n for n in IMAGES if "system:footprint" in entry(n)["recorded"].get("properties", {})]
    assert len(scenes) >= 15
    for number in scenes:
        recorded = entry(number)["recorded"]
        properties = recorded["properties"]
        images = ee.ImageCollection([ee.Image(recorded["id"])])
        if "system:time_start" in properties:
            at = properties["system:time_start"]
            assert images.filterDate(at, at + 1).size().getInfo() == 1
            assert images.filterDate(at + 1, at + 2).size().getInfo() == 0
        ring = properties["system:footprint"]
        points = [point for point in ring["coordinates"] if None not in point] if ring["type"] == "LinearRing" else []
        if len(points) < 5:
            continue
        if points[0] != points[-1]:
            continue  # the source cut it
        inside = shapely.Polygon(points).representative_point()
        assert images.filterBounds(ee.Geometry.Point([inside.x, inside.y])).size().getInfo() == 1
        assert images.first().get("system:footprint").getInfo() == ring
        area = images.first().geometry().getInfo()
        assert area["type"] == "Polygon"
        assert shape(area).equals(shapely.Polygon(points))


def test_what_cannot_be_a_recording_is_refused_by_name(tmp_path: Path) -> None:
    write_raster(tmp_path / "pixels.tif", PIXELS, [1, 0, 0, 0, -1, 4], "EPSG:4326")
    good = {"id": "A/B", "bands": [{"id": "b1", "file": "pixels.tif"}]}
    for recorded, said in (
        ([], "'recorded' must be an object"),
        ({"id": "A/C"}, "'recorded' is of 'A/C'"),
        ({"type": "Image", "bands": [{}]}, "'recorded' cannot be read"),
        ({"type": "Image", "version": "new"}, "'recorded' cannot be read"),
    ):
        (tmp_path / "catalog.json").write_text(json.dumps({"assets": [{**good, "recorded": recorded}]}))
        with pytest.raises((CatalogError, RuntimeError), match=said):
            ee_emulator.start(tmp_path)


JUNK: list[Any] = [None, True, -1, 1e300, "", "x", "Infinity", [], {}, [[]], [1], {"type": "LinearRing"}, [[0, 0], [1]]]


def mutated(value: Any, draw: np.random.Generator) -> Any:
    """A record with one value somewhere in it replaced, left out or doubled; its id and type stay."""
    found = json.loads(json.dumps(value))
    at, key = found, None
    while isinstance(at, (dict, list)) and at:
        keys = [k for k in (at if isinstance(at, dict) else range(len(at))) if k not in ("id", "type", "name")]
        if not keys or (key is not None and draw.random() < 0.2):
            break
        parent, key = at, keys[draw.integers(len(keys))]
        at = parent[key]
    if key is not None:
        parent[key] = JUNK[draw.integers(len(JUNK))]
    return found


def test_any_rest_record_is_served_as_it_is(tmp_path: Path) -> None:
    write_raster(tmp_path / "pixels.tif", PIXELS, [30, 0, 500000, 0, -30, 5000000], "EPSG:32633")
    draw = np.random.default_rng(3)
    seeds = [{"type": "IMAGE", **entry(n)["recorded"]} for n in IMAGES if form(n) == "rest"]
    ring = {"type": "LinearRing", "coordinates": [[14, 45], [16, 45], [16, 46], [14, 46], [14, 45]]}
    seeds += [{**seed, "geometry": ring, "startTime": "2020-01-01T00:00:00Z"} for seed in seeds]
    records = []
    for number in range(400):
        record = mutated(seeds[number % len(seeds)], draw)
        records.append({**record, "id": f"R/{number:03}", "name": f"projects/earthengine-public/assets/R/{number:03}"})
    bands = [{"id": "b1", "file": "pixels.tif"}]
    entries = [{"id": record["id"], "bands": bands, "recorded": record} for record in records]
    (tmp_path / "catalog.json").write_text(json.dumps({"assets": entries}))
    with ee_emulator.start(tmp_path) as service:
        listed = json.loads(get(service.url, "/v1/projects/earthengine-public/assets/R:listAssets").data)["assets"]
        assert listed == records
        connect(service.url)
        found = ee.ImageCollection("R").filterBounds(ee.Geometry.Point([15, 45.15])).size().getInfo()
        assert found > 100
