"""Arrow types of columns that are carried along: those that all promised readers read, and how others become one.

The readers: Spark 3.5 and 4, DuckDB, BigQuery, pandas, Polars, Hugging Face datasets. None changes a value: what cannot
be taken exactly is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from ee_spark.boundary import shortened
from ee_spark.errors import JobError

INSTANT = pa.timestamp("us", "UTC")
_DIGITS = 38  # of the widest decimal of Spark, DuckDB and Polars
_KEPT = (
    *(pa.bool_(), pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32()),
    *(pa.float32(), pa.float64(), pa.string(), pa.binary(), pa.date32(), pa.timestamp("us"), INSTANT),
)
SIMPLE = {str(kind): kind for kind in _KEPT}
"""The types without parameters that are written, by how Arrow prints them."""
_TAKEN: tuple[tuple[Callable[[pa.DataType], bool], pa.DataType], ...] = (
    (pa.types.is_null, pa.string()),
    (pa.types.is_uint64, pa.int64()),
    (pa.types.is_float16, pa.float32()),
    (pa.types.is_large_string, pa.string()),
    (pa.types.is_string_view, pa.string()),
    (pa.types.is_large_binary, pa.binary()),
    (pa.types.is_binary_view, pa.binary()),
    (pa.types.is_fixed_size_binary, pa.binary()),
    (pa.types.is_date64, pa.date32()),
    (pa.types.is_time, pa.string()),  # Parquet has it, Spark 3.5 and 4.0 do not
)


def carried_type(kind: pa.DataType) -> pa.DataType | None:
    """Return the type that a column of this one is written as; None where no reader would have what it says."""
    if kind in _KEPT:
        return kind
    for holds, taken in _TAKEN:
        if holds(kind):
            return taken
    if pa.types.is_timestamp(kind):
        return INSTANT if kind.tz else pa.timestamp("us")
    if pa.types.is_decimal(kind):
        fits = kind.precision <= _DIGITS and 0 <= kind.scale <= kind.precision
        return pa.decimal128(kind.precision, kind.scale) if fits else None
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return carried_type(kind.value_type)
    return _nested_type(kind)


def _nested_type(kind: pa.DataType) -> pa.DataType | None:
    if pa.types.is_map(kind):
        return None  # Polars has none
    if hasattr(kind, "value_field"):  # lists of every kind
        inner = carried_type(kind.value_type)
        return pa.list_(pa.field("element", inner)) if inner is not None else None
    if pa.types.is_struct(kind) and kind.num_fields:
        parts = [(part.name, carried_type(part.type)) for part in kind]
        return None if any(inner is None for _, inner in parts) else pa.struct(parts)
    return None


def carried(column: pa.Array, name: str, label: str) -> pa.Array:
    """Return a column as a type that all promised readers read.

    Times of nanoseconds become microseconds, those with a zone UTC, times of a day texts, categories and nulls texts.

    Raises:
        JobError: if a value would change, with its row, or the type has none that stands for it.
    """
    if isinstance(column, pa.ExtensionArray):
        column = _storage(column, name, label)
    target = carried_type(column.type)
    if target is None:
        raise JobError(
            f"{label}: column {shortened(name)!r} is {shortened(str(column.type))}, which not all readers of the "
            "tables know; write it as a text or a number"
        )
    if column.type == target:
        return column
    if pa.types.is_run_end_encoded(column.type):
        return carried(pc.run_end_decode(column), name, label)
    try:
        return column.cast(target)
    except pa.ArrowNotImplementedError:
        raise JobError(
            f"{label}: column {shortened(name)!r} is {shortened(str(column.type))}, which cannot be written as "
            f"{target}; write it as a text or a number"
        ) from None
    except pa.ArrowInvalid:
        row = first_wrong(column, lambda part: part.cast(target))
        raise JobError(
            f"{label}: point {row + 1} has {shortened(name)} {shortened(str(column[row]))}, and "
            f"{shortened(str(column.type))} is written as {target}; round it, or write region.points: "
            f"{{types: {{{shortened(name)}: string}}}}"
        ) from None


def decoded(column: pa.Array) -> pa.Array:
    """Return a column of categories, runs or large texts as the values that it stands for."""
    if pa.types.is_run_end_encoded(column.type):
        column = pc.run_end_decode(column)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column.cast(pa.string()) if carried_type(column.type) == pa.string() else column


def first_wrong(column: pa.Array, cast: Callable[[pa.Array], object]) -> int:
    """Return the index of the first value that ``cast`` refuses, of a column that it refuses."""
    low, high = 0, len(column)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            cast(column.slice(low, middle - low))
            low = middle
        except (pa.ArrowInvalid, ValueError):
            high = middle
    return low


def _storage(column: pa.ExtensionArray, name: str, label: str) -> pa.Array:
    """Return the values of an extension type that stands for a simple one."""
    kind = column.type.extension_name
    if kind == "arrow.uuid":
        return pa.array([None if value is None else str(value) for value in column.to_pylist()], pa.string())
    if kind in ("arrow.json", "arrow.bool8"):
        return column.storage.cast(pa.bool_()) if kind == "arrow.bool8" else column.storage
    raise JobError(
        f"{label}: column {shortened(name)!r} is of the extension type {shortened(kind)}, which not all readers of the "
        "tables know; write it as a text or a number"
    )
