"""WKB (OGC 06-103r4): polygons as the tables' ``geometry`` columns hold them, and points and polygons of files."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ee_spark.planner.crs import Floats
from ee_spark.planner.polygon import Polygon

_POINT, _POLYGON, _MULTIPOINT, _MULTIPOLYGON, _COLLECTION = 1, 3, 4, 6, 7
_KINDS = {1: "Point", 2: "LineString", 3: "Polygon", 4: "MultiPoint", 5: "MultiLineString", 6: "MultiPolygon"}
_KINDS |= {7: "GeometryCollection", 10: "CurvePolygon", 12: "MultiSurface", 15: "PolyhedralSurface", 17: "Triangle"}
_POINT_BYTES = 21
_DEEPEST = 40


def wkb_outlines(x: Floats, y: Floats) -> list[bytes]:
    """Return n polygons of one closed ring of m positions each, given as (n, m)."""
    count, length = x.shape
    polygons: Any = np.zeros(
        count, [("order", "u1"), ("kind", "<u4"), ("rings", "<u4"), ("size", "<u4"), ("xy", "<f8", (length, 2))]
    )
    polygons["order"], polygons["kind"], polygons["rings"], polygons["size"] = 1, _POLYGON, 1, length
    polygons["xy"][..., 0], polygons["xy"][..., 1] = x, y
    return [polygon.tobytes() for polygon in polygons]


def wkb_multipolygon(polygons: tuple[Polygon, ...]) -> bytes:
    """Return polygons, each an outer ring and its holes, as one MultiPolygon."""
    parts = [_head(_POLYGON, len(rings)) + b"".join(_ring(ring) for ring in rings) for rings in polygons]
    return _head(_MULTIPOLYGON, len(polygons)) + b"".join(parts)


def _head(kind: int, *count: int) -> bytes:
    return b"\x01" + np.array([kind, *count], "<u4").tobytes()


def _ring(ring: Floats) -> bytes:
    return np.array([len(ring)], "<u4").tobytes() + ring.astype("<f8").tobytes()


def places_in(column: pa.Array) -> tuple[Floats, Floats]:
    """Return the coordinates of WKB points, of two dimensions or more; NaN where one is null or empty.

    Raises:
        ValueError: if one is something else, with its number.
    """
    column = column.cast(pa.binary())
    values = column.to_pylist() if not _plain(column) else None
    if values is None:
        offsets = np.frombuffer(column.buffers()[1], "<i4")[column.offset : column.offset + len(column) + 1]
        raw = np.frombuffer(column.buffers()[2], np.uint8)[offsets[0] : offsets[-1]].reshape(-1, _POINT_BYTES)
        if (raw[:, :5] == np.frombuffer(_head(_POINT), np.uint8)).all():
            xy = raw[:, 5:].copy().view("<f8")
            return xy[:, 0].copy(), xy[:, 1].copy()
        values = column.to_pylist()
    found = np.full((len(values), 2), np.nan)
    for row, value in enumerate(values):
        if value is not None:
            found[row] = _place(value, row)
    return found[:, 0].copy(), found[:, 1].copy()


def rings_in(data: bytes) -> list[list[Floats]]:
    """Return the polygons of a WKB geometry, each as its rings (n, 2).

    Raises:
        ValueError: if it is damaged, or holds anything but polygons.
    """
    reader = _Reader(data)
    found = list(reader.polygons())
    if reader.at != len(data):
        raise ValueError(f"a WKB of {len(data):,} bytes that ends at {reader.at:,}")
    return found


def _plain(column: pa.Array) -> bool:
    lengths = pc.binary_length(column)
    return len(column) > 0 and column.null_count == 0 and pc.all(pc.equal(lengths, _POINT_BYTES)).as_py()


def _place(value: bytes, row: int) -> tuple[float, float]:
    reader = _Reader(value)
    kind = reader.head()
    if kind == _MULTIPOINT and reader.count() == 1:
        kind = reader.head()
    if kind != _POINT:
        raise ValueError(f"point {row + 1} is a {_KINDS.get(kind, kind)}, not a Point")
    [place] = reader.positions(1).tolist()
    return place[0], place[1]


class _Reader:
    """A WKB from its beginning on, ISO's or extended (https://libgeos.org/specifications/wkb)."""

    def __init__(self, data: bytes) -> None:
        self._data, self.at = data, 0
        self._order, self._size = "<", 2

    def head(self) -> int:
        """Return the kind of the geometry that begins here, and heed its byte order and dimensions."""
        self._order = "<" if self._take("B") else ">"
        code = self._take("I")
        extra = bool(code & 0x80000000) + bool(code & 0x40000000)
        if code & 0x20000000:
            self._take("I")  # a number of a CRS, which the file says
        thousands, kind = divmod(code & 0x1FFFFFFF, 1000)
        self._size = 2 + extra + (0, 1, 1, 2)[thousands] if thousands < 4 else 2
        return kind

    def count(self) -> int:
        return self._take("I")

    def positions(self, count: int) -> Floats:
        """Return the next positions (count, 2)."""
        length = count * self._size * 8
        if self.at + length > len(self._data):
            raise ValueError(f"a WKB of {len(self._data):,} bytes that should have more")
        found = np.frombuffer(self._data, f"{self._order}f8", count * self._size, self.at)
        self.at += length
        return found.reshape(count, self._size)[:, :2].astype(np.float64)

    def polygons(self, depth: int = 0) -> Iterator[list[Floats]]:
        """Yield the polygons that begin here."""
        kind = self.head()
        if kind == _POLYGON:
            yield [self.positions(self.count()) for _ in range(self.count())]
        elif kind in (_MULTIPOLYGON, _COLLECTION) and depth < _DEEPEST:
            for _ in range(self.count()):
                yield from self.polygons(depth + 1)
        else:
            raise ValueError(f"a {_KINDS.get(kind, f'geometry of WKB type {kind}')} has no area")

    def _take(self, kind: str) -> int:
        try:
            [value] = struct.unpack_from(f"{self._order}{kind}", self._data, self.at)
        except struct.error:
            raise ValueError(f"a WKB of {len(self._data):,} bytes that should have more") from None
        self.at += struct.calcsize(f"={kind}")
        return int(value)
