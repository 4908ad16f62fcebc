"""What the service says of images: as recorded, and as nobody would say it, read or refused in one line."""

from __future__ import annotations

import copy
import json
import random
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from recorded import images as recorded
from recorded import rest

from ee_spark.errors import JobError
from ee_spark.job import JobConfig
from ee_spark.planner.alignment import choose_lattices
from ee_spark.planner.choice import Choice
from ee_spark.planner.footprint import Footprints
from ee_spark.planner.intersection import region_runs, tile_runs
from ee_spark.planner.metadata import gather
from ee_spark.planner.polygon import Polygons, boxes
from ee_spark.planner.tile import Shape

RING = [[10.0, 50.0], [11.0, 50.0], [11.0, 51.0], [10.0, 51.0], [10.0, 50.0]]
VALUES: list[Any] = [
    None, "", "text", "Infinity", "-Infinity", "NaN", "1", "-1.5", 0, -1, 1, 0.5, 1e300, -1e300, 1e-300, 2**70, True,
    [], {}, [[]], [1], [None], {"a": 1}, float("inf"), 181, 91, "EPSG:4326", "EPSG:0", "EPSG:32633", "/etc/passwd",
    "Polygon", "LinearRing", "MultiPolygon", "Point", "GeometryCollection", False,
]  # fmt: skip


def config(**grid: object) -> JobConfig:
    return JobConfig.model_validate(
        {
            "name": "metadata-test",
            "earth_engine": {"endpoint": "http://127.0.0.1:1", "credentials": "anonymous"},
            "source": {"collection": "A"},
            "region": {"bbox": [9.5, 49.5, 11.5, 51.5]},
            "grid": grid,
            "output": {"path": "out"},
        }
    )


