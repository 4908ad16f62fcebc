"""Blocks in Spark: one row per pixel, or arrays in a function of one's own. Works on Spark 3.5 and 4.

Pixels are exploded by workers in Python, block by block: ``mapInArrow`` needs pandas and pyarrow there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from ee_spark.errors import ReadError, missing_extra
from ee_spark.objects import Settings
from ee_spark.planner.crs import LONLAT, Floats, project
from ee_spark.planner.validity import Validity, is_validity, validity_of_columns
from ee_spark.read.block import Block
from ee_spark.read.origin import validity_of_files
from ee_spark.read.rows import settings_of
from ee_spark.store.schema import validity_of_footer

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import DataType

NEEDED = ("tile_id", "image_id", "image_time", "crs", "transform", "width", "height", "margin")
PIXEL_ROWS = 1 << 18
"""Rows of one batch that goes back to Spark."""
BLOCK_BYTES = 32 << 20

Fill = float | Mapping[str, float]
"""What stands for masked samples: in every band, or in each; an empty mapping says that none is masked."""


def pixels(
    df: DataFrame,
    bands: Sequence[str] | None = None,
    *,
    valid_only: bool = True,
    fill: Fill | None = None,
    storage: Mapping[str, Any] | None = None,
) -> DataFrame:
    """Return one row per pixel of ``df``, which holds rows of ``pixels`` as ``spark.read.parquet`` gives them.

    Columns: ``tile_id``, ``image_id``, ``image_time``; ``row``, ``col`` of the pixel in its block's core; ``x``, ``y``
    of its centre in the units of ``crs``, ``lon``, ``lat`` in degrees; the points' columns; the bands; their validity
    as booleans (``valid`` or ``valid_<band>``), where the table has it. With ``mask: fill`` a sample that holds the
    fill value is null. Margins are left out: each pixel of the ground stands once per image.

    Args:
        df: rows of ``pixels``; filter it first, by ``image_time`` or ``bbox``: that is pushed down to Parquet.
        bands: the bands to keep; all by default.
        valid_only: leave out pixels that are valid in none of them.
        fill: what stands for masked samples where there are no validity columns: a number, or one for each band; ``{}``
            if none is masked. By default what the files say from which ``df`` was read.
        storage: how those files are reached on gs:// and s3://, as in a job file, e.g. ``{"anonymous": True}``.

    Raises:
        ReadError: if ``df`` lacks the columns that say where pixels lie, or a band; or if neither its columns nor its
            files nor ``fill`` say which samples are valid.
    """
    if find_spec("pandas") is None:
        raise missing_extra("pixels", "pandas", "local")
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
        raise ReadError(f"pixels: the DataFrame has no column {missing[0]!r}; hand on rows of the table pixels")
    arrays = {item.name: item.dataType for item in df.schema if isinstance(item.dataType, ArrayType)}
    arrays.pop("transform")
    found = {name: kind.elementType for name, kind in arrays.items() if not is_validity(name)}
    wanted = list(bands or found)
    for band in wanted:
        if band not in found:
            raise ReadError(f"pixels: no band {band!r}; the bands are {', '.join(found)}")
    rule = _rule_of(df, list(arrays), wanted, fill, settings_of(storage))
    after = df.columns[df.columns.index("point_id") :] if "point_id" in df.columns else []
    points = [name for name in after if name not in arrays]
    kinds: dict[str, DataType] = {
        **{"tile_id": StringType(), "image_id": StringType(), "image_time": TimestampType(), "crs": StringType()},
        **{name: IntegerType() for name in ("row", "col")},
        **{name: DoubleType() for name in ("x", "y", "lon", "lat")},
        **{name: df.schema[name].dataType for name in points},
        **{band: found[band] for band in wanted},
        **{name: BooleanType() for name in rule.columns},
    }
    schema = StructType([StructField(name, kind) for name, kind in kinds.items()])
    order = list(kinds)  # Spark matches the columns of a batch by their place

    def explode(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for index, block in enumerate(_blocks_of(batch, rule)):
                yield from _pixels_of(batch.slice(index, 1), block, rule, order, valid_only)

    return df.select(*NEEDED, *points, *wanted, *rule.columns).mapInArrow(explode, schema)


def fill_of(df: DataFrame, storage: Mapping[str, Any] | None = None) -> Mapping[str, float]:
    """Return what stands for masked samples in each band of ``df``; empty if none is masked, or validity columns tell.

    It is what :func:`blocks` takes as ``fill``, by the footers and the job.json of the files from which ``df`` was
    read.

    Raises:
        ReadError: if they do not say it.
    """
    if any(is_validity(name) for name in df.columns):
        return {}
    return _rule_of_files(df, settings_of(storage)).fill


def blocks(batches: Iterable[pa.RecordBatch], fill: Fill | None = None) -> Iterator[Block]:
    """Yield the blocks of Arrow record batches, for a function of one's own in ``mapInArrow``.

    Every list column but ``transform`` is a band, or validity by its name. Arrays are views of the batch.

    Args:
        batches: rows of ``pixels``.
        fill: what stands for masked samples with ``mask: fill``, e.g. by :func:`fill_of`: a number, or one for each
            band; ``{}`` with ``mask: none``. Without it, and without validity columns, ``valid`` of a block raises a
            ReadError.
    """
    for batch in batches:
        columns = _pixel_columns(batch)
        rule: Validity | None = validity_of_columns(columns)
        if fill is not None:
            rule = validity_of_columns(columns, _fills(fill, [name for name in columns if not is_validity(name)]))
        elif rule and not rule.known:
            rule = validity_of_footer(batch.schema.metadata)
        yield from _blocks_of(batch, rule)


def batch_rows(dataset_row_bytes: int) -> int:
    """Return ``spark.sql.execution.arrow.maxRecordsPerBatch`` for rows of this many bytes.

    Spark counts rows, not bytes: its default of 10,000 blocks would be gigabytes.
    """
    return max(1, BLOCK_BYTES // max(1, dataset_row_bytes))


def _rule_of(
    df: DataFrame, columns: Sequence[str], bands: Sequence[str], fill: Fill | None, settings: Settings
) -> Validity:
    """Return which samples of the bands are valid, by the validity columns, ``fill`` or the files of ``df``."""
    by_columns = validity_of_columns(columns)
    if fill is not None:
        if by_columns.known:
            names = ", ".join(by_columns.columns)
            raise ReadError(f"pixels: fill: the DataFrame says by {names} what is valid; leave out fill")
        return validity_of_columns(bands, _fills(fill, bands))
    rule = (by_columns if by_columns.known else _rule_of_files(df, settings)).select(bands)
    lacking = [name for name in rule.columns if name not in columns]
    lacking += [band for band in bands if rule.mask == "fill" and band not in rule.fill]
    if lacking:
        what = f"no column {lacking[0]!r}" if rule.columns else f"no fill value of the band {lacking[0]!r}"
        raise ReadError(f"pixels: the DataFrame has {what}, which says where it is valid; keep it, or pass fill=")
    return rule


def _rule_of_files(df: DataFrame, settings: Settings) -> Validity:
    files = df.inputFiles()
    rule = validity_of_files(files, settings)
    if rule is None:
        why = f"{len(files)} files of it do not say it" if files else "it was read from no file"
        raise ReadError(
            f"pixels: the DataFrame has no validity columns, and {why}: pass fill=VALUE (or {{band: value}}) for what "
            "stands for masked pixels (mask: fill), or fill={} if none is masked (mask: none)"
        )
    return rule


def _fills(fill: Fill, bands: Sequence[str]) -> dict[str, float]:
    """Return a fill value for each band, or none for any.

    Raises:
        ReadError: if some of the bands have none.
    """
    if not isinstance(fill, Mapping):
        return dict.fromkeys(bands, fill)
    lacking = [band for band in bands if fill and band not in fill]
    if lacking:
        raise ReadError(f"fill: there is no value for the band {lacking[0]!r}; write one for each band, or a number")
    return {band: fill[band] for band in bands if fill}


def _pixel_columns(batch: pa.RecordBatch) -> list[str]:
    """Return the names of a batch's bands and validity columns."""
    return [
        item.name
        for item in batch.schema
        if (pa.types.is_list(item.type) or pa.types.is_large_list(item.type)) and item.name != "transform"
    ]


