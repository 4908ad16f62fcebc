"""The images of a source: what the service says of each, as columns, never as objects."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ee_spark.planner.columns import TIME
from ee_spark.planner.crs import Ints
from ee_spark.planner.footprint import Footprints
from ee_spark.planner.lattice import Lattice
from ee_spark.planner.raster import Rasters

ID = "ee_spark/placeholder/image"
VERSION = 4398046511104123  # stands for an image's version in a template: the year 2109, no asset's
SHEARED, WITHOUT_DIMENSIONS = "sheared", "without dimensions"
"""Why the pixels of a band do not lie on its lattice: its grid is sheared or rotated, or a placeholder."""
NO_TIME = np.iinfo(np.int64).min
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True)
class StoredBand:
    """One band of a stored image: its name, the numpy type of its pixels, and the lattice they lie on.

    ``oddity`` is why they do not lie there (``SHEARED``, ``WITHOUT_DIMENSIONS``), else "".
    """

    name: str
    dtype: str
    lattice: Lattice
    oddity: str = ""


Signature = tuple[StoredBand, ...]


def names(signature: Signature) -> str:
    """Return a signature's band names for people."""
    return ", ".join(band.name for band in signature)


@dataclass(frozen=True)
class Images:
    """n images in the order of their time and id.

    ``time`` and ``version`` are microseconds since 1970 (``NO_TIME`` where there is none), ``signature`` indexes
    ``signatures``. ``footprints`` is where the service says that they are, ``rasters`` where their pixels
    lie (None: they are computed). ``properties`` are JSON texts, ``notes`` what a plan should say of how the images
    were found.
    """

    ids: tuple[str, ...]
    time: Ints
    end: Ints
    version: Ints
    signature: Ints
    signatures: tuple[Signature, ...]
    footprints: Footprints
    properties: Sequence[str]
    without_time: int = 0
    rasters: Rasters | None = None
    notes: tuple[tuple[str, str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.ids)


def instant(text: str) -> dt.datetime:
    """Return an ISO date or timestamp (UTC where it names no zone) as a moment, in its own offset."""
    value = dt.datetime.fromisoformat(text)
    return value if value.tzinfo else value.replace(tzinfo=dt.UTC)


def microseconds(text: str) -> int:
    """Return an ISO date or timestamp (UTC where it names no zone) as microseconds since 1970."""
    return (instant(text) - _EPOCH) // dt.timedelta(microseconds=1)


def moment(time: int) -> dt.datetime:
    """Return microseconds since 1970 as a moment in UTC."""
    return _EPOCH + dt.timedelta(microseconds=time)


def iso(time: int) -> str:
    """Return microseconds since 1970 as an ISO timestamp in UTC."""
    return moment(time).isoformat().replace("+00:00", "Z")


def timestamps(values: Iterable[int]) -> pa.Array:
    """Return microseconds since 1970 as a column of the tables; null where there is none (``NO_TIME``, or -1)."""
    return pa.array([None if value in (NO_TIME, -1) else value for value in values], TIME)


def table_schema() -> pa.Schema:
    """Return the columns of ``images/part-0.parquet``."""
    return pa.schema(
        [
            pa.field("image_id", pa.string(), nullable=False),
            pa.field("image_time", TIME),
            pa.field("image_end", TIME),
            pa.field("version", TIME),
            pa.field("changed", pa.bool_(), nullable=False),
            pa.field("geometry", pa.binary()),
            pa.field("properties", pa.string(), nullable=False),
        ]
    )
