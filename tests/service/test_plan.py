"""Plans against an emulator's catalog: lattices, types, methods, notes, chunks, increments, refusals."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys

import numpy as np
import pytest
from emulator_client import asset, write_raster
from job_files import catalog, planned, scene
from places import REPO

import ee_emulator as emulator
from ee_spark.errors import JobError
from ee_spark.planner.difference import difference
from ee_spark.planner.frozen import Frozen
from ee_spark.planner.plot import picture
from ee_spark.planner.summary import figures, table

UTM10 = "EPSG:32610"
AREA = {"bbox": [-123.0, 37.4, -122.94, 37.46]}  # in zone 10, around 500000 + 0..5000, 4140000
X, Y = 500_010.0, 4_146_000.0


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Collections whose images differ in one way each."""
    folder = tmp_path_factory.mktemp("world")
    size = (200, 250)

    def series(name, transforms, crs=UTM10, dtypes=None, **more):
        found = []
        for index, transform in enumerate(transforms):
            kinds = dtypes[index] if isinstance(dtypes, list) else dtypes
            codes = crs[index] if isinstance(crs, list) else crs
            start = f"2020-0{index + 1}-15T00:00:00Z"
            found.append(
                scene(folder, f"{name}/I{index}", transform, codes, size=size, dtypes=kinds, start=start, **more)
            )
        return found

    landsat = [[30, 0, X + 15 + 30 * k, 0, -30, Y - 15 + 60 * k] for k in range(3)]
    assets = [
        *series("SAME", landsat, properties={"CLOUD": 10}),
        *series("OFFSETS", [landsat[0], [30, 0, X, 0, -30, Y], landsat[2]]),
        *series("ZONES", [landsat[0], [30, 0, X - 530_000, 0, -30, Y]], crs=[UTM10, "EPSG:32611"]),
        *series("TYPES", landsat, dtypes=[{"B1": "uint8"}, {"B1": "int16"}, {"B1": "uint8"}]),
        *series("MIXED", landsat[:2], dtypes=[{"B1": "uint16"}, {"B1": "float32"}]),
        *series(
            "BANDS", landsat, dtypes=[{"B1": "int16", "B2": "int16"}, {"B1": "int16"}, {"B2": "int16", "B1": "int16"}]
        ),
        *series("WIDE", landsat[:1], dtypes={f"B{k}": "int16" for k in range(4)}),
        *series("DOUBLE", landsat[:1], dtypes={"B1": "float64"}),
        *series("NONE", landsat[:2], dtypes=[{"B1": "int16"}, {"C1": "int16"}]),
        scene(folder, "UNDATED/A", landsat[0], UTM10, size=size, start=None),
        scene(folder, "UNDATED/B", landsat[0], UTM10, size=size),
        scene(folder, "FAR/A", [30, 0, X + 300_000, 0, -30, Y], UTM10, size=size),
    ]
    write_raster(folder / "ten.tif", np.ones((600, 600), "uint16"), [10, 0, X, 0, -10, Y], UTM10)
    write_raster(folder / "twenty.tif", np.ones((300, 300), "uint16"), [20, 0, X, 0, -20, Y], UTM10)
    assets.append(asset("RES/A", {"B2": "ten.tif", "B5": "twenty.tif"}, "2020-01-15T00:00:00Z"))
    (folder / "maps.py").write_text(
        "import ee\n\n"
        "def half(image):\n    return image.select(['B1']).divide(2).rename('half')\n\n"
        "def some(image):\n"
        "    early = ee.Date(image.get('system:time_start')).get('month').lt(3)\n"
        "    return ee.Image(ee.Algorithms.If(early, None, image.select(['B1'])))\n\n"
        "def composite(region, start, end, scale=1):\n"
        "    images = ee.ImageCollection('SAME').filterBounds(region).filterDate(start, end)\n"
        "    return images.select(['B1']).max().multiply(scale)\n\n"
        "def once(region):\n    return ee.Image('SAME/I0').select(['B1'])\n\n"
        "def number(region):\n    return 7\n\n"
        "def nothing(image):\n    return None\n\n"
        "def raises(image):\n    raise ValueError('no such\\nthing')\n\n"
        "def client_side(image):\n    return image if image.get('CLOUD').getInfo() else None\n\n"
        "def unknown(image):\n    return image.select(['nope'])\n"
    )
    catalog(folder, assets)
    with emulator.start(folder) as running:
        yield running.url, folder


