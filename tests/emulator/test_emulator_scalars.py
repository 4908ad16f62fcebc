"""Lists, dictionaries, texts, numbers, dates, arrays, aggregates: by their documentation's examples and by hand."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import Any

import ee
import pytest
from emulator_client import connect


@pytest.fixture(autouse=True, scope="module")
def service(service_url: str) -> None:
    connect(service_url)


CASES: dict[str, tuple[Callable[[], Any], Any]] = {
    # ee.List, by the examples of its pages
    "insert": (lambda: ee.List([1, 2, 3]).insert(1, 9), [1, 9, 2, 3]),
    "insert from the end": (lambda: ee.List([1, 2, 3]).insert(-1, 9), [1, 2, 9, 3]),
    "set": (lambda: ee.List([1, 2, 3]).set(-1, 9), [1, 2, 9]),
    "swap": (lambda: ee.List([1, 2, 3]).swap(0, 2), [3, 2, 1]),
    "splice": (lambda: ee.List([0, 1, 2, 3, 4]).splice(1, 2, [7, 8, 9]), [0, 7, 8, 9, 3, 4]),
    "remove": (lambda: ee.List([1, 2, 1]).remove(1), [2, 1]),
    "removeAll": (lambda: ee.List([1, 2, 1]).removeAll([1]), [2]),
    "replace": (lambda: ee.List([1, 2, 1]).replace(1, 5), [5, 2, 1]),
    "replaceAll": (lambda: ee.List([1, 2, 1]).replaceAll(1, 5), [5, 2, 5]),
    "rotate": (lambda: ee.List([1, 2, 3, 4]).rotate(1), [2, 3, 4, 1]),
    "rotate back": (lambda: ee.List([1, 2, 3, 4]).rotate(-1), [4, 1, 2, 3]),
    "unzip": (lambda: ee.List([[1, "a"], [2, "b"]]).unzip(), [[1, 2], ["a", "b"]]),
    "zip": (lambda: ee.List([1, 2]).zip(["a", "b"]), [[1, "a"], [2, "b"]]),
    "filter": (lambda: ee.List([3, 1, 4, 1, 5]).filter(ee.Filter.gte("item", 3)), [3, 4, 5]),
    "frequency": (lambda: ee.List([1, 2, 1]).frequency(1), 2),
    "containsAll": (lambda: ee.List([1, 2, 3]).containsAll([3, 1]), True),
    "equals": (lambda: ee.List([1, 2]).equals([1, 2]), True),
    "getNumber": (lambda: ee.List([1, 2]).getNumber(1).add(1), 3),
    "reduce mean": (lambda: ee.List([1, 2, 6]).reduce(ee.Reducer.mean()), 3),
    "reduce minMax": (lambda: ee.List([4, 2, 6]).reduce(ee.Reducer.minMax()), {"min": 2, "max": 6}),
    "reduce fit": (
        lambda: ee.List([[0, 1], [1, 3], [2, 5]]).reduce(ee.Reducer.linearFit()),
        {"scale": pytest.approx(2), "offset": pytest.approx(1)},
    ),
    "reduce frequency": (lambda: ee.List(["a", "b", "a"]).reduce(ee.Reducer.frequencyHistogram()), {"a": 2, "b": 1}),
    "reduce count distinct": (lambda: ee.List(["a", "b", "a", None]).reduce(ee.Reducer.countDistinctNonNull()), 2),
    "reduce mode": (lambda: ee.List([3, 1, 3, 1, 2]).reduce(ee.Reducer.mode()), 1),
    "reduce runs": (lambda: ee.List([1, 1, 2, 2, 2, 1]).reduce(ee.Reducer.countRuns()), 3),
    "reduce percentiles": (
        lambda: ee.List([1, 2, 3, 4]).reduce(ee.Reducer.percentile([0, 50, 100])),
        {"p0": 1, "p50": 2.5, "p100": 4},
    ),
    "reduce product": (lambda: ee.List([2, 3, 4]).reduce(ee.Reducer.product()), 24),
    "reduce any": (lambda: ee.List([0, 3]).reduce(ee.Reducer.anyNonZero()), 1),
    "reduce bits": (lambda: ee.List([5, 9]).reduce(ee.Reducer.bitwiseOr()), 13),
    "reduce sample deviation": (
        lambda: ee.List([1, 5, 6, 9]).reduce(ee.Reducer.sampleStdDev()),
        pytest.approx(statistics.stdev([1, 5, 6, 9])),
    ),
    "reduce variance": (
        lambda: ee.List([1, 5, 6, 9]).reduce(ee.Reducer.variance()),
        pytest.approx(statistics.pvariance([1, 5, 6, 9])),
    ),
    "outputs": (
        lambda: ee.Reducer.mean().combine(ee.Reducer.mean(), "b_").combine(ee.Reducer.count(), "c_").getOutputs(),
        ["mean", "b_mean", "c_count"],
    ),
    "set outputs": (lambda: ee.Reducer.minMax().setOutputs(["lo", "hi"]).getOutputs(), ["lo", "hi"]),
    "for each": (lambda: ee.Reducer.mean().forEach(["x", "y"]).getOutputs(), ["x", "y"]),
    # ee.Dictionary
    "select": (lambda: ee.Dictionary({"b1": 1, "b2": 2, "c": 3}).select(["b.*"]), {"b1": 1, "b2": 2}),
    "dictionary remove": (lambda: ee.Dictionary({"a": 1, "b": 2}).remove(["a"]), {"b": 2}),
    "dictionary rename": (lambda: ee.Dictionary({"a": 1, "b": 2}).rename(["a"], ["x"]), {"x": 1, "b": 2}),
    "dictionary getNumber": (lambda: ee.Dictionary({"a": 1}).getNumber("a").add(1), 2),
    "combine": (lambda: ee.Dictionary({"a": 1}).combine({"a": 2, "b": 3}, False), {"a": 1, "b": 3}),
    "toArray": (lambda: ee.Dictionary({"a": 1, "b": 2}).toArray(), [1, 2]),
    "toImage": (lambda: ee.Dictionary({"a": 1, "b": 2}).toImage().bandNames(), ["a", "b"]),
    # ee.String
    "trim": (lambda: ee.String("  a b ").trim(), "a b"),
    "rindex": (lambda: ee.String("abab").rindex("ab"), 2),
    "compareTo": (lambda: ee.String("a").compareTo("b"), -1),
    "encodeJSON": (lambda: ee.String.encodeJSON({"a": [1, None]}), '{"a":[1,null]}'),
    "decodeJSON": (lambda: ee.String('{"a": [1, 2]}').decodeJSON(), {"a": [1, 2]}),
    # ee.Number
    "bitwiseNot": (lambda: ee.Number(5).bitwiseNot(), -6),
    "bitCount": (lambda: ee.Number(255).bitCount(), 8),
    "cbrt": (lambda: ee.Number(-27).cbrt(), pytest.approx(-3)),
    "tanh": (lambda: ee.Number(1).tanh(), pytest.approx(math.tanh(1))),
    "firstNonZero": (lambda: ee.Number(0).firstNonZero(4), 4),
    "expression": (lambda: ee.Number.expression("a.x ? b ** 2 : -1", {"a": {"x": 1}, "b": 3}), 9),
    # ee.Date
    "getRange": (
        lambda: ee.Date("2013-03-15").getRange("month"),
        {"type": "DateRange", "dates": [1362096000000, 1364774400000]},
    ),
    "getRelative day": (lambda: ee.Date("2017-06-24").getRelative("day", "year"), 174),
    "getRelative month": (lambda: ee.Date("2017-06-24").getRelative("month", "year"), 5),
    "getFraction": (lambda: ee.Date("2020-07-02").getFraction("year"), pytest.approx(0.5, abs=1e-3)),
    "unitRatio": (lambda: ee.Date.unitRatio("day", "minute"), 1440),
    "update": (lambda: ee.Date("2017-06-24T07:00:00").update(2010, None, 1).format(), "2010-06-01T07:00:00"),
    "parse": (lambda: ee.Date.parse("yyyyDDD", "2013365").format("YYYY-MM-dd"), "2013-12-31"),
    "month name": (lambda: ee.Date("2013-03-05").format("d MMM yy"), "5 Mar 13"),
    "time zone": (
        lambda: ee.Date("2013-03-05T00:00", "America/New_York").format("HH:mm", "UTC"),
        "05:00",
    ),
    "range contains": (lambda: ee.DateRange("2013-01-01", "2014-01-01").contains("2013-12-31"), True),
    "range intersects": (
        lambda: ee.DateRange("2013-01-01", "2014-01-01").intersects(ee.DateRange("2014-01-01", "2015-01-01")),
        False,
    ),
    # ee.Array
    "array": (lambda: ee.Array([[1, 2], [3, 4]]).get([1, 0]), 3),
    "array length": (lambda: ee.Array([[1, 2, 3], [3, 4, 5]]).length(), [2, 3]),
    "matrix": (lambda: ee.Array([[1, 2], [3, 4]]).matrixMultiply([[0, 1], [1, 0]]), [[2, 1], [4, 3]]),
    "array cat": (lambda: ee.Array.cat([[1, 2], [3, 4]], 1), [[1, 3], [2, 4]]),
    "array slice": (lambda: ee.Array([1, 2, 3, 4]).slice(0, 1, -1), [2, 3]),
    # ee.PixelType, ee.Projection, ee.Algorithms
    "pixel type": (lambda: ee.PixelType("int16").maxValue(), 32767),
    "projection scaled": (lambda: ee.Projection("EPSG:32633").scale(10, -10).nominalScale(), pytest.approx(10)),
    "type": (lambda: ee.Algorithms.ObjectType(ee.Image(1)), "Image"),
    "equal": (lambda: ee.Algorithms.IsEqual(ee.List([1, 2]), [1, 2]), True),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_values(name: str) -> None:
    expression, expected = CASES[name]
    assert expression().getInfo() == expected


def table() -> ee.FeatureCollection:
    rows = [{"n": 4, "c": "a"}, {"n": 1, "c": "b"}, {"n": 7, "c": "a"}, {"c": "d"}]
    return ee.FeatureCollection([ee.Feature(None, row) for row in rows])


NUMBERS = [4, 1, 7]
AGGREGATES = {
    "mean": 4, "sum": 12, "product": 28, "min": 1, "max": 7, "count": 3, "count_distinct": 3, "first": 4,
    "total_var": statistics.pvariance(NUMBERS), "sample_var": statistics.variance(NUMBERS),
    "total_sd": statistics.pstdev(NUMBERS), "sample_sd": statistics.stdev(NUMBERS),
}  # fmt: skip


@pytest.mark.parametrize("name", AGGREGATES)
def test_aggregates_of_a_property(name: str) -> None:
    assert getattr(table(), f"aggregate_{name}")("n").getInfo() == pytest.approx(AGGREGATES[name])


def test_aggregate_stats_and_histograms() -> None:
    stats = table().aggregate_stats("n").getInfo()
    assert stats["valid_count"] == 3
    assert {key: stats[key] for key in ("min", "max", "sum", "mean")} == {"min": 1, "max": 7, "sum": 12, "mean": 4}
    assert table().aggregate_histogram("c").getInfo() == {"a": 2, "b": 1, "d": 1}
    with pytest.raises(ee.EEException, match="Property 'c' is not a number"):
        table().aggregate_mean("c").getInfo()


def test_reduce_columns_by_the_guides_examples() -> None:
    assert table().reduceColumns(ee.Reducer.mean(), ["n"]).getInfo() == {"mean": 4}
    assert table().reduceColumns(ee.Reducer.toList(2), ["c", "n"]).getInfo() == {"list": [["a", 4], ["b", 1], ["a", 7]]}
    assert table().reduceColumns(ee.Reducer.toList().repeat(2), ["c", "n"]).getInfo()["list"][1] == [4, 1, 7]
    grouped = table().reduceColumns(ee.Reducer.sum().group(1, "c"), ["n", "c"]).getInfo()
    assert grouped == {"groups": [{"c": "a", "sum": 11}, {"c": "b", "sum": 1}]}
    optional = table().reduceColumns(ee.Reducer.toList(2, 1), ["c", "n"]).getInfo()
    assert optional["list"][3] == ["d", None]
    with pytest.raises(ee.EEException, match="Need 1 inputs for the reducer, got 2 selectors"):
        table().reduceColumns(ee.Reducer.mean(), ["n", "c"]).getInfo()
    with pytest.raises(ee.EEException, match="takes numbers only"):
        table().reduceColumns(ee.Reducer.mean(), ["c"]).getInfo()


def test_columns_drawn_remapped_and_distinct() -> None:
    assert table().distinct("c").aggregate_array("c").getInfo() == ["a", "b", "d"]
    assert table().remap(["a", "b"], [1, 2], "c").aggregate_array("c").getInfo() == [1, 2, 1]
    drawn = table().randomColumn("r", 3).aggregate_array("r").getInfo()
    assert drawn == table().randomColumn("r", 3).aggregate_array("r").getInfo()
    assert drawn != table().randomColumn("r", 4).aggregate_array("r").getInfo()
    assert all(0 <= value < 1 for value in drawn)
    assert table().select(["c"]).first().propertyNames().getInfo() == ["c", "system:index"]
    many = ee.FeatureCollection(ee.List.sequence(1, 2000).map(lambda i: ee.Feature(None, {"i": i})))
    column = many.randomColumn("r", 1, "normal").aggregate_array("r").getInfo()
    assert statistics.fmean(column) == pytest.approx(0, abs=0.1)
    assert statistics.pstdev(column) == pytest.approx(1, abs=0.1)
    halves = many.randomColumn("r").filter(ee.Filter.lt("r", 0.7)).size().getInfo()
    assert halves == pytest.approx(1400, abs=80)
