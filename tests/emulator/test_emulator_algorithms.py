"""Algorithms by hand-computed cases and by the rules of their documentation, through the official client."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import ee
import numpy as np
import pytest
from emulator_client import PROJECT, array, asset, compute, connect, get, grid, post, write_catalog, write_raster
from numpy.typing import NDArray

import ee_emulator as emulator
from ee_emulator import Emulator

UTM = "EPSG:32633"
TRANSFORM = [10, 0, 500000, 0, -10, 5000000]
GRID = grid(UTM, TRANSFORM, 3, 2)
A = np.array([[0, 1, 200], [255, 7, 9]], np.uint8)
B = np.array([[10, 0, 100], [2, -5, -9999]], np.int16)
C = np.array([[0.5, -1.5, 2.25], [1e6, 0.0, -0.25]], np.float32)
DAY = 86_400_000


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    folder = tmp_path_factory.mktemp("algorithms")
    write_raster(folder / "a.tif", A, TRANSFORM, UTM)
    write_raster(folder / "b.tif", B, TRANSFORM, UTM, nodata=-9999)
    write_raster(folder / "c.tif", C, TRANSFORM, UTM)
    entries = [
        asset("T/ABC/one", {"a": "a.tif", "b": "b.tif", "c": "c.tif"}, "2020-01-15", properties={"k": 1, "s": "x"})
    ]
    for i in range(4):
        values = np.array([[i, 10 - i, 0 if i == 2 else 5], [2**i, 255 if i else 1, 255]], np.uint8)
        write_raster(folder / f"s{i}.tif", values, TRANSFORM, UTM, nodata=255)
        more = {"properties": {"rank": 3 - i, **({"odd": True} if i % 2 else {})}}
        entries.append(asset(f"T/S/i{i}", {"v": f"s{i}.tif"}, f"2021-0{i + 1}-01", **more))
    with emulator.start(write_catalog(folder, entries)) as running:
        connect(running.url)
        yield running


@pytest.fixture
def abc(service: Emulator) -> ee.Image:
    return ee.Image("T/ABC/one")


@pytest.fixture
def stack(service: Emulator) -> ee.ImageCollection:
    return ee.ImageCollection("T/S")


S = np.array([[[i, 10 - i, 0 if i == 2 else 5], [2**i, 255 if i else 1, 255]] for i in range(4)], np.uint8)
VALID = S != 255
M = B != -9999


def check(image: ee.Image, values: NDArray[Any], dtype: str, valid: NDArray[Any] | None = None) -> None:
    """One band's values, its dtype on the wire, and its mask."""
    image = ee.Image(image).rename("value")
    found = compute(image.addBands(image.mask().rename("mask")), GRID)
    assert found.dtype["value"] == np.dtype(dtype)
    valid = np.ones(values.shape, bool) if valid is None else valid
    np.testing.assert_array_equal(found["mask"] > 0, valid)
    np.testing.assert_allclose(found["value"], np.where(valid, values, 0), rtol=1e-6)