def plan_of(world, changes, frozen=None, **grid):
    url, folder = world
    keys = {"region": AREA, "grid": {"crs": UTM10, "scale": 30, "tile": 32, **grid}}
    return planned(url, {**keys, **changes}, folder, frozen)


def refusal(world, changes, frozen=None, **grid) -> str:
    with pytest.raises(JobError) as caught:
        plan_of(world, changes, frozen, **grid)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


def note(plan, what: str) -> str:
    return "; ".join(f"{value} | {why}" for name, value, why in plan.notes if name == what)


def keys_of(plan) -> set[tuple[str, str, str]]:
    """Every planned (chunk, tile, image)."""
    found = set()
    for number in range(len(plan.pairs)):
        chunk = plan.pairs.chunk(number)
        tiles, tile, image = chunk.pairs(plan.frozen.shape, plan.points, snap=plan.config.grid.snap)
        found |= {
            (chunk.key, tiles.ids[t], plan.images.ids[i]) for t, i in zip(tile.tolist(), image.tolist(), strict=True)
        }
    return found


# Lattices


def test_images_that_share_an_offset_give_it_to_the_lattice(world):
    plan = plan_of(world, {"source": {"collection": "SAME"}})
    (lattice,) = plan.pairs.lattices
    assert (plan.frozen.align, lattice.x0, lattice.y0) == ("asset", (X + 15) % 30, (Y - 15) % 30)
    assert "nothing is resampled" in note(plan, "lattice")
    assert not note(plan, "resampling")


def test_images_that_disagree_are_named_by_group(world):
    plan = plan_of(world, {"source": {"collection": "OFFSETS"}})
    assert (plan.frozen.align, plan.pairs.lattices[0].x0) == ("crs", 0)
    assert "the images disagree: (15, 15) in 1 of 3 images" in note(plan, "lattice") or "in 2 of 3 images" in note(
        plan, "lattice"
    )
    assert "pixels off ours: each pixel takes the stored pixel at its centre" in note(plan, "resampling")
    said = refusal(world, {"source": {"collection": "OFFSETS"}}, align="asset")
    assert said.startswith("grid.align: asset needs one offset, and the images stored in EPSG:32610 at 30 have (")
    assert "write align: crs, another crs or scale, or crs: native" in said


def test_a_foreign_lattice_is_said_with_its_numbers(world):
    source = {"source": {"collection": "SAME"}}
    assert "4 × coarser than stored (30): each pixel takes" in note(plan_of(world, source, scale=120), "resampling")
    assert "pyramid level" in note(plan_of(world, source, scale=120), "resampling")
    assert "3 × finer than stored (30)" in note(plan_of(world, source, scale=10), "resampling")
    assert "stored pixels repeat about 3 × per side" in note(plan_of(world, source, scale=10), "resampling")
    assert "stored in EPSG:32610 at 30: " in note(plan_of(world, source, crs="EPSG:4326"), "resampling")
    aside = plan_of(world, source, align="crs")
    assert "0.5, 0.5 pixels off" in note(aside, "resampling").replace("-", "")
    assert "at half a pixel rounding decides which" in note(aside, "resampling")
    mean = plan_of(world, {**source, "pixels": {"resample": "mean"}}, scale=120)
    assert "the mean of the stored pixels under it" in note(mean, "resampling")


def test_native_has_a_lattice_per_crs_resolution_and_offset(world):
    native = {"crs": "native", "tile": 32, "scale": None}
    grid = {key: value for key, value in native.items() if value is not None}
    plan = plan_of(world, {"source": {"collection": "OFFSETS"}, "grid": grid})
    assert len(plan.pairs.lattices) == 2
    assert plan.frozen.lattice is None
    by_lattice = {int(p): set() for p in range(2)}
    for lattice, image in zip(plan.pairs.lattice.tolist(), plan.pairs.image.tolist(), strict=True):
        by_lattice[lattice].add(image)
    assert sorted(map(len, by_lattice.values())) == [1, 2]
    zones = plan_of(
        world, {"source": {"collection": "ZONES"}, "grid": grid, "region": {"bbox": [-123.0, 37.3, -116.9, 37.5]}}
    )
    assert {lattice.crs for lattice in zones.pairs.lattices} == {UTM10, "EPSG:32611"}
    said = refusal(world, {"source": {"collection": "RES"}, "grid": grid})
    assert (
        "grid.crs: native: the bands have several resolutions (10 in EPSG:32610, 20 in EPSG:32610); name one with"
        in said
    )
    like = plan_of(world, {"source": {"collection": "RES"}, "grid": {**grid, "like": "B5"}})
    assert like.pairs.lattices[0].res_x == 20
    assert "no band 'B9'; the bands are B2, B5" in refusal(
        world, {"source": {"collection": "RES"}, "grid": {**grid, "like": "B9"}}
    )
    one = plan_of(world, {"source": {"collection": "RES", "bands": ["B2"]}, "grid": grid})
    assert one.pairs.lattices[0].res_x == 10


