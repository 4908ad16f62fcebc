"""Polygons as little-endian WKB (OGC 06-103r4), which the tables' ``geometry`` columns hold."""

from __future__ import annotations

from typing import Any

import numpy as np

from ee_spark.planner.crs import Floats
from ee_spark.planner.polygon import Polygon

_POLYGON, _MULTIPOLYGON = 3, 6


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


def _head(kind: int, count: int) -> bytes:
    return b"\x01" + np.array([kind, count], "<u4").tobytes()


def _ring(ring: Floats) -> bytes:
    return np.array([len(ring)], "<u4").tobytes() + ring.astype("<f8").tobytes()