CASES: dict[str, tuple[Any, ...]] = {
    # operation: (expression, values, dtype, mask)
    "add": (lambda i: i.select("a").add(i.select("b")), A.astype(int) + B, "i4", M),
    "add widens": (lambda i: i.select("a").add(i.select("a")), A.astype(int) * 2, "u2", None),
    "subtract": (lambda i: i.select("a").subtract(250), A.astype(int) - 250, "i2", None),
    "multiply": (lambda i: i.select("a").multiply(i.select("b")), A.astype(int) * B, "i4", M),
    "multiply by a fraction": (lambda i: i.select("b").multiply(0.1), B * 0.1, "f8", M),
    "divide": (
        lambda i: i.select("a").divide(i.select("b")),
        np.array([[0, 0, 2], [127.5, -1.4, 0]]),
        "f4",
        M,
    ),
    "mod": (lambda i: i.select("a").mod(7), A % 7, "u1", None),
    "pow": (lambda i: i.select("a").pow(2), A.astype(float) ** 2, "f4", None),
    "max": (lambda i: i.select("a").max(i.select("b")), np.maximum(A, B), "i2", M),
    "min": (lambda i: i.select("c").min(1), np.minimum(C, 1), "f4", None),
    "lt": (lambda i: i.select("a").lt(9), A < 9, "u1", None),
    "gte": (lambda i: i.select("b").gte(2), B >= 2, "u1", M),
    "eq": (lambda i: i.select("c").eq(2.25), C == 2.25, "u1", None),
    "and": (lambda i: i.select("a").And(i.select("b")), (A != 0) & (B != 0), "u1", M),
    "or": (lambda i: i.select("a").Or(i.select("b")), (A != 0) | (B != 0), "u1", M),
    "not": (lambda i: i.select("a").Not(), A == 0, "u1", None),
    "bitwiseAnd": (lambda i: i.select("a").bitwiseAnd(6), A & 6, "u1", None),
    "bitwiseOr": (lambda i: i.select("a").bitwiseOr(256), A.astype(int) | 256, "u2", None),
    "rightShift": (lambda i: i.select("a").rightShift(2), A >> 2, "u1", None),
    "leftShift": (lambda i: i.select("a").leftShift(4), A.astype(int) << 4, "u4", None),
    "abs": (lambda i: i.select("b").abs(), np.abs(B), "u2", M),
    "sqrt": (lambda i: i.select("a").sqrt(), np.sqrt(A.astype(float)), "f8", None),
    "clamp": (lambda i: i.select("a").clamp(5, 100), np.clip(A, 5, 100), "u1", None),
    "unitScale": (lambda i: i.select("a").unitScale(0, 255), A / 255, "f8", None),
    "toInt8 clamps": (lambda i: i.select("a").toInt8(), np.minimum(A, 127), "i1", None),
    "toUint8 of negatives": (lambda i: i.select("b").toUint8(), np.clip(B, 0, 255), "u1", M),
    "toInt16 truncates": (lambda i: i.select("c").toInt16(), np.clip(np.trunc(C), -32768, 32767), "i2", None),
    "toInt64 travels as double": (lambda i: i.select("a").toInt64(), A, "f8", None),
    "toFloat": (lambda i: i.select("b").toFloat(), B, "f4", M),
    "toDouble": (lambda i: i.select("a").toDouble(), A, "f8", None),
    "byte": (lambda i: i.select("c").byte(), np.clip(np.trunc(C), 0, 255), "u1", None),
    "where": (lambda i: i.select("a").where(i.select("b").lt(5), -1), [[0, -1, 200], [-1, -1, 9]], "i2", None),
    "unmask": (lambda i: i.select("b").unmask(70000), np.where(M, B.astype(int), 70000), "i4", None),
    "updateMask": (lambda i: i.select("a").updateMask(i.select("c").gt(0)), A, "u1", C > 0),
    "updateMask masked": (lambda i: i.select("a").updateMask(i.select("b")), A, "u1", (B > 0) & M),
    "selfMask": (lambda i: i.select("a").selfMask(), A, "u1", A > 0),
    "mask of one": (lambda i: i.select("a").mask(i.select("c").gt(0)), A, "u1", C > 0),
    "select by index": (lambda i: i.select(1), B, "i2", M),
    "select by pattern": (lambda i: i.select("[cd]"), C, "f4", None),
    "constant": (lambda i: ee.Image(300), np.full((2, 3), 300), "u2", None),
    "constant fraction": (lambda i: ee.Image(0.5), np.full((2, 3), 0.5), "f8", None),
    "reduce max": (
        lambda i: i.select(["a", "b"]).reduce(ee.Reducer.max()),
        np.where(M, np.maximum(A, B), A),
        "i2",
        None,
    ),
    "reduce min": (
        lambda i: i.select(["a", "b"]).reduce(ee.Reducer.min()),
        np.where(M, np.minimum(A, B), A),
        "i2",
        None,
    ),
    "reduce sum": (lambda i: i.reduce(ee.Reducer.sum()), A + np.where(M, B, 0) + C.astype(float), "f8", None),
    "reduce count": (lambda i: i.reduce(ee.Reducer.count()), 2 + M, "u4", None),
    "reduce first": (lambda i: i.select(["b", "a"]).reduce(ee.Reducer.first()), np.where(M, B, A), "i2", None),
    "reduce any": (lambda i: i.select(["a", "b"]).reduce(ee.Reducer.anyNonZero()), [[1, 1, 1]] * 2, "u1", None),
    "reduce all": (lambda i: i.select(["a", "b"]).reduce(ee.Reducer.allNonZero()), [[0, 0, 1], [1, 1, 1]], "u1", None),
}