def test_utm_has_a_lattice_for_each_zone(world):
    box = {"bbox": [-123.0, 37.4, -119.9, 37.43]}
    plan = plan_of(world, {"source": {"collection": "SAME"}, "region": box}, crs="utm")
    assert {lattice.crs for lattice in plan.pairs.lattices} == {UTM10, "EPSG:32611"}
    assert {lattice.x0 for lattice in plan.pairs.lattices} == {(X + 15) % 30}
    assert plan.frozen.lattice.crs == "utm"
    assert "EPSG:32610, EPSG:32611 | tiles overlap where zones meet, and leave no gap" in note(plan, "utm")
    assert plan.identity["grid.crs"] == "utm"
    again = plan_of(world, {"source": {"collection": "SAME"}}, plan.frozen, crs="utm")
    assert again.fingerprint == plan.fingerprint
    assert {lattice.crs for lattice in again.pairs.lattices} == {UTM10}


def test_a_transform_is_kept_as_it_is(world):
    grid = {"crs": UTM10, "transform": [30, 0, 500_007.5, 0, -30, 4_146_002.5], "tile": 32}
    plan = plan_of(world, {"source": {"collection": "SAME"}, "grid": grid})
    (lattice,) = plan.pairs.lattices
    assert (lattice.x0, lattice.y0, lattice.res_x) == (500_007.5, 4_146_002.5, 30)
    assert "pixels off ours" in note(plan, "resampling")


# Bands and types


def test_types_are_promoted_over_all_images(world):
    assert plan_of(world, {"source": {"collection": "TYPES"}}).frozen.bands[0].dtype == "int16"
    assert plan_of(world, {"source": {"collection": "MIXED"}}).frozen.bands[0].dtype == "float32"
    assert (
        plan_of(world, {"source": {"collection": "TYPES", "map": "maps.py:half"}})
        .frozen.bands[0]
        .dtype.startswith("float")
    )
    double = plan_of(world, {"source": {"collection": "DOUBLE"}})
    assert "B1 | nobody asked for it: pixels.dtype: {band: float32} halves the bytes" in note(double, "float64")
    cast = plan_of(world, {"source": {"collection": "DOUBLE"}, "pixels.dtype": {"B1": "float32"}})
    assert cast.frozen.bands[0].dtype == "float32"
    assert not note(cast, "float64")


