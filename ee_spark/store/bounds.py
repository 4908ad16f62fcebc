"""What of a dataset is read, and how much it may unfold to: whoever can write there may lie about everything.

Records are JSON of bounded size and number of values; Arrow streams and Parquet files say before they are decoded how
many bytes they come to, and what says too much is not decoded. Whatever else is raised on the way is damage.

Sources: https://arrow.apache.org/docs/format/Columnar.html#serialization-and-interprocess-communication-ipc and
https://github.com/apache/arrow/blob/main/format/Message.fbs for where a stream's sizes stand.
"""

from __future__ import annotations

import json
import logging
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from ee_spark.boundary import SHOWN, shortened
from ee_spark.errors import DamagedError, EESparkError, StoreError, told
from ee_spark.limits import MAX_RECORD
from ee_spark.planner.frozen import Frozen

MOST_CONTAINERS = 1 << 23
"""Lists and objects of a record: each takes some 60 bytes of memory. A corner of a region is one."""
MOST_STREAM = 1 << 31
"""Bytes that an Arrow stream comes to: twice what a plan of ten million tiles may take on the driver."""
MOST_TABLE = 1 << 30
"""Bytes that a table without pixels comes to: of 65,536 tiles it is some hundred million."""
MOST_IMAGES = 1 << 32
"""Bytes that the table of images comes to: the properties of one are some thousand."""
MOST_GROUP = 1 << 29
"""Raw bytes of a row group that is read: sixteen times what a job writes into one."""
_SPEND = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "BYTE_ARRAY": 4}
"""Bytes that a value of a Parquet type takes in memory at least; of all others 8."""

log = logging.getLogger(__name__)


@contextmanager
def damage(
    what: str,
    why: str = "cannot be read",
    way_out: str = "ee-spark verify says what is wrong",
    kind: type[StoreError] = DamagedError,
) -> Iterator[None]:
    """Turn whatever is raised while something of a dataset is read into one line: who can write there, may lie.

    Raises:
        DamagedError: or another ``kind`` of StoreError, for all but our own errors.
    """
    try:
        yield
    except EESparkError:
        raise
    except Exception as error:  # no list of types holds all that Arrow, numpy and GDAL raise
        log.debug("%s", what, exc_info=True)
        fact = f"{why}: {said}" if (said := told(error, SHOWN)) else why
        raise kind(f"{shortened(what)}: {fact}; {way_out}") from None


def json_of(data: bytes) -> dict[str, Any]:
    """Return the JSON object that a record of a dataset holds.

    Raises:
        ValueError: if it is not one, or would take much memory.
    """
    if len(data) > MAX_RECORD or data.count(b"[") + data.count(b"{") > MOST_CONTAINERS:
        raise ValueError(f"a record of {len(data):,} bytes, larger than any that is written")
    try:
        found = json.loads(data)
    except RecursionError:
        raise ValueError("lists in lists without end") from None
    if not isinstance(found, dict):
        raise ValueError("it is not a JSON object")
    return found


def write_table(sink: BinaryIO, table: pa.Table, level: int = 1) -> None:
    """Append a table to ``sink`` as an Arrow IPC stream, compressed by zstd at this level."""
    options = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", level))
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)


def read_table(source: pa.NativeFile, most: int = MOST_STREAM) -> pa.Table:
    """Return the table of the next stream in ``source``, in which all is what its types say.

    Raises:
        ValueError, OSError: if it is none, or comes to more than ``most`` bytes.
    """
    start = source.tell()
    unfolded = 0
    for message in pa.ipc.MessageReader.open_stream(source):
        unfolded += _unfolded(message)
        if unfolded > most:
            raise ValueError(f"a stream that unfolds to {unfolded:,} bytes or more, and {most:,} are read")
    source.seek(start)
    with pa.ipc.open_stream(source) as reader:
        table = reader.read_all()
    table.validate(full=True)
    return table


def parquet(source: Any, columns: Iterable[str] | None = None, most: int = MOST_TABLE) -> pq.ParquetFile:
    """Open a Parquet file of which these columns, or all, are read, whole.

    Raises:
        ValueError, OSError: if it is none, or its footer says that they come to more than ``most`` bytes.
    """
    file = pq.ParquetFile(source)
    check_table(file.metadata, columns, most)
    return file