@pytest.mark.parametrize("name", CASES)
def test_image_operations(abc: ee.Image, name: str) -> None:
    expression, values, dtype, valid = CASES[name]
    check(expression(abc), np.asarray(values, float), dtype, valid)


def test_normalized_difference_masks_negative_values(abc: ee.Image) -> None:
    image = abc.normalizedDifference(["a", "b"])
    total = np.where(A + B == 0, 1, A.astype(float) + B)
    check(image, (A.astype(float) - B) / total, "f4", M & (B >= 0))
    info = image.getInfo()
    assert [band["id"] for band in info["bands"]] == ["nd"]
    assert info["bands"][0]["crs_transform"] == TRANSFORM
    assert "k" not in info.get("properties", {})


def test_bands_pair_by_position_and_names_come_from_the_longer(abc: ee.Image) -> None:
    assert abc.add(abc.select("a")).bandNames().getInfo() == ["a", "b", "c"]
    assert abc.select("c").add(abc).bandNames().getInfo() == ["a", "b", "c"]
    assert abc.select(["a", "b"]).add(abc.select(["b", "c"])).bandNames().getInfo() == ["a", "b"]
    with pytest.raises(ee.EEException, match="image1: 3 bands, image2: 2 bands"):
        abc.add(abc.select(["a", "b"])).getInfo()


def test_select_rename_addbands_names(abc: ee.Image) -> None:
    assert abc.select(["c", "a"], ["x", "y"]).bandNames().getInfo() == ["x", "y"]
    assert abc.addBands(abc.select("a")).bandNames().getInfo() == ["a", "b", "c", "a_1"]
    assert abc.addBands(abc.select("b").add(1), None, True).bandNames().getInfo() == ["a", "b", "c"]
    assert abc.slice(1).bandNames().getInfo() == ["b", "c"]
    with pytest.raises(
        ee.EEException, match=r"Band pattern 'B99' did not match any bands. Available bands: \[a, b, c\]"
    ):
        abc.select("B99").getInfo()
    with pytest.raises(ee.EEException, match="must match the number of bands"):
        abc.rename(["x"]).getInfo()


def test_clip_keeps_the_pixels_whose_centre_is_inside(abc: ee.Image) -> None:
    lower = ee.Geometry.Polygon([[[500000, 4999980], [500020, 4999980], [500020, 4999990], [500000, 4999990]]], UTM)
    inside = np.array([[False, False, False], [True, True, False]])
    check(abc.select("a").clip(lower), A, "u1", inside)
    check(abc.select("a").clip(lower).unmask(3, False), np.where(inside, A, 3), "u1")
    check(abc.select("a").clip(lower).unmask(3), np.where(inside, A, 3), "u1", inside)


# Collections

REDUCED: dict[str, tuple[Any, ...]] = {
    "median": (np.ma.median(np.ma.masked_array(S, ~VALID), axis=0).filled(0), "f8"),  # type: ignore[no-untyped-call, unused-ignore]
    "mean": (np.ma.masked_array(S, ~VALID).mean(axis=0).filled(0), "f8"),
    "min": (np.where(VALID, S, 255).min(axis=0), "u1"),
    "max": (np.where(VALID, S, 0).max(axis=0), "u1"),
    "sum": (np.where(VALID, S, 0).sum(axis=0), "f8"),
}


@pytest.mark.parametrize("name", REDUCED)
def test_reductions_over_a_collection(stack: ee.ImageCollection, name: str) -> None:
    values, dtype = REDUCED[name]
    check(getattr(stack, name)(), values, dtype, VALID.any(axis=0))
    reduced = stack.reduce(getattr(ee.Reducer, name)())
    assert reduced.bandNames().getInfo() == [f"v_{name}"]
    assert getattr(stack, name)().bandNames().getInfo() == ["v"]
    assert reduced.projection().getInfo()["crs"] == "EPSG:4326"