def test_bands_are_those_that_every_image_has_and_may_be_renamed(world):
    assert [band.name for band in plan_of(world, {"source": {"collection": "BANDS"}}).frozen.bands] == ["B1"]
    renamed = plan_of(world, {"source": {"collection": "BANDS", "bands": {"nir": "B1"}}})
    assert [(band.name, band.old) for band in renamed.frozen.bands] == [("nir", "B1")]
    assert renamed.recipe.bands == ("nir", "valid")
    stored = plan_of(world, {"source": {"collection": "BANDS", "bands": {"nir": "B1"}}, "pixels.mask": "none"})
    assert (stored.frozen.method, stored.recipe.bands) == ("getPixels", ("B1",))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"source": {"collection": "NOWHERE"}},
            "source.collection: asset 'NOWHERE' does not exist, or the caller may not read it",
        ),
        ({"source": {"asset": "NOWHERE/A"}}, "source.asset: asset 'NOWHERE/A' does not exist"),
        (
            {"source": {"asset": "SAME"}},
            "source.asset: 'SAME' is of type IMAGE_COLLECTION, not IMAGE; write source.collection",
        ),
        ({"source": {"collection": "SAME/I0"}}, "'SAME/I0' is of type IMAGE, not IMAGE_COLLECTION; write source.asset"),
        ({"source": {"collection": "SAME", "filter": "CLOUD <"}}, "source.collection: 'SAME': Invalid filter"),
        ({"source": {"collection": "SAME", "bands": ["B9"]}}, "source.bands: there is no band 'B9'; the bands are B1"),
        ({"source": {"collection": "BANDS", "bands": ["B2"]}}, "source.bands: 1 of 3 images lack 'B2', e.g. BANDS/I1"),
        ({"source": {"collection": "NONE"}}, "source: the images have no band in common; choose some with filter"),
        (
            {"source": {"collection": "SAME"}, "pixels.dtype": {"B9": "int8"}},
            "pixels.dtype: there is no band 'B9'; the bands are B1",
        ),
        (
            {"source": {"collection": "SAME", "bands": {"crs": "B1"}}},
            "source.bands: a column 'crs' is one of the tables' own; rename it with source.bands: {a_name: B1}",
        ),
        (
            {"source": {"collection": "SAME"}, "grid.tile": 6000, "pixels.mask": "bands"},
            "grid.tile: 6000 × 6000 pixels of 5",
        ),
        ({"source": {"collection": "SAME"}, "grid.tile": 32768, "grid.margin": 1}, "grid.tile: 32770 × 32770 pixels"),
        (
            {"source": {"collection": "TYPES"}, "pixels": {"mask": "fill", "fill": -99999}},
            "pixels.fill: 'B1' is int16, which cannot hold -99999; write a value from -32768 to 32767, or pixels.dtype",
        ),
        (
            {"source": {"collection": "SAME"}, "pixels": {"mask": "fill", "fill": 0.5}},
            "pixels.fill: 'B1' is int16, which cannot hold 0.5",
        ),
        (
            {"source": {"collection": "SAME"}, "pixels": {"mask": "fill", "fill": 1e300}},
            "cannot hold 1e+300; write a value from -32768 to 32767, or pixels.dtype: {B1: float64}",
        ),
        (
            {"source": {"collection": "SAME"}, "pixels": {"mask": "fill", "fill": 0.1, "dtype": {"B1": "float32"}}},
            "pixels.fill: 'B1' is float32, which holds 0.1 as 0.10000000149011612; write a number that",
        ),
        (
            {
                "source": {"collection": "SAME"},
                "pixels": {"mask": "fill", "fill": 2**24 + 1, "dtype": {"B1": "float32"}},
            },
            "pixels.fill: 'B1' is float32, which holds 16777217 as 16777216.0",
        ),
        (
            {"source": {"collection": "SAME"}, "pixels": {"mask": "fill", "fill": {"B2": 0}}},
            "pixels.fill: has no value for 'B1'; the bands are B1",
        ),
        (
            {"source": {"collection": "SAME"}, "pixels": {"mask": "fill", "fill": {"B1": 0, "B2": 0}}},
            "pixels.fill: names 'B2'; the bands are B1",
        ),
        (
            {
                "source": {"asset": "BANDS/I0"},
                "pixels": {"format": "GEO_TIFF", "mask": "none", "dtype": {"B2": "float32"}},
            },
            "pixels.format: a GEO_TIFF has bands of one type, and these have 2 (B1 int16, B2 float32); cast them with",
        ),
        ({"source": {"image": "maps.py:none"}}, "maps.py' has no function 'none', only half, some, composite"),
        ({"source": {"image": "none.py:f"}}, "source.image: cannot read"),
        (
            {"source": {"image": "no.such.module:f"}},
            "source.image: cannot import 'no.such.module': ModuleNotFoundError",
        ),
        ({"source": {"image": "maps"}}, "source.image: 'maps' does not name a function; write FILE.py:FUNCTION"),
        ({"source": {"image": "maps.py:number"}}, "maps.py:number returned int; return an ee.Image"),
        (
            {"source": {"collection": "SAME", "map": "maps.py:nothing"}},
            "maps.py:nothing returned NoneType; return an ee.Image",
        ),
        (
            {"source": {"collection": "SAME", "map": "maps.py:raises"}},
            "maps.py:raises failed: ValueError: no such thing (maps.py",
        ),
        ({"source": {"image": "maps.py:once", "args": {"speed": 3}}}, "maps.py:once failed: TypeError"),
        ({"source": {"collection": "SAME", "map": "maps.py:unknown"}}, "source.collection: 'SAME': Image.select"),
        ({"source": {"collection": "SAME", "map": "gs://bucket/maps.py:half"}}, "run with --allow-remote-code"),
        (
            {"source": {"image": "maps.py:composite", "every": "1 month", "start": "2020-01-31", "end": "2020-06-30"}},
            "source.start: 2020-01-31 is not in every month; with every: 1 month begin on day 1 to 28",
        ),
        (
            {"source": {"image": "maps.py:composite", "every": "1 year", "start": "2020-01-01", "end": "2020-06-30"}},
            "source.every: no whole period of 1 year lies between 2020-01-01 and 2020-06-30",
        ),
        ({"source": {"collection": "SAME"}, "grid.crs": "EPSG:nothing"}, "grid.crs: 'EPSG:nothing' is not a CRS"),
        ({"source": {"collection": "SAME"}, "grid.crs": "EPSG:1"}, "grid.crs: 'EPSG:1' is not a CRS"),
    ],
)
def test_a_wrong_job_is_found_before_any_tile_is_requested(world, changes, said):
    url, folder = world
    keys = {"region": AREA, "grid": {"crs": UTM10, "scale": 30, "tile": 32}}
    whole = {**keys, **{k: v for k, v in changes.items() if "." not in k}}
    dotted = {k: v for k, v in changes.items() if "." in k}
    with pytest.raises(JobError) as caught:
        planned(url, {**whole, **dotted}, folder)
    assert caught.value.exit_code == 2
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_expression_file(world):
    _, folder = world
    import ee

    plan_of(world, {"source": {"image": "maps.py:once"}})  # initialises the client
    (folder / "e.json").write_text(ee.Image("SAME/I0").select(["B1"]).add(1).serialize())
    plan = plan_of(world, {"source": {"expression": "e.json"}})
    assert [band.name for band in plan.frozen.bands] == ["B1"]
    assert plan.images.ids == ("",)
    (folder / "bad.json").write_text('{"result": 3}')
    assert "bad.json' is not what ee.Image.serialize() writes" in refusal(world, {"source": {"expression": "bad.json"}})