def places(thing: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    keys = thing.keys() if isinstance(thing, dict) else range(len(thing)) if isinstance(thing, list) else ()
    return [path, *(deeper for key in keys for deeper in places(thing[key], (*path, key)))] if path else [
        deeper for key in keys for deeper in places(thing[key], (key,))
    ]  # fmt: skip


def mutated(asset: dict[str, Any], dice: random.Random) -> dict[str, Any]:
    """Return an asset with one to three of its keys or items lost, doubled, or of another value."""
    found = copy.deepcopy(asset)
    for _ in range(dice.randint(1, 3)):
        path = dice.choice(places(found))
        parent = found
        for key in path[:-1]:
            parent = parent[key]
        act = dice.randrange(4)
        if act == 0:
            del parent[path[-1]]
        elif act == 1 and isinstance(parent, list):
            parent.append(copy.deepcopy(parent[path[-1]]))
        elif act == 2 and isinstance(parent[path[-1]], int | float):
            parent[path[-1]] = parent[path[-1]] * dice.choice([-1, 0, 1e-9, 1e3, 1e9])
        else:
            parent[path[-1]] = copy.deepcopy(dice.choice(VALUES))
    return found


def planned(asset: dict[str, Any]) -> None:
    """Read an asset, and find the tiles that it touches around where it was recorded, on two lattices."""
    images = gather([asset])
    west, south = float(np.clip(WHERE[0], -179, 178)), float(np.clip(WHERE[1], -80, 79))
    region = Polygons(boxes((west, south, west + 1, south + 1)))
    for grid in ({"crs": "EPSG:4326", "scale": 1000}, {"crs": "utm", "scale": 1000}):
        layers = choose_lattices(config(**grid), images, None, region).layers
        wanted = region_runs(region, layers, Shape(32, 32))
        tile_runs(region, images, layers, wanted, Shape(32, 32), Choice(frozenset({images.signatures[0][0].name})))
        tile_runs(region, images, layers, wanted, Shape(32, 32), Choice())
    with suppress(JobError):
        choose_lattices(config(crs="native"), images, None, region)


WHERE = [10.0, 50.0]


def fuzzed(count: int, seed: int) -> tuple[int, int]:
    """Return how many of ``count`` mutated recordings made a plan, and how many were refused in one line."""
    dice, refused = random.Random(seed), 0
    assets = [rest(number) for number in recorded()]
    for _ in range(count):
        asset = dice.choice(assets)
        ring = asset.get("geometry", {}).get("coordinates", [[10.0, 50.0]])
        first = ring[0] if isinstance(ring[0][0], float | int) else ring[0][0]
        WHERE[:] = [float(value) if np.isfinite(float(value)) else 0.0 for value in first]
        strange = mutated(asset, dice)
        said = ""
        try:
            planned(strange)
        except JobError as error:
            said = str(error)
        except Exception:  # say which
            print(json.dumps(strange))
            raise
        refused += bool(said)
        assert "\n" not in said
        assert len(said) < 700
    return count - refused, refused


def test_mutated_recordings_are_planned_or_refused_in_a_line() -> None:
    made, refused = fuzzed(500, 14)
    assert made > 100
    assert refused > 50


@pytest.mark.parametrize("number", recorded())
def test_every_recording_is_read(number: int) -> None:
    asset = rest(number)
    images = gather([asset])
    assert [band.name for band in images.signatures[0]] == [band["id"] for band in asset["bands"]]
    for band, stored in zip(images.signatures[0], asset["bands"], strict=True):
        affine = stored["grid"]["affineTransform"]
        sheared = bool(affine.get("shearX") or affine.get("shearY"))
        assert band.oddity == ("sheared" if sheared else "" if "dimensions" in stored["grid"] else "without dimensions")


@pytest.mark.parametrize(
    ("geometry", "why"),
    [
        ({"type": "LinearRing", "coordinates": RING}, ""),
        ({"type": "LinearRing", "coordinates": RING[::-1]}, ""),
        ({"type": "Polygon", "coordinates": [RING[:-1]]}, ""),
        ({"type": "Polygon", "coordinates": [[[10, 50], [11, 50], [11, 51], [10, 51]]]}, ""),
        ({"type": "Polygon", "coordinates": [[["10", "50"], ["11", "50"], ["11", "51"]]]}, ""),
        ({"type": "MultiPolygon", "coordinates": [[RING], [[[20, 50], [21, 50], [21, 51]]]]}, ""),
        ({"type": "Polygon", "coordinates": [RING], "geodesic": False}, ""),
        ({"type": "Polygon", "coordinates": [[[179, 0], [-179, 0], [-179, 1], [179, 1]]]}, ""),
        ({"type": "Polygon", "coordinates": [[[-181, 0], [-179, 0], [-179, 1], [-181, 1]]]}, ""),
        (
            {"type": "GeometryCollection", "geometries": [
                {"type": "Point", "coordinates": [10, 50]}, {"type": "Polygon", "coordinates": [RING]}]},
            "",
        ),
        (None, "none is given"),
        ({}, "none is given"),
        ([], "[] is not a geometry"),
        ({"type": "Point", "coordinates": [10, 50]}, "a Point has no area"),
        ({"type": "Polygon", "coordinates": []}, "it has no area"),
        ({"type": "Polygon", "coordinates": [[]]}, "it has no area"),
        ({"type": "LinearRing", "coordinates": [[10, 50], [11, 51]]}, "it has no area"),
        ({"type": "LinearRing", "coordinates": [[10, 50], [11, 51], [10, 50]]}, "it has no area"),
        ({"type": "Polygon", "coordinates": [[["-Infinity", 0], ["Infinity", 0], [0, 0]]]}, "it is unbounded"),
        ({"type": "Polygon", "coordinates": [[[-1e400, -1e400], [1e400, 0], [0, 0]]]}, "it is unbounded"),
        ({"type": "Polygon", "coordinates": [[[10, None], [11, 50], [11, 51]]]}, "its coordinates are not pairs of"),
        ({"type": "Polygon", "coordinates": [[[5e5, 4e6], [6e5, 4e6], [6e5, 5e6]]]}, "is not a place in degrees"),
        ({"type": "Polygon", "coordinates": [[[-180, -90], [180, -90], [180, 90], [-180, 90]]]}, "it touches a pole"),
        ({"type": "Polygon", "coordinates": [[[-182.5, -92], [177.5, -92], [177.5, 92], [-182.5, 92]]]}, "a pole"),
        ({"type": "Polygon", "coordinates": [[[-180, -60], [0, -60], [180, -60], [180, 60], [-180, 60]]]}, "360°"),
        ({"type": "Polygon", "coordinates": [[[-100, 10], [90, 10], [90, 20], [-100, 20]]]}, "an edge of 180° or more"),
        ({"type": "Polygon", "coordinates": [[[-80, 40], [80, 40], [80, 41], [-80, 41]]]}, "less than half of its"),
    ],
)  # fmt: skip
def test_footprints_are_read_or_say_why_not(geometry: Any, why: str) -> None:
    found = Footprints.of([geometry]).reason[0]
    assert (why in found) if why else found == ""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"bands": []}, "source: image 'A/B' has no bands"),
        ({"bands": [7]}, "source: image A/B: its bands[0] is 7, and not a band; leave it out with source.filter"),
        ({"startTime": "soon"}, "source: image A/B: its startTime is soon, and not a time; leave it out"),
        ({"grid": {"affineTransform": {"scaleX": "Infinity"}}},
         "its bands[0].grid.affineTransform.scaleX is Infinity, and not a finite number"),
        ({"grid": {"affineTransform": {"scaleX": 0}}}, "its bands[0].grid.affineTransform is {'scaleX': 0"),
        ({"grid": {"crsCode": None}}, "its bands[0].grid.crsCode is missing, and not a CRS"),
        ({"grid": {"dimensions": {"width": -5, "height": 3}}}, "dimensions.width is -5, and not a number of pixels"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named(change: dict[str, Any], said: str) -> None:
    affine = {"scaleX": 10, "scaleY": -10}
    band = {"id": "B1", "grid": {"crsCode": "EPSG:32633", "affineTransform": affine}}
    for key, value in change.get("grid", {}).items():
        band["grid"][key] = {**affine, **value} if key == "affineTransform" else value  # type: ignore[index]
    asset = {"name": "projects/earthengine-public/assets/A/B", "bands": [band], **change}
    with pytest.raises(JobError) as caught:
        gather([asset])
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("grid", "said"),
    [
        (
            {"crs": "native", "like": "angle"},
            "grid.crs: native: the pixels of 'angle' lie on a sheared or rotated grid",
        ),
        (
            {"crs": "EPSG:32634", "scale": 10, "align": "asset"},
            "grid.align: asset: the pixels of 'angle' lie on a sheared",
        ),
    ],
)
def test_a_sheared_band_is_refused_by_name(grid: dict[str, Any], said: str) -> None:
    region = Polygons(boxes((20.6, 48.6, 20.8, 48.8)))
    with pytest.raises(JobError) as caught:
        choose_lattices(config(**grid), gather([rest(0)]), None, region)
    assert said in str(caught.value)
    assert "write " in str(caught.value)
    auto = choose_lattices(config(crs="EPSG:32634", scale=10), gather([rest(0)]), None, region)
    assert auto.align == "crs"
    assert ("the pixels of angle lie on a sheared or rotated grid") in auto.notes[0][2]


def test_bands_without_dimensions_need_a_footprint() -> None:
    asset = rest(32)
    region = Polygons(boxes((0.0, 40.0, 20.0, 60.0)))  # the band's pixels are one degree: two more on each side
    layers = choose_lattices(config(crs="EPSG:4326", scale=1000), gather([asset]), None, region).layers
    wanted = region_runs(region, layers, Shape(32, 32))
    with pytest.raises(JobError) as caught:
        tile_runs(region, gather([asset]), layers, wanted, Shape(32, 32))
    assert "its bands have no dimensions" in str(caught.value)
    asset["geometry"] = {"type": "LinearRing", "coordinates": [[10, 50], [10.2, 50], [10.2, 50.2], [10, 50.2]]}
    found, spared = tile_runs(region, gather([asset]), layers, wanted, Shape(32, 32), Choice(prune=False))
    assert 0 < found[0][2].count < wanted[0].count
    assert not spared