def test_count_is_zero_where_nothing_is_valid(stack: ee.ImageCollection) -> None:
    check(stack.count(), VALID.sum(axis=0), "u4", np.ones((2, 3), bool))
    beside = grid(UTM, [10, 0, 500030, 0, -10, 5000000], 1, 1)
    assert compute(stack.count().mask(), beside)["v"][0, 0] == 0


def test_mosaic_takes_the_last_valid_image(stack: ee.ImageCollection) -> None:
    last = np.zeros((2, 3), np.uint8)
    for values, valid in zip(S, VALID, strict=True):
        last = np.where(valid, values, last)
    check(stack.mosaic(), last, "u1", VALID.any(axis=0))


def test_first_list_bands_and_images_of_collections(stack: ee.ImageCollection) -> None:
    check(stack.first(), S[0], "u1", VALID[0])
    check(ee.Image(stack.toList(2, 1).get(1)), S[2], "u1", VALID[2])
    assert stack.toBands().bandNames().getInfo() == ["i0_v", "i1_v", "i2_v", "i3_v"]
    made = ee.ImageCollection.fromImages([ee.Image(1), ee.Image(2)])
    assert made.aggregate_array("system:index").getInfo() == ["0", "1"]
    check(made.sum(), np.full((2, 3), 3), "f8")
    assert ee.ImageCollection([]).size().getInfo() == 0
    assert ee.ImageCollection([]).first().getInfo() is None


def test_sort_limit_merge_and_filters(stack: ee.ImageCollection) -> None:
    def indices(collection: ee.ImageCollection) -> list[str]:
        found: list[str] = ee.ImageCollection(collection).aggregate_array("system:index").getInfo()
        return found

    assert indices(stack.sort("rank")) == ["i3", "i2", "i1", "i0"]
    assert indices(stack.limit(2, "system:time_start", False)) == ["i3", "i2"]
    assert indices(stack.merge(stack.limit(1))) == ["1_i0", "1_i1", "1_i2", "1_i3", "2_i0"]
    assert indices(stack.filterDate("2021-02-01", "2021-04-01")) == ["i1", "i2"]
    assert indices(stack.filter(ee.Filter.calendarRange(4, 1, "month"))) == ["i0", "i3"]
    assert indices(stack.filter(ee.Filter.And(ee.Filter.gt("rank", 0), ee.Filter.neq("rank", 2)))) == ["i0", "i2"]
    assert indices(stack.filter(ee.Filter.notNull(["odd"]).Not())) == ["i0", "i2"]
    assert indices(stack.filter(ee.Filter.inList("rank", [0, 3]))) == ["i0", "i3"]
    assert indices(stack.filter(ee.Filter.stringEndsWith("system:index", "2"))) == ["i2"]
    inside = ee.Geometry.Point([500015, 4999985], UTM)
    assert indices(stack.filterBounds(inside)) == ["i0", "i1", "i2", "i3"]
    assert indices(stack.filterBounds(ee.Geometry.Point([10, 10]))) == []
    assert indices(stack.filterBounds(inside.buffer(5))) == ["i0", "i1", "i2", "i3"]


def test_joins(stack: ee.ImageCollection) -> None:
    later = ee.Filter.maxDifference(difference=31 * DAY, leftField="system:time_start", rightField="system:time_start")
    joined = ee.Join.saveAll("near", "system:time_start").apply(stack, stack, later)
    counts = ee.ImageCollection(joined).map(lambda i: i.set("n", ee.List(i.get("near")).size())).aggregate_array("n")
    assert counts.getInfo() == [2, 3, 3, 2]
    same = ee.Filter.equals(leftField="rank", rightField="rank")
    assert ee.ImageCollection(ee.Join.inverted().apply(stack, stack.limit(1), same)).size().getInfo() == 3