def test_where_the_first_images_are_dropped_the_next_is_probed(world):
    plan = plan_of(world, {"source": {"collection": "SAME", "map": "maps.py:some"}})
    assert [band.name for band in plan.frozen.bands] == ["B1"]
    assert len(plan.images) == 3


def test_periods_are_images_of_their_own(world):
    source = {
        "image": "maps.py:composite",
        "every": "1 month",
        "start": "2020-01-01",
        "end": "2020-04-01",
        "args": {"scale": 2},
    }
    plan = plan_of(world, {"source": source})
    assert plan.images.ids == ("2020-01-01/2020-02-01", "2020-02-01/2020-03-01", "2020-03-01/2020-04-01")
    assert len(plan.graphs) == 3
    later = plan_of(world, {"source": {**source, "end": "2020-05-20"}}, plan.frozen)
    assert later.fingerprint == plan.fingerprint
    assert keys_of(plan) < keys_of(later)
    assert later.images.ids[3:] == ("2020-04-01/2020-05-01",)
    assert plan_of(world, {"source": {**source, "args": {"scale": 3}}}).fingerprint != plan.fingerprint


def test_a_difference_names_three_keys_and_how_many_more():
    mine = {f"key{k}": "x" * 500 if k else 10**5000 for k in range(9)}
    said = difference(mine, {**dict.fromkeys(mine), "key8": mine["key8"]})
    assert said.startswith("key0: a number of about 5,001 digits here, None there; key1: 'xxx")
    assert said.endswith(" here, None there; and 5 more")
    assert len(said) < 250
    assert difference({"grid.crs": "A", "b": 1}, {"grid.crs": "B", "b": 1}) == "grid.crs: 'A' here, 'B' there"


# Images


def test_dates_months_and_filters_choose_images_by_their_start(world):
    def ids(**source):
        return plan_of(world, {"source": {"collection": "SAME", **source}}).images.ids

    assert ids() == ("SAME/I0", "SAME/I1", "SAME/I2")
    assert ids(start="2020-01-15", end="2020-02-15") == ("SAME/I0",)
    assert ids(start="2020-01-15T00:00:01Z") == ("SAME/I1", "SAME/I2")
    assert ids(months=[1, 3]) == ("SAME/I0", "SAME/I2")
    assert ids(filter="properties.CLOUD < 5") == ()
    assert ids(filter="properties.CLOUD < 20", start="2020-02-01") == ("SAME/I1", "SAME/I2")


