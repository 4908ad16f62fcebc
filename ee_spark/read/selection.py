"""Which rows and bands of a dataset are wanted, as Parquet's own statistics can answer it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import reduce
from operator import and_, or_
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ee_spark.boundary import shortened
from ee_spark.errors import ReadError
from ee_spark.planner.extent import halves

Time = dt.datetime | dt.date | str


@dataclass(frozen=True)
class Selection:
    """Which rows and bands are wanted; None is all. ``lattice`` is a key, which the names of parts have."""

    time: tuple[dt.datetime | None, dt.datetime | None] | None = None
    bbox: tuple[float, float, float, float] | None = None
    tiles: tuple[str, ...] | None = None
    images: tuple[str, ...] | None = None
    points: tuple[str, ...] | None = None
    crs: str | None = None
    bands: tuple[str, ...] | None = None
    lattice: str | None = None

    @property
    def filter(self) -> Any:
        """The rows as an Arrow expression, which Parquet's statistics answer for most row groups; None for all."""
        return self.filter_by(boxes=True)

    def filter_by(self, *, boxes: bool) -> Any:
        """Return the same; ``boxes``: with a bbox, only rows whose box it touches.

        Of these the tiles themselves decide, and alone where the boxes are those of an earlier version.
        """
        found = []
        if self.time:
            start, end = self.time
            found += [pc.field("image_time") >= _instant(start)] if start else []
            found += [pc.field("image_time") < _instant(end)] if end else []
        if self.bbox and boxes:
            found.append(_touches(self.bbox))
        for column, names in (("tile_id", self.tiles), ("image_id", self.images), ("point_id", self.points)):
            if names is not None:
                one = len(names) == 1  # of which statistics rule out more
                values = pa.array(names, pa.string())
                found.append(pc.field(column) == names[0] if one else pc.field(column).isin(values))
        if self.crs:
            found.append(pc.field("crs") == self.crs)
        return reduce(and_, found) if found else None


def period(time: tuple[Time | None, Time | None] | Time) -> tuple[dt.datetime | None, dt.datetime | None]:
    """Return the start and end, in UTC, that a user means: a day where one is given.

    Raises:
        ReadError: for a text that is not a date.
    """
    if isinstance(time, tuple):
        start, end = (None if moment is None else _moment(moment) for moment in time)
        return start, end
    start = _moment(time)
    return start, start + dt.timedelta(days=1)


def _touches(bbox: tuple[float, float, float, float]) -> Any:
    edge = {name: pc.field("bbox", name) for name in ("xmin", "ymin", "xmax", "ymax")}
    parts = [
        (edge["xmax"] >= west) & (edge["xmin"] <= east) & (edge["ymax"] >= south) & (edge["ymin"] <= north)
        for west, south, east, north in halves(bbox)
    ]
    return reduce(or_, parts)


def _moment(time: Time) -> dt.datetime:
    try:
        moment = dt.datetime.fromisoformat(time) if isinstance(time, str) else time
    except ValueError:
        raise ReadError(f"time: {shortened(time)!r} is not a date; write e.g. 2020-01-01") from None
    if not isinstance(moment, dt.datetime):
        moment = dt.datetime(moment.year, moment.month, moment.day)
    return moment.replace(tzinfo=moment.tzinfo or dt.UTC)


def _instant(moment: dt.datetime) -> pa.Scalar:
    return pa.scalar(moment, pa.timestamp("us", "UTC"))
