"""Blocks in Spark: one row per pixel, or arrays in a function of one's own. Works on Spark 3.5 and 4.

Pixels are exploded by workers in Python, block by block: ``mapInArrow`` needs pandas and pyarrow there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from ee_spark.errors import JobError
from ee_spark.planner.crs import LONLAT, Floats, project
from ee_spark.read.block import Block

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import DataType

NEEDED = ("tile_id", "image_id", "image_time", "crs", "transform", "width", "height", "margin")
PIXEL_ROWS = 1 << 18
"""Rows of one batch that goes back to Spark."""
BLOCK_BYTES = 32 << 20
_POINT = ("point_id", "point_lon", "point_lat")


def pixels(df: DataFrame, bands: Sequence[str] | None = None, *, valid_only: bool = True) -> DataFrame:
    """Return one row per pixel of ``df``, which holds rows of ``pixels`` as ``spark.read.parquet`` gives them.

    Columns: ``tile_id``, ``image_id``, ``image_time``; ``row``, ``col`` of the pixel in its block's core; ``x``, ``y``
    of its centre in the units of ``crs``, ``lon``, ``lat`` in degrees; the points' columns; the bands; their validity
    as booleans (``valid`` or ``valid_<band>``), where the job fetched masks. Margins are left out: each pixel of the
    ground stands once an image.

    Args:
        df: rows of ``pixels``; filter it first, by ``image_time`` or ``bbox``: that is pushed down to Parquet.
        bands: the bands to keep; all by default.
        valid_only: leave out pixels that are valid in none of them.

    Raises:
        JobError: if ``df`` lacks the columns that say where pixels lie, or a band.
    """
    from pyspark.sql.types import (
        ArrayType,
        BooleanType,
        DoubleType,
        IntegerType,
        StringType,
        StructField,
        StructType,
        TimestampType,
    )

    missing = [name for name in NEEDED if name not in df.columns]
    if missing:
        raise JobError(f"pixels: the DataFrame has no column {missing[0]!r}; hand on rows of the table pixels")
    arrays = {item.name: item.dataType for item in df.schema if isinstance(item.dataType, ArrayType)}
    arrays.pop("transform")
    validity = [name for name in arrays if name == "valid" or name.startswith("valid_")]
    found = {name: kind.elementType for name, kind in arrays.items() if name not in validity}
    wanted = list(bands or found)
    for band in wanted:
        if band not in found:
            raise JobError(f"pixels: no band {band!r}; the bands are {', '.join(found)}")
    validity = [name for name in validity if name == "valid" or name[6:] in wanted]
    after = df.columns[df.columns.index("point_id") :] if "point_id" in df.columns else []
    points = [name for name in after if name not in arrays]
    kinds: dict[str, DataType] = {
        **{"tile_id": StringType(), "image_id": StringType(), "image_time": TimestampType(), "crs": StringType()},
        **{name: IntegerType() for name in ("row", "col")},
        **{name: DoubleType() for name in ("x", "y", "lon", "lat")},
        **{name: df.schema[name].dataType for name in points},
        **{band: found[band] for band in wanted},
        **{name: BooleanType() for name in validity},
    }
    schema = StructType([StructField(name, kind) for name, kind in kinds.items()])
    order = list(kinds)  # Spark matches the columns of a batch by their place

    def explode(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for index, block in enumerate(blocks([batch])):
                yield from _pixels_of(batch.slice(index, 1), block, order, wanted, validity, valid_only)

    return df.select(*NEEDED, *points, *wanted, *validity).mapInArrow(explode, schema)


def blocks(batches: Iterable[pa.RecordBatch]) -> Iterator[Block]:
    """Yield the blocks of Arrow record batches, for a function of one's own in ``mapInArrow``.

    Every list column but ``transform`` is a band, or validity by its name. Arrays are views of the batch.
    """
    for batch in batches:
        names = [
            item.name
            for item in batch.schema
            if (pa.types.is_list(item.type) or pa.types.is_large_list(item.type)) and item.name != "transform"
        ]
        keys = batch.select([name for name in batch.schema.names if name not in names]).to_pylist()
        lists = {name: batch.column(name) for name in names}
        for index, key in enumerate(keys):
            shape = key["height"], key["width"]
            planes = {
                name: values[index].values.to_numpy(zero_copy_only=False).reshape(shape)
                for name, values in lists.items()
            }
            validity = {name: planes.pop(name).astype(np.uint8) for name in names if _is_validity(name)}
            yield Block(key, planes, validity, {})


def batch_rows(dataset_row_bytes: int) -> int:
    """Return ``spark.sql.execution.arrow.maxRecordsPerBatch`` for rows of this many bytes.

    Spark counts rows, not bytes: its default of 10,000 blocks would be gigabytes.
    """
    return max(1, BLOCK_BYTES // max(1, dataset_row_bytes))


def _is_validity(name: str) -> bool:
    return name == "valid" or name.startswith("valid_")


def _pixels_of(
    batch: pa.RecordBatch,
    block: Block,
    order: Sequence[str],
    bands: Sequence[str],
    validity: Sequence[str],
    valid_only: bool,
) -> Iterator[pa.RecordBatch]:
    """Yield the pixels of one block's core, row by row, no more than :data:`PIXEL_ROWS` in a batch."""
    margin = block.margin
    core = (slice(margin, block.keys["height"] - margin), slice(margin, block.keys["width"] - margin))
    good = {name: block.validity[name][core].ravel() != 0 for name in validity}
    count = block[bands[0]][core].size
    keep = np.arange(count)
    if valid_only and good:
        keep = np.flatnonzero(np.logical_or.reduce(list(good.values())))
    wide = core[1].stop - core[1].start
    for first in range(0, len(keep), PIXEL_ROWS):
        part = keep[first : first + PIXEL_ROWS]
        row, column = np.divmod(part, wide)
        places = _places(block.crs, block.transform, margin, count // max(1, wide), wide)
        columns = {
            "row": pa.array(row.astype(np.int32)),
            "col": pa.array(column.astype(np.int32)),
            **{name: pa.array(values[part]) for name, values in zip(("x", "y", "lon", "lat"), places, strict=True)},
            **{band: pa.array(block[band][core].ravel()[part]) for band in bands},
            **{name: pa.array(values[part]) for name, values in good.items()},
        }
        repeat = pa.array(np.zeros(len(part), np.int64))
        yield pa.RecordBatch.from_pydict(
            {name: columns[name] if name in columns else batch.column(name).take(repeat) for name in order}
        )


@lru_cache(maxsize=4)
def _places(crs: str, transform: tuple[float, ...], margin: int, high: int, wide: int) -> tuple[Floats, ...]:
    """Return x, y, lon and lat of a core's pixel centres, row by row: one tile's images follow one another."""
    scale_x, _, left, _, scale_y, top = transform
    row, column = np.divmod(np.arange(high * wide), max(1, wide))
    x, y = left + (column + margin + 0.5) * scale_x, top + (row + margin + 0.5) * scale_y
    return x, y, *project(crs, LONLAT, x, y)