def _blocks_of(batch: pa.RecordBatch, rule: Validity | None) -> Iterator[Block]:
    names = _pixel_columns(batch)
    keys = batch.select([name for name in batch.schema.names if name not in names]).to_pylist()
    lists = {name: batch.column(name) for name in names}
    for index, key in enumerate(keys):
        shape = key["height"], key["width"]
        planes = {
            name: values[index].values.to_numpy(zero_copy_only=False).reshape(shape) for name, values in lists.items()
        }
        validity = {name: planes.pop(name).astype(np.uint8) for name in names if is_validity(name)}
        yield Block(key, planes, validity, rule)


def _pixels_of(
    batch: pa.RecordBatch, block: Block, rule: Validity, order: Sequence[str], valid_only: bool
) -> Iterator[pa.RecordBatch]:
    """Yield the pixels of one block's core, row by row, no more than :data:`PIXEL_ROWS` in a batch."""
    margin = block.margin
    core = (slice(margin, block.keys["height"] - margin), slice(margin, block.keys["width"] - margin))
    planes = {name: plane[core].ravel() for name, plane in {**block.planes, **block.validity}.items()}
    high, wide = (side.stop - side.start for side in core)
    valid = rule.any(planes) if valid_only else None
    keep = np.arange(high * wide) if valid is None else np.flatnonzero(valid)
    masked = {band: rule.of(band, planes) for band in rule.fill}
    for first in range(0, len(keep), PIXEL_ROWS):
        part = keep[first : first + PIXEL_ROWS]
        row, column = np.divmod(part, wide)
        places = _places(block.crs, block.transform, margin, high, wide)
        nulls = {band: ~good[part] for band, good in masked.items() if good is not None}
        columns = {
            "row": pa.array(row.astype(np.int32)),
            "col": pa.array(column.astype(np.int32)),
            **{name: pa.array(values[part]) for name, values in zip(("x", "y", "lon", "lat"), places, strict=True)},
            **{band: pa.array(planes[band][part], mask=nulls.get(band)) for band in rule.bands},
            **{name: pa.array(planes[name][part] != 0) for name in rule.columns},
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