def test_images_without_a_time_are_left_out_when_dates_are_given(world):
    undated = plan_of(world, {"source": {"collection": "UNDATED"}})
    assert set(undated.images.ids) == {"UNDATED/A", "UNDATED/B"}
    months = plan_of(world, {"source": {"collection": "UNDATED", "months": [1]}})
    assert (months.images.ids, months.images.without_time) == (("UNDATED/B",), 1)
    assert "1 without a time left out" in table(months)


def test_no_image_is_a_plan_of_nothing(world):
    plan = plan_of(world, {"source": {"collection": "SAME", "start": "1999-01-01", "end": "1999-02-01"}})
    assert (plan.pairs.count, len(plan.images)) == (0, 0)
    assert not plan.decides  # of bands and types it knows nothing
    far = plan_of(world, {"source": {"collection": "FAR"}})
    assert (far.pairs.count, len(far.images)) == (0, 0)
    first = plan_of(world, {"source": {"collection": "SAME"}})
    later = plan_of(world, {"source": {"collection": "SAME", "start": "1999-01-01", "end": "1999-02-01"}}, first.frozen)
    assert first.decides
    assert later.decides
    assert later.fingerprint == first.fingerprint
    assert json.loads(json.dumps(figures(plan)))["pairs"] == 0
    assert "0" in table(plan)


def test_a_listing_of_several_pages_is_whole(world, tmp_path):
    one = scene(tmp_path, "MANY/X", [30, 0, X, 0, -30, Y], UTM10, size=(200, 250))
    many = [{**one, "id": f"MANY/I{k:04}", "properties": {"k": k, "text": "same for all"}} for k in range(2300)]
    catalog(tmp_path, many)
    with emulator.start(tmp_path) as service:
        plan = planned(
            service.url,
            {"source": {"collection": "MANY"}, "region": AREA, "grid": {"crs": UTM10, "scale": 30, "tile": 256}},
        )
    assert len(plan.images) == 2300
    assert set(plan.images.footprints.number.tolist()) == {0}
    assert json.loads(plan.images.properties[1234])["k"] == 1234
    assert [json.loads(text)["k"] for text in plan.images.properties[:3]] == [0, 1, 2]


# Methods


@pytest.mark.parametrize(
    ("changes", "method", "why"),
    [
        ({"pixels": {"mask": "none"}}, "getPixels", "stored pixels, nothing to compute"),
        ({"pixels": {"mask": "none", "images_per_request": 1}}, "getPixels", "stored pixels"),
        ({}, "computePixels", "mask: band needs the images' masks"),
        ({"source.map": "maps.py:half"}, "computePixels", "map computes, mask: band needs"),
        ({"pixels": {"mask": "none", "resample": "bilinear"}}, "computePixels", "resample: bilinear needs computing"),
        ({"pixels": {"mask": "none", "dtype": {"B1": "float32"}}}, "computePixels", "dtype needs casting"),
        ({"pixels": {"mask": "none", "images_per_request": 4}}, "computePixels", "images_per_request packs"),
        ({"pixels": {"mask": "none"}, "region": {**AREA, "clip": True}}, "computePixels", "clip masks"),
        ({"pixels": {"mask": "none"}, "source.method": "computePixels"}, "computePixels", "asked for"),
    ],
)
def test_the_method_and_why(world, changes, method, why):
    plan = plan_of(world, {"source": {"collection": "SAME"}, **changes})
    assert plan.frozen.method == method
    assert why in note(plan, "method")


# Increments and what is frozen


def frozen_of(plan) -> Frozen:
    return Frozen.from_json(json.loads(json.dumps(plan.frozen.to_json())))


def test_what_is_frozen_survives_json(world):
    for grid in ({}, {"crs": "utm"}):
        plan = plan_of(world, {"source": {"collection": "SAME"}}, **grid)
        assert frozen_of(plan) == plan.frozen


