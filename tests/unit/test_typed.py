"""Types of carried columns: nothing that a file says is changed, by the values it names."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ee_spark.errors import JobError
from ee_spark.planner.carried import SIMPLE
from ee_spark.planner.delimited import texts_of_csv
from ee_spark.planner.typed import Known, of_values, typed

LABEL = "region.points: p.csv"


def read(texts: list[str]) -> pa.Table:
    """Return a column as the CSV has it reads it."""
    return texts_of_csv("".join(f'k,"{text}"\n' for text in ["v", *texts]).encode()).drop_columns(["k"])


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (["01001", "01002"], "string"),
        (["12345678901234567890", "12345678901234567891"], "string"),
        (["1E2", "3"], "string"),
        (["0x10"], "string"),
        (["+1", "2"], "string"),
        (["-0"], "string"),
        (["1_000"], "string"),
        (["true", "false"], "string"),
        (["nan", "1.5"], "string"),
        (["inf"], "string"),
        (["1.50", "2.25"], "string"),
        (["4", "4.0"], "string"),
        (["9007199254740993", "0.5"], "string"),
        (["1e5"], "string"),
        (["0.00001"], "string"),
        (["", ""], "string"),
        (["1", "", "-7", "9223372036854775807"], "int64"),
        (["1.0", "2.5", ""], "double"),
        (["4", "3.5"], "double"),
        (["1e-05", "1e+16", "-0.0"], "double"),
        (["0.1", "0.30000000000000004", "123456.789012345"], "double"),
    ],
)
def test_a_number_is_what_prints_back(texts: list[str], kind: str) -> None:
    table, _ = typed(read(texts), Known(), LABEL, texts=True)
    assert str(table["v"].type) == kind
    if kind == "string":
        assert table["v"].to_pylist() == [text or None for text in texts]


def test_texts_that_look_like_numbers_are_told() -> None:
    _, notes = typed(read(["01001", "7"]), Known(), LABEL, texts=True)
    [(what, value, why)] = notes
    assert (what, value) == ("points", "v is text")
    assert why.startswith("'01001' would not print back as a number")
    assert typed(read(["x", "7"]), Known(), LABEL, texts=True)[1] == ()


@pytest.mark.parametrize(
    ("kind", "texts", "values"),
    [
        ("float64", ["1.50", "+1", "1E2", "nan"], [1.5, 1.0, 100.0, float("nan")]),
        ("int64", ["007", "+1", ""], [7, 1, None]),
        ("string", ["1", "2"], ["1", "2"]),
        ("bool", ["true", "false"], [True, False]),
        ("date", ["2020-02-29"], [dt.date(2020, 2, 29)]),
        ("timestamp", ["2020-01-01T12:00:00"], [dt.datetime(2020, 1, 1, 12, tzinfo=dt.UTC)]),
        ("timestamp", ["2020-01-01T12:00:00+02:00"], [dt.datetime(2020, 1, 1, 10, tzinfo=dt.UTC)]),
        ("float32", ["0.1"], [float(np.float32(0.1))]),
    ],
)
def test_a_type_that_the_job_states_is_read(kind: str, texts: list[str], values: list[Any]) -> None:
    table, notes = typed(read(texts), Known(stated={"v": kind}), LABEL, texts=True)
    assert notes == ()
    assert repr(table["v"].to_pylist()) == repr(values) or table["v"].to_pylist() == values


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        *(("int64", text) for text in ("0x10", "2.5", "9223372036854775808", "1_000")),
        *(("float64", text) for text in ("0x10", "1,5", "1_000", "x")),
        *(("int8", "200"), ("date", "yesterday"), ("timestamp", "12:00"), ("bool", "maybe")),
    ],
)
def test_what_is_not_of_its_stated_type_is_refused(kind: str, text: str) -> None:
    with pytest.raises(JobError) as caught:
        typed(read(["", text]), Known(stated={"v": kind}), LABEL, texts=True)
    assert f"point 2 has v {text!r}, which is not {kind} as region.points.types says" in str(caught.value)


def test_a_dataset_of_an_older_version_keeps_its_types_and_says_what_they_change() -> None:
    older = Known(frozen={"v": "int64"}, exact=False)
    table, notes = typed(read(["7", "01001"]), older, LABEL, texts=True)
    assert table["v"].to_pylist() == [7, 1001]
    assert "to keep '01001' (point 2) write to another output.path" in notes[0][2]
    assert typed(read(["7", "1001"]), older, LABEL, texts=True)[1] == ()
    with pytest.raises(JobError, match="point 2 has v 'x', and the dataset's column is int64"):
        typed(read(["7", "x"]), older, LABEL, texts=True)
    nulls, _ = typed(pa.table({"v": of_values([None])}), Known(frozen={"v": "null"}, exact=False), LABEL)
    assert nulls["v"].type == pa.null()
    times = pa.table({"v": pa.array([1], pa.timestamp("ns")), "c": pa.array(["a"]).dictionary_encode()})
    kept = {"v": "timestamp[ns]", "c": str(times["c"].type)}
    assert typed(times, Known(frozen=kept, exact=False), LABEL)[0].schema.types == times.schema.types


def test_what_does_not_fit_a_dataset_that_is_replaced_is_another_job() -> None:
    table, _ = typed(read(["x"]), Known(frozen={"v": "int64"}, binding=False), LABEL, texts=True)
    assert table["v"].type == pa.string()


@pytest.mark.parametrize(
    ("values", "kind", "found"),
    [
        ([None, None], "string", [None, None]),
        ([1, None], "int64", [1, None]),
        ([1, 2.5], "double", [1.0, 2.5]),
        ([True, False], "bool", [True, False]),
        ([True, 1], "string", ["true", "1"]),
        (["x", 5, 1.0], "string", ["x", "5", "1.0"]),
        ([2**63, 1], "string", ["9223372036854775808", "1"]),
        ([2**53 + 1, 0.5], "string", ["9007199254740993", "0.5"]),
        ([{"a": 1}, [1, None]], "string", ['{"a": 1}', "[1, null]"]),
    ],
)
def test_properties_of_json_are_what_they_are(values: list[Any], kind: str, found: list[Any]) -> None:
    column = of_values(values)
    assert (str(column.type), column.to_pylist()) == (kind, found)


def test_a_property_of_nulls_is_text_and_takes_later_values() -> None:
    first, _ = typed(pa.table({"v": of_values([None])}), Known(), LABEL)
    frozen = {"v": str(first["v"].type)}
    for values, found in (([5], ["5"]), ([1.5], ["1.5"]), (["x", True], ["x", "true"])):
        assert typed(pa.table({"v": of_values(values)}), Known(frozen=frozen), LABEL)[0]["v"].to_pylist() == found
    with pytest.raises(JobError, match=r"point 2 has v 2\.5, and the dataset's column is int64"):
        typed(pa.table({"v": of_values([1, 2.5])}), Known(frozen={"v": "int64"}), LABEL)
    whole, _ = typed(pa.table({"v": of_values([1])}), Known(frozen={"v": "double"}), LABEL)
    assert whole["v"].to_pylist() == [1.0]


TIMES = [dt.datetime(2020, 1, 1, 1, 2, 3, 456789), None]
COLUMNS: dict[str, tuple[pa.Array, str, list[Any]]] = {
    "ns": (pa.array(TIMES, pa.timestamp("ns")), "timestamp[us]", TIMES),
    "s": (
        pa.array([TIMES[0].replace(microsecond=0)], pa.timestamp("s")),
        "timestamp[us]",
        [dt.datetime(2020, 1, 1, 1, 2, 3)],
    ),  # type: ignore[union-attr]
    "zone": (
        pa.array(TIMES, pa.timestamp("ns", "Asia/Tokyo")),
        "timestamp[us, tz=UTC]",
        [dt.datetime(2020, 1, 1, 1, 2, 3, 456789, tzinfo=dt.UTC), None],
    ),
    "category": (pa.array(["a", None, "a"]).dictionary_encode(), "string", ["a", None, "a"]),
    "number-category": (pa.array([7, 7]).dictionary_encode(), "int64", [7, 7]),
    "large": (pa.array(["a"], pa.large_string()), "string", ["a"]),
    "view": (pa.array(["a"], pa.string_view()), "string", ["a"]),
    "uint64": (pa.array([2**63 - 1], pa.uint64()), "int64", [2**63 - 1]),
    "half": (pa.array([1.5], pa.float16()), "float", [1.5]),
    "time": (pa.array([dt.time(1, 2, 3, 4)], pa.time64("us")), "string", ["01:02:03.000004"]),
    "date64": (pa.array([dt.date(2020, 1, 1)], pa.date64()), "date32[day]", [dt.date(2020, 1, 1)]),
    "decimal": (pa.array([Decimal("1.50")], pa.decimal128(10, 2)), "decimal128(10, 2)", [Decimal("1.50")]),
    "wide": (pa.array([Decimal("1.50")], pa.decimal256(38, 2)), "decimal128(38, 2)", [Decimal("1.50")]),
    "null": (pa.nulls(2), "string", [None, None]),
    "list": (pa.array([[1.5, None]], pa.large_list(pa.float16())), "list<element: float>", [[1.5, None]]),
    "fixed": (pa.array([[1, 2]], pa.list_(pa.int64(), 2)), "list<element: int64>", [[1, 2]]),
    "struct": (
        pa.array([{"a": TIMES[0]}], pa.struct([("a", pa.timestamp("ns"))])),
        "struct<a: timestamp[us]>",
        [{"a": TIMES[0]}],
    ),
    "bytes": (pa.array([b"ab"], pa.binary(2)), "binary", [b"ab"]),
    "runs": (pa.RunEndEncodedArray.from_arrays(pa.array([2], pa.int32()), pa.array(["a"])), "string", ["a", "a"]),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_type_becomes_one_that_all_read(name: str) -> None:
    column, kind, values = COLUMNS[name]
    table, _ = typed(pa.table({"v": column}), Known(), LABEL)
    assert str(table["v"].type) == kind
    assert table["v"].to_pylist() == values
    again, _ = typed(pa.table({"v": column}), Known(frozen={"v": kind}), LABEL)
    assert again.equals(table)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (pa.array([dt.timedelta(1)]), "column 'v' is duration[us], which not all readers of the tables know"),
        (pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())), "column 'v' is map<string, int64>"),
        (pa.array([Decimal(1)], pa.decimal256(50, 0)), "column 'v' is decimal256(50, 0)"),
        (
            pa.array([1, None, 1_577_836_800_000_000_001], pa.timestamp("ns")),
            "point 1 has v 1970-01-01 00:00:00.000000001",
        ),
        (
            pa.array([None, 2**64 - 1], pa.uint64()),
            "point 2 has v 18446744073709551615, and uint64 is written as int64",
        ),
        (pa.array([[dt.timedelta(1)]]), "column 'v' is list<"),
    ],
)
def test_a_type_that_nobody_reads_is_refused_by_name(column: pa.Array, said: str) -> None:
    with pytest.raises(JobError) as caught:
        typed(pa.table({"v": column}), Known(), LABEL)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 300
    if "point" in said.partition(" has")[0]:
        texts, _ = typed(pa.table({"v": column}), Known(stated={"v": "string"}), LABEL)
        assert texts["v"].type == pa.string()


def test_all_simple_types_are_told_by_their_names() -> None:
    assert {str(kind): kind for kind in SIMPLE.values()} == SIMPLE
    assert json.loads(json.dumps(list(SIMPLE))) == list(SIMPLE)
