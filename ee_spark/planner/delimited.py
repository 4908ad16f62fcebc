"""A CSV text as an Arrow table: every line end, any length of a field, and a row that is wrong told by its number."""

from __future__ import annotations

import io
import re
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv

MOST_COLUMNS = 10_000
_BLOCK = 1 << 30  # bytes that Arrow reads at once, and so the longest row
_FIRST = 1000  # values that tell most columns of text
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_LINE = re.compile(rb"[^\r\n]+")


def table_of_csv(data: bytes) -> pa.Table:
    """Return a CSV with a header as a table; empty is null; a column is int64 or double where all its values are.

    Other columns are strings, and ``id`` always is. Spaces around a value are not part of it. Lines end with LF, CR LF
    or CR; quotes and line ends in a quoted field are as in RFC 4180 (https://www.rfc-editor.org/rfc/rfc4180).

    Raises:
        ValueError: if it is not a CSV, with the row.
        pyarrow.ArrowException: if a field cannot be read.
    """
    _refuse_binary(data)
    rows = _rows(data)
    if not rows.num_columns or not rows.num_rows:
        raise ValueError("it is empty")
    columns: dict[str, pa.Array] = {}
    for header in rows.itercolumns():
        name = header[0].as_py().strip()
        if name in columns:
            raise ValueError(f"column {name!r} stands twice")
        values = pc.utf8_trim_whitespace(header.slice(1))
        values = pc.if_else(pc.equal(values, ""), pa.scalar(None, pa.string()), values)
        columns[name] = values if name == "id" else _typed(values)
    return pa.table(columns)


def _refuse_binary(data: bytes) -> None:
    if data.startswith(_UTF_16):
        raise ValueError("it is in UTF-16; save it as UTF-8")
    if (at := data.find(b"\0")) >= 0:
        raise ValueError(f"it has a NUL at byte {at:,}, so it is not a text in UTF-8")
    first = _LINE.search(data)
    if first and data.count(b",", *first.span()) >= MOST_COLUMNS:
        raise ValueError(f"it has more than {MOST_COLUMNS:,} columns")


def _rows(data: bytes) -> pa.Table:
    """Return all rows, the header too, as columns of strings."""
    first = _LINE.search(data)
    if not first:
        return pa.table({})
    width = data.count(b",", *first.span()) + 1  # at least: a comma may be quoted
    wrong: list[Any] = []

    def note(row: Any) -> str:
        wrong.append(row)
        return "error"

    try:
        return arrow_csv.read_csv(
            io.BytesIO(data),
            arrow_csv.ReadOptions(
                use_threads=False, autogenerate_column_names=True, block_size=min(_BLOCK, len(data) + 1)
            ),
            arrow_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=note),
            arrow_csv.ConvertOptions(
                column_types={f"f{index}": pa.string() for index in range(width)}, strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid:
        if not wrong:
            raise
        [row] = wrong[:1]
        hint = "; is a quote never closed?" if '"' in row.text and re.search(r"[\r\n]", row.text) else ""
        raise ValueError(
            f"row {row.number} has {row.actual_columns} fields, the header {row.expected_columns}{hint}"
        ) from None


def _typed(values: pa.ChunkedArray) -> pa.ChunkedArray:
    for kind in (pa.int64(), pa.float64()) if values.null_count < len(values) else ():
        try:
            values.slice(0, _FIRST).cast(kind)  # a cast that fails goes on to the end, and takes long over it
            return values.cast(kind)
        except pa.ArrowInvalid:
            continue
    return values