def test_later_dates_larger_regions_and_more_points_only_add(world, tmp_path):
    first = plan_of(world, {"source": {"collection": "SAME", "end": "2020-03-01"}})
    later = plan_of(world, {"source": {"collection": "SAME"}}, frozen_of(first))
    assert first.fingerprint == later.fingerprint
    assert keys_of(first) < keys_of(later)
    larger = plan_of(
        world,
        {"source": {"collection": "SAME", "end": "2020-03-01"}, "region": {"bbox": [-123.0, 37.38, -122.93, 37.46]}},
        frozen_of(first),
    )
    assert first.fingerprint == larger.fingerprint
    assert keys_of(first) < keys_of(larger)
    rng = np.random.default_rng(8)
    places = rng.uniform((-122.995, 37.41), (-122.945, 37.45), (30, 2))
    plans = []
    for count in (10, 30):
        rows = "\n".join(f"{x!r},{y!r}" for x, y in rng.permutation(places[:count]).tolist())
        (world[1] / f"p{count}.csv").write_text(f"lon,lat\n{rows}\n")
        frozen = frozen_of(plans[0]) if plans else None
        plans.append(
            plan_of(
                world, {"source": {"collection": "SAME"}, "region": {"points": f"p{count}.csv"}, "grid.tile": 8}, frozen
            )
        )
    assert plans[0].fingerprint == plans[1].fingerprint
    assert keys_of(plans[0]) < keys_of(plans[1])
    assert plans[0].pairs.count == 30


def test_operational_settings_change_no_chunk_nor_fingerprint(world):
    first = plan_of(world, {"source": {"collection": "SAME"}})
    other = plan_of(
        world,
        {
            "source": {"collection": "SAME"},
            "output": {"path": "/elsewhere", "part_size": "1MB"},
            "retry": {"attempts": 1},
            "name": "other",
        },
    )
    assert keys_of(first) == keys_of(other)
    assert first.fingerprint == other.fingerprint


@pytest.mark.parametrize(
    "changes",
    [
        {"grid.tile": 16}, {"grid.margin": 1}, {"grid.scale": 60}, {"grid.align": "crs"}, {"pixels.mask": "bands"},
        {"pixels": {"mask": "fill", "fill": 0}}, {"pixels.format": "GEO_TIFF"}, {"pixels.resample": "bilinear"},
        {"pixels.dtype": {"B1": "float32"}}, {"source.map": "maps.py:half"}, {"source.bands": {"b": "B1"}},
        {"source.collection": "OFFSETS"}, {"region.clip": True}, {"grid.crs": "utm"},
    ],
)  # fmt: skip
def test_what_changes_pixels_changes_the_fingerprint(world, changes):
    base = {"source": {"collection": "SAME"}, "region": dict(AREA)}
    url, folder = world
    grid = {"grid": {"crs": UTM10, "scale": 30, "tile": 32}}
    first = planned(url, {**base, **grid}, folder)
    other = planned(
        url, {"source": {"collection": "SAME"}, "region": dict(AREA), "grid": dict(grid["grid"]), **changes}, folder
    )
    assert first.fingerprint != other.fingerprint


def test_the_frozen_lattice_and_types_hold_for_later_images(world):
    first = plan_of(world, {"source": {"collection": "OFFSETS", "end": "2020-02-01"}})
    assert first.frozen.align == "asset"
    later = plan_of(world, {"source": {"collection": "OFFSETS"}}, frozen_of(first))
    assert later.fingerprint == first.fingerprint
    assert later.pairs.lattices == first.pairs.lattices
    assert "as the dataset's first plan decided" in note(later, "lattice")
    assert "pixels off ours" in note(later, "resampling")
    narrow = plan_of(world, {"source": {"collection": "TYPES", "months": [2]}})
    assert plan_of(world, {"source": {"collection": "TYPES"}}, frozen_of(narrow)).frozen.bands[0].dtype == "int16"


def test_later_images_without_a_band_or_wider_are_refused(world):
    first = plan_of(world, {"source": {"collection": "TYPES", "end": "2020-02-01"}})
    said = refusal(world, {"source": {"collection": "TYPES"}}, frozen_of(first))
    assert (
        "source.bands: images now have 'B1' as int16, and its column is uint8; leave them out with source.filter"
        in said
    )
    both = plan_of(world, {"source": {"collection": "BANDS", "end": "2020-02-01"}})
    said = refusal(world, {"source": {"collection": "BANDS"}}, frozen_of(both))
    assert "source.bands: 1 of 3 images lack 'B2', e.g. BANDS/I1; leave them out with source.filter, or write" in said
    mapped = plan_of(
        world,
        {"source": {"collection": "MIXED", "end": "2020-02-01", "map": "maps.py:some"}}
        | {"source": {"collection": "TYPES", "end": "2020-02-01", "map": "maps.py:half"}},
    )
    assert (
        plan_of(world, {"source": {"collection": "TYPES", "map": "maps.py:half"}}, frozen_of(mapped)).fingerprint
        == mapped.fingerprint
    )


