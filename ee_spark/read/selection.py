"""Which rows and bands of a dataset are wanted, as Parquet's own statistics can answer it."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import and_, or_
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ee_spark.boundary import shown
from ee_spark.errors import ReadError
from ee_spark.job import is_date
from ee_spark.planner.extent import halves

Time = dt.datetime | dt.date | np.datetime64 | str
Box = tuple[float, float, float, float]
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True)
class Selection:
    """Which rows and bands are wanted; None is all. ``lattice`` is a key, which the names of parts have."""

    time: tuple[dt.datetime | None, dt.datetime | None] | None = None
    bbox: Box | None = None
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


def period(time: Sequence[Time | None] | Time) -> tuple[dt.datetime | None, dt.datetime | None]:
    """Return the start and end, in UTC, that a user means: a day where one is given.

    Raises:
        ReadError: for what is not a date, or a pair of them.
    """
    if isinstance(time, tuple | list):
        if len(time) != 2:
            raise ReadError(f"time: {shown(time)} is not a date or (start, end); either of the two may be None")
        start, end = (None if moment is None else _moment(moment) for moment in time)
        return start, end
    start = _moment(time)
    return start, start + dt.timedelta(days=1)


def _touches(bbox: Box) -> Any:
    edge = {name: pc.field("bbox", name) for name in ("xmin", "ymin", "xmax", "ymax")}
    parts = [
        (edge["xmax"] >= west) & (edge["xmin"] <= east) & (edge["ymax"] >= south) & (edge["ymin"] <= north)
        for west, south, east, north in halves(bbox)
    ]
    return reduce(or_, parts)


def names_of(names: str | Iterable[str], what: str) -> tuple[str, ...]:
    """Return one name or several as a tuple.

    Raises:
        ReadError: for what is not a text or several.
    """
    found = (names,) if isinstance(names, str) else tuple(names) if isinstance(names, Iterable) else (names,)
    for name in found:
        if not isinstance(name, str):
            raise ReadError(f"{what}: {shown(name)} is not a name; write a text, or a list of them")
    return tuple(map(str, found))


def box_of(bbox: Any) -> Box:
    """Return west, south, east, north in degrees; of a geometry or a GeoDataFrame, which has bounds, the box around it.

    Raises:
        ReadError: for what is not four numbers, or south above north.
    """
    try:
        bbox = getattr(bbox, "total_bounds", getattr(bbox, "bounds", bbox))
        west, south, east, north = map(float, bbox)
    except (TypeError, ValueError):
        raise ReadError(f"bbox: {shown(bbox)} is not four numbers; write (west, south, east, north)") from None
    if not (all(map(math.isfinite, (west, south, east, north))) and -90 <= south <= north <= 90):
        raise ReadError(
            f"bbox: {west:g}, {south:g}, {east:g}, {north:g} is not west, south, east, north in degrees; south lies "
            "below north"
        )
    return west, south, east, north


def _moment(time: Any) -> dt.datetime:
    try:
        if isinstance(time, str) and not is_date(time):
            raise ValueError("another form")
        moment = dt.datetime.fromisoformat(time) if isinstance(time, str) else time
        if isinstance(moment, np.datetime64):
            moment = moment.astype("datetime64[us]").item()  # None where it is not a time
        if isinstance(moment, dt.date) and not isinstance(moment, dt.datetime):
            moment = dt.datetime(moment.year, moment.month, moment.day)
        since = moment.replace(tzinfo=moment.tzinfo or dt.UTC) - _EPOCH
        return _EPOCH + dt.timedelta(since.days, since.seconds, since.microseconds)  # in UTC; NaT has no whole days
    except (ValueError, TypeError, AttributeError, OverflowError):
        raise ReadError(f"time: {shown(time)} is not a date; write e.g. 2020-01-01") from None


def _instant(moment: dt.datetime) -> pa.Scalar:
    return pa.scalar(moment, pa.timestamp("us", "UTC"))