def test_map_keeps_indices_and_runs_server_side(stack: ee.ImageCollection) -> None:
    def work(image: ee.Image) -> ee.Image:
        return ee.Image(ee.Algorithms.If(image.get("odd"), image.add(1), image)).set("day", image.date().get("month"))

    mapped = stack.map(work)
    assert mapped.aggregate_array("system:index").getInfo() == ["i0", "i1", "i2", "i3"]
    assert mapped.aggregate_array("day").getInfo() == [1, 2, 3, 4]
    check(ee.Image(mapped.toList(4).get(1)), S[1].astype(int) + 1, "u2", VALID[1])
    total = stack.iterate(lambda image, sum_: ee.Number(sum_).add(ee.Number(image.get("rank"))), 0)
    assert total.getInfo() == 6


def test_properties(abc: ee.Image) -> None:
    image = abc.set("new", [1, {"a": 2}]).set({"k": None, "s": "y"})
    found = image.toDictionary().getInfo()
    assert found == {"s": "y", "new": [1, {"a": 2}]}
    copied = ee.Image(1).copyProperties(abc, ["s", "system:time_start"])
    assert copied.getInfo()["properties"] == {"s": "x", "system:time_start": 1579046400000}
    assert ee.Image(1).copyProperties(abc).toDictionary().getInfo() == {"k": 1, "s": "x"}
    assert abc.get("system:index").getInfo() == "one"


# Scalars

SCALARS: list[tuple[Callable[[], Any], Any]] = [
    (lambda: ee.Number(7).divide(2), 3.5),
    (lambda: ee.Number(7).divide(0), 0),
    (lambda: ee.Number(-7).mod(3), -1),
    (lambda: ee.Number(2.5).toInt8(), 2),
    (lambda: ee.Number(3).lt(4), 1),
    (lambda: ee.String("a").cat("b").toUpperCase(), "AB"),
    (lambda: ee.String("2020_01").split("_"), ["2020", "01"]),
    (lambda: ee.String("aXbX").replace("X", "-", "g"), "a-b-"),
    (lambda: ee.List.sequence(1, 10, 4), [1, 5, 9]),
    (lambda: ee.List([3, 1, 2]).sort().reverse(), [3, 2, 1]),
    (
        lambda: ee.List([1, 2]).map(lambda x: ee.List([x, 10]).map(lambda y: ee.Number(y).multiply(x))),
        [[1, 10], [4, 20]],
    ),
    (lambda: ee.List([1, [2, [3]]]).flatten(), [1, 2, 3]),
    (lambda: ee.List([1, 2, 3]).get(-1), 3),
    (lambda: ee.Dictionary({"a": 1}).set("b", 2).values(["b", "a"]), [2, 1]),
    (lambda: ee.Date("2020-02-29").advance(1, "year").format(), "2021-02-28T00:00:00"),
    (lambda: ee.Date("2020-12-31T23:59").get("year"), 2020),
    (lambda: ee.Date(1e12).millis(), 1_000_000_000_000),
    (lambda: ee.Date("2020-03-01").difference(ee.Date("2020-02-01"), "day"), 29),
    (lambda: ee.Date("2020-060"), {"type": "Date", "value": 1582934400000}),
    (lambda: ee.Projection("EPSG:32633").atScale(10).nominalScale(), 10),
    (lambda: ee.Projection("EPSG:4326").nominalScale(), pytest.approx(111319.49079327358)),
    (lambda: ee.Geometry.Point([1, 2]).buffer(10).type(), "Polygon"),
    (lambda: ee.Algorithms.If(0, "yes", "no"), "no"),
]


@pytest.mark.parametrize("number", range(len(SCALARS)))
def test_scalars(service: Emulator, number: int) -> None:
    expression, expected = SCALARS[number]
    assert expression().getInfo() == expected


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        (lambda: ee.Date("2019-02-29"), "Date: Bad date/time '2019-02-29'."),
        (lambda: ee.List([1]).get(5), "List index must be between"),
        (lambda: ee.Dictionary({"a": 1}).get("b"), "Dictionary does not contain key: 'b'"),
        (lambda: ee.Projection("EPSG:1"), "EPSG:1"),
        (lambda: ee.Image(ee.Number(1e300)).select("none"), "Available bands: [constant]"),
        (lambda: ee.ImageCollection("T/NONE").size(), "ImageCollection.load: ImageCollection asset 'T/NONE' not found"),
        (lambda: ee.Image(ee.ImageCollection([]).first()).select("a"), "may not be null"),
        (lambda: ee.ImageCollection([ee.Image(1), ee.Image(1).rename("x")]).median(), "homogeneous"),
    ],
)
def test_errors_are_the_services(service: Emulator, expression: Callable[..., Any], said: str) -> None:
    with pytest.raises(ee.EEException) as caught:
        expression().getInfo()
    assert said in str(caught.value)


