"""Types of carried columns over random tables: no value is changed, and no row that is added changes a type.

The truth is what pandas reads with ``dtype=str``.
"""

from __future__ import annotations

import io
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ee_spark.boundary import shortened
from ee_spark.errors import JobError
from ee_spark.planner.delimited import texts_of_csv
from ee_spark.planner.typed import Known, typed

LABEL = "region.points: p.csv"
TEXTS = st.one_of(
    st.sampled_from(
        [
            *("", "0", "1", "-0", "+1", "01001", "1E2", "0x10", "1_000", "1.0", "1.50", "-0.0", "1e+16", "1e-05"),
            *("0.00001", "nan", "NaN", "inf", "true", "12345678901234567890", "9007199254740993"),
            *("9223372036854775808", "x y", "1,5"),
        ]
    ),
    st.integers(-(2**70), 2**70).map(str),
    st.floats().map(repr),
    st.floats(allow_nan=False, allow_infinity=False).map("{:.3f}".format),
    st.decimals(allow_nan=False, allow_infinity=False, places=2).map(str),
    st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S")), max_size=5),
)
COLUMN = st.one_of(
    st.lists(st.sampled_from(["01001", "7", "0x10", "12", "-0", "+1", "1E2", "1.50", "2.5"]), min_size=1, max_size=3),
    st.lists(TEXTS, min_size=1, max_size=8),
    st.lists(st.integers(-(2**63), 2**63 - 1).map(str), min_size=1, max_size=8),
    st.lists(st.floats(allow_nan=False, allow_infinity=False).map(repr), min_size=1, max_size=8),
    st.lists(st.floats(-1e6, 1e6).map(lambda value: f"{value:.12g}"), min_size=1, max_size=8),
)


def read(texts: list[str]) -> pa.Table:
    """Return a column as the CSV has it that pandas writes."""
    data = pd.DataFrame({"k": range(len(texts)), "v": texts}).to_csv(index=False)
    return texts_of_csv(data.encode()).drop_columns(["k"])


def as_pandas(texts: list[str]) -> list[str | None]:
    """Return what pandas reads of the same column, all as texts."""
    data = pd.DataFrame({"k": range(len(texts)), "v": texts}).to_csv(index=False)
    found = pd.read_csv(io.StringIO(data), dtype=str, keep_default_na=False)["v"].tolist()
    return [value.strip() or None for value in found]


def prints(value: Any, text: str) -> bool:
    """Return True if a number is what a text says, and Python prints it so."""
    if isinstance(value, float):
        return text in (repr(value), str(int(value)) if value.is_integer() and abs(value) <= 2**53 else "")
    return str(value) == text


@given(COLUMN)
@settings(max_examples=400, deadline=None, derandomize=True)
def test_every_value_prints_back_to_its_text(texts: list[str]) -> None:
    table, _ = typed(read(texts), Known(), LABEL, texts=True)
    right = as_pandas(texts)
    found = table["v"].to_pylist()
    assert [value is None for value in found] == [text is None for text in right]
    given = [(value, text) for value, text in zip(found, right, strict=True) if text is not None]
    assert all(prints(value, text) for value, text in given), (table.schema, given)
    distinct = {text for _, text in given}
    assert len({value for value, _ in given}) == len(distinct) or distinct == {"0.0", "-0.0"}  # no two become one
    assert table["v"].type in (pa.int64(), pa.float64(), pa.string())


@given(COLUMN, COLUMN)
@settings(max_examples=400, deadline=None, derandomize=True)
def test_rows_that_are_added_never_change_a_type(first: list[str], more: list[str]) -> None:
    table, _ = typed(read(first), Known(), LABEL, texts=True)
    frozen = {"v": str(table["v"].type)}
    both = as_pandas([*first, *more])
    try:
        later, notes = typed(read([*first, *more]), Known(frozen=frozen), LABEL, texts=True)
    except JobError as error:
        refused = str(error)
        row = int(refused.partition("point ")[2].partition(" ")[0])
        assert row > len(first)
        assert f"point {row} has v {shortened(repr(both[row - 1]))}" in refused
        return
    assert {"v": str(later["v"].type)} == frozen
    assert later["v"].to_pylist()[: len(first)] == table["v"].to_pylist()
    assert all(text is None or prints(value, text) for value, text in zip(later["v"].to_pylist(), both, strict=True))
    assert notes == ()


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.none(), min_size=1, max_size=9))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_nanoseconds_are_kept_or_refused(values: list[int | None]) -> None:
    column = pa.array(values, pa.timestamp("ns"))
    odd = [row for row, value in enumerate(values, 1) if value is not None and value % 1000]
    if odd:
        with pytest.raises(JobError, match=f"point {odd[0]} has v"):
            typed(pa.table({"v": column}), Known(), LABEL)
    else:
        table, _ = typed(pa.table({"v": column}), Known(), LABEL)
        assert [value and value * 1000 for value in table["v"].cast(pa.int64()).to_pylist()] == values
