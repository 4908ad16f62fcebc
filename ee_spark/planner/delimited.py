"""A delimited text (CSV, TSV) as columns of texts: every separator, line end and length of a field, wrong rows told."""

from __future__ import annotations

import io
import re
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv

MOST_COLUMNS = 10_000
SEPARATORS = (",", ";", "\t", "|")
_BLOCK = 1 << 30  # bytes that Arrow reads at once, and so the longest row
_AROUND = 12  # bytes of a text that is no UTF-8 that are shown
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_BOM = b"\xef\xbb\xbf"
_LINE = re.compile(rb"[^\r\n]+")
_QUOTED = re.compile(rb'"[^"]*"')


def texts_of_csv(data: bytes) -> pa.Table:
    """Return a CSV with a header as a table of strings; empty is null, and spaces around a value are not part of it.

    Fields are separated by commas, semicolons, tabs or bars: by what the header has most of. Lines end with LF, CR LF
    or CR; quotes and line ends in a quoted field are as in RFC 4180 (https://www.rfc-editor.org/rfc/rfc4180).

    Raises:
        ValueError: if it is not a CSV in UTF-8, with the row.
        pyarrow.ArrowException: if a field cannot be read.
    """
    data = data.removeprefix(_BOM)
    first = _LINE.search(data)
    header = first[0] if first else b""
    separator = separator_of(header)
    _refuse_binary(data, header.count(separator.encode()))
    rows = _rows(data, header, separator)
    if not rows.num_columns or not rows.num_rows:
        raise ValueError("it is empty")
    columns: dict[str, pa.ChunkedArray] = {}
    while rows.num_columns:
        column, rows = rows[0], rows.remove_column(0)  # so that no more than one is in memory twice
        name = column[0].as_py().strip()
        if name in columns:
            raise ValueError(f"column {name!r} stands twice")
        values = pc.utf8_trim_whitespace(column.slice(1))
        columns[name] = pc.if_else(pc.equal(values, ""), pa.scalar(None, pa.string()), values)
    return pa.table(columns)


def separator_of(header: bytes) -> str:
    """Return what separates the fields of a header: what it has most of outside of quotes, a comma where it is even."""
    bare = _QUOTED.sub(b"", header)
    return max(SEPARATORS, key=lambda separator: bare.count(separator.encode()))


def _refuse_binary(data: bytes, separators: int) -> None:
    if data.startswith(_UTF_16):
        raise ValueError("it is in UTF-16; save it as UTF-8")
    if (at := data.find(b"\0")) >= 0:
        raise ValueError(f"it has a NUL at byte {at:,}, so it is not a text in UTF-8")
    if separators >= MOST_COLUMNS:
        raise ValueError(f"it has more than {MOST_COLUMNS:,} columns")


def _rows(data: bytes, header: bytes, separator: str) -> pa.Table:
    """Return all rows, the header too, as columns of strings."""
    if not header:
        return pa.table({})
    width = header.count(separator.encode()) + 1  # at least: a separator may be quoted
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
            arrow_csv.ParseOptions(delimiter=separator, newlines_in_values=True, invalid_row_handler=note),
            arrow_csv.ConvertOptions(
                column_types={f"f{index}": pa.string() for index in range(width)}, strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid:
        if wrong:
            [row] = wrong[:1]
            hint = "; is a quote never closed?" if '"' in row.text and re.search(r"[\r\n]", row.text) else ""
            raise ValueError(
                f"row {row.number} has {row.actual_columns} fields, the header {row.expected_columns}{hint}"
            ) from None
        _refuse_encoding(data)
        raise


def _refuse_encoding(data: bytes) -> None:
    """Refuse a text that is not UTF-8, with where it is not."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        at = error.start
        line = len(re.findall(rb"\r\n|\r|\n", data[:at])) + 1
        around = data[max(0, at - _AROUND) : at + _AROUND].decode("latin-1")
        shown = (
            re.split(r"[\r\n,;\t|]", around[: min(at, _AROUND)])[-1]
            + re.split(r"[\r\n,;\t|]", around[min(at, _AROUND) :])[0]
        )
        raise ValueError(
            f"line {line:,} has the byte 0x{data[at]:02X} at {at:,}, which is not UTF-8 "
            f"({shown!r} in Latin-1); save it as UTF-8"
        ) from None