def parquet_rows(source: Any, columns: Sequence[str] | None = None, most: int = MOST_TABLE) -> pa.Table:
    """Return these columns, or all, of a Parquet file, in which all is what its types say: texts are UTF-8.

    Raises:
        ValueError, OSError: as :func:`parquet` does, and if something is not.
    """
    names = None if columns is None else list(columns)
    table = parquet(source, names, most).read(columns=names)
    table.validate(full=True)
    return table if names is None else table.select(names)


def check_table(footer: pq.FileMetaData, columns: Iterable[str] | None = None, most: int = MOST_TABLE) -> None:
    """Refuse a Parquet file of which these columns, or all, come to more than ``most`` bytes, as its footer says.

    Raises:
        ValueError: so.
    """
    wanted = None if columns is None else set(columns)
    size = sum(
        need
        for group in map(footer.row_group, range(footer.num_row_groups))
        for column in map(group.column, range(group.num_columns))
        for need in _needs(column)
        if wanted is None or column.path_in_schema.partition(".")[0] in wanted
    )
    if size > most:
        raise ValueError(f"columns of {size:,} bytes, and at most {most:,} are read at once")


def check_group(group: pq.RowGroupMetaData, frozen: Frozen) -> None:
    """Refuse a row group of ``pixels`` that would take more memory than any that a job writes, as its footer says.

    Raises:
        ValueError: so.
    """
    width, height = frozen.shape.stored
    values = group.num_rows * height * width
    planes = {*(band.name for band in frozen.bands), *frozen.validity}
    if group.num_rows > max(1, MOST_GROUP // max(1, frozen.tile_bytes)):
        raise ValueError(f"a row group of {group.num_rows:,} rows of {width} × {height} pixels")
    rest = 0
    for column in map(group.column, range(group.num_columns)):
        name = column.path_in_schema.partition(".")[0]
        if name in planes and column.num_values != values:
            raise ValueError(f"{name} has {column.num_values:,} pixels in {group.num_rows:,} rows")
        rest += 0 if name in planes else max(_needs(column))
    if rest > MOST_GROUP:
        raise ValueError(f"a row group with {rest:,} bytes beside its pixels")


def _needs(column: pq.ColumnChunkMetaData) -> Iterator[int]:
    size, values = column.total_uncompressed_size, column.num_values
    if size < 0 or values < 0:
        raise ValueError(f"{column.path_in_schema} has {values:,} values in {size:,} bytes")
    yield max(size, values * _SPEND.get(column.physical_type, 8))


def _unfolded(message: pa.ipc.Message) -> int:
    """Return how many bytes one message of a stream says that it comes to."""
    metadata, body = memoryview(message.metadata), memoryview(message.body or b"")
    try:
        table = _pointed(metadata, 0)
        kind = metadata[_at(metadata, table, 1)] if _at(metadata, table, 1) else 0
        if kind not in (2, 3):  # a dictionary, a batch of rows
            return len(metadata)
        batch = _pointed(metadata, _at(metadata, table, 2))
        batch = _pointed(metadata, _at(metadata, batch, 1)) if kind == 2 else batch
        rows = _number("<q", metadata, _at(metadata, batch, 0)) if _at(metadata, batch, 0) else 0
        found, compressed = 8 * max(0, rows), bool(_at(metadata, batch, 3))
        buffers = _pointed(metadata, _at(metadata, batch, 2))
        for index in range(_number("<I", metadata, buffers)):
            offset, length = struct.unpack_from("<qq", metadata, buffers + 4 + 16 * index)
            said = _number("<q", body, offset) if compressed and length >= 8 else length
            found += max(length, said)
        return found
    except (struct.error, IndexError) as error:
        raise ValueError(f"a stream whose sizes cannot be read ({error})") from None


def _number(kind: str, data: memoryview, at: int) -> int:
    if at < 0:
        raise IndexError("a place before the beginning")
    return int(struct.unpack_from(kind, data, at)[0])


def _pointed(data: memoryview, at: int) -> int:
    """Return where a flatbuffer's offset leads."""
    return at + _number("<I", data, at)


def _at(data: memoryview, table: int, field: int) -> int:
    """Return where a field of a flatbuffer's table stands; 0 if it has none."""
    fields = table - _number("<i", data, table)
    if 4 + 2 * field >= _number("<H", data, fields):
        return 0
    offset = _number("<H", data, fields + 4 + 2 * field)
    return table + offset if offset else 0