def test_a_function_made_at_run_time_is_called_by_reference(service: Emulator) -> None:
    values = {
        "0": {"functionInvocationValue": {"functionReference": "1", "arguments": {"x": {"constantValue": 4}}}},
        "1": {"functionDefinitionValue": {"argumentNames": ["x"], "body": "2"}},
        "2": {
            "functionInvocationValue": {
                "functionName": "Number.multiply",
                "arguments": {"left": {"argumentReference": "x"}, "right": {"integerValue": "3"}},
            }
        },
    }
    reply = post(
        service.url, f"/v1/projects/{PROJECT}/value:compute", {"expression": {"result": "0", "values": values}}
    )
    assert json.loads(reply.data) == {"result": 12}


def test_shared_values_are_computed_once(service: Emulator) -> None:
    image = ee.Image("T/ABC/one").select("a").toDouble()
    for _ in range(40):
        image = image.add(image)  # 2**40 evaluations, were they not shared
    reply = post(
        service.url,
        f"/v1/projects/{PROJECT}/image:computePixels",
        {"expression": json.loads(image.serialize()), "grid": GRID},
    )
    np.testing.assert_array_equal(array(reply)["a"], A * 2.0**40)


PROMISED = {
    "": "Date DateRange Dictionary ErrorMargin Feature Projection String Collection",
    "AggregateFeatureCollection.": "array",
    "Classifier.": "smileRandomForest setOutputMode train",
    "Collection.": "distinct errorMatrix filter first flatten iterate limit loadTable map merge reduceColumns size "
    "toList",
    "ConfusionMatrix.": "accuracy kappa",
    "Date.": "advance difference format get millis",
    "Dictionary.": "get",
    "Element.": "copyProperties get set toDictionary",
    "FeatureCollection.": "classify randomPoints",
    "Filter.": "and calendarRange dateRangeContains equals greaterThan inList intersects lessThan listContains "
    "maxDifference not notNull or stringContains",
    "Geometry.": "bounds buffer",
    "GeometryConstructors.": "BBox MultiPolygon Point Polygon",
    "Image.": "abs add addBands and bandNames bitwiseAnd bitwiseOr clamp classify clip clipToBoundsAndScale constant "
    "copyProperties divide double eq exp float floor focalMean gt gte int16 leftShift linkCollection load log log10 lt "
    "lte mask max min mod multiply neq normalizedDifference not or parseExpression pixelLonLat pow projection reduce "
    "reduceNeighborhood reduceRegion reduceResolution remap rename reproject resample rightShift round sample select "
    "selfMask setDefaultProjection slice sqrt subtract toDouble toFloat toInt16 toInt32 toUint16 toUint8 uint8 "
    "unitScale unmask updateMask where",
    "ImageCollection.": "combine fromImages load merge mosaic qualityMosaic reduce toBands",
    "Join.": "apply inner saveFirst",
    "Kernel.": "square",
    "List.": "get map sequence",
    "Number.": "add multiply",
    "Projection.": "atScale",
    "Reducer.": "anyNonZero combine count first last max mean median min minMax mode percentile stdDev sum toList "
    "variance",
    "Terrain.": "products slope",
    "reduce.": "and count max mean median min mode or product sum",
}
"""What the two official notebooks, other people's programs and common pipelines call."""


def test_what_notebooks_programs_and_pipelines_call_is_there(service: Emulator) -> None:
    built = set(json.loads(get(service.url, "/_emulator/algorithms").data)["algorithms"])
    assert {f"{family}{name}" for family, names in PROMISED.items() for name in names.split()} <= built