# What people read


def test_the_table_and_the_figures_agree(world):
    plan = plan_of(world, {"source": {"collection": "SAME"}})
    data, text = json.loads(json.dumps(figures(plan))), table(plan)
    assert data["pairs"] + data["pairs_not_touched"] == data["images"] * data["tiles"]
    assert data["images_per_request"] == 3
    assert data["request_bytes"] == 3 * 32 * 32 * (2 + 1 + 1 + 1)
    assert data["raw_bytes"] == data["pairs"] * 32 * 32 * 3
    assert data["hours_at_quota"] == pytest.approx(data["requests"] / 6000 / 60)
    for piece in (
        "images",
        "3",
        "2020-01-15 to 2020-03-15",
        f"{data['pairs']:,}",
        "computePixels",
        "B1 int16",
        "asset",
    ):
        assert piece in text
    assert max(map(len, text.splitlines())) < 250


def test_requests_are_those_of_packs(world):
    for images in (1, 2, "auto"):
        plan = plan_of(world, {"source": {"collection": "OFFSETS"}, "pixels.images_per_request": images})
        by_tile: dict[tuple[str, str], int] = {}
        for chunk, tile, _ in keys_of(plan):
            by_tile[chunk, tile] = by_tile.get((chunk, tile), 0) + 1
        size = {1: 1, 2: 2, "auto": 1000}[images]
        exact = sum(-(-count // size) for count in by_tile.values())
        assert exact <= plan.requests <= plan.pairs.count
        if images == 1:
            assert plan.requests == plan.pairs.count
    same = plan_of(
        world, {"source": {"collection": "SAME", "bands": ["B1"]}, "region": {"bbox": [-122.99, 37.42, -122.97, 37.44]}}
    )
    assert same.requests == same.tiles


def test_a_plan_is_drawn(world):
    import io

    from PIL import Image

    for changes in ({}, {"region": {"sample": {"count": 5, "within": AREA}}}, {"grid.tile": 2}):
        plan = plan_of(
            world,
            {"source": {"collection": "SAME"}, **{k: v for k, v in changes.items() if "." not in k}},
            tile=changes.get("grid.tile", 32),
        )
        drawn = np.asarray(Image.open(io.BytesIO(picture(plan))).convert("RGB"))
        assert drawn.shape[:2] == (800, 900)
        assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 20


def test_a_tile_size_is_proposed_that_a_request_can_hold(world):
    grid = {"crs": UTM10, "scale": 30}
    plan = plan_of(world, {"source": {"collection": "SAME"}, "grid": grid})
    assert plan.frozen.shape.stored == (256, 256)
    assert "256 pixels | proposed: grid.tile is not given" in note(plan, "tile")


def test_pixels_that_are_left_out_at_none_are_warned_of(world):
    plan = plan_of(world, {"source": {"collection": "SAME"}, "pixels": {"mask": "none"}})
    assert "masked pixels are zeros like any other; valid_count and statistics are null" in note(plan, "mask")


def test_nothing_is_logged_by_the_plan_of_a_plain_job(world, caplog):
    with caplog.at_level(logging.WARNING):
        plan_of(world, {"source": {"collection": "SAME"}})
    assert not caplog.records


def test_each_kind_of_mapped_image_is_probed(world):
    _, folder = world
    (folder / "own.py").write_text(
        "def own(image):\n    return image.addBands(image.select(['B1']).add(1).rename('more'))\n"
    )
    source = {"collection": "BANDS", "map": "own.py:own"}
    assert [band.name for band in plan_of(world, {"source": source}).frozen.bands] == ["B1", "more"]
    said = refusal(world, {"source": {**source, "bands": ["B2"]}})
    assert said.startswith("source.bands: 1 of 3 images lack 'B2', e.g. BANDS/I1; leave them out with source.filter")


def test_plan_is_a_plain_function_of_the_package(tmp_path):
    """Whatever was imported before: the contract's ``ee_spark.plan(config)``."""
    program = (
        "import ee_spark.planner.plan, types; one = ee_spark.plan; assert type(one) is types.FunctionType; "
        "from ee_spark.planner.plan import make; assert ee_spark.plan is one; "
        f"print(one({str(REPO / 'conf/quickstart.yaml')!r}).pairs.count)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=180,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPO)},
    )
    assert (done.stdout, done.returncode) == ("2625\n", 0), done.stderr
