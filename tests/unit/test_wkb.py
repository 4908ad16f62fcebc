"""WKB: shapely reads what we write."""

from __future__ import annotations

import numpy as np
import shapely

from ee_spark.planner.polygon import box
from ee_spark.planner.wkb import wkb_multipolygon, wkb_outlines


def test_outlines_are_polygons_with_their_positions() -> None:
    x = np.array([[0.0, 4.0, 4.0, 0.0, 0.0], [-180.0, -179.5, -179.5, -180.0, -180.0]])
    y = np.array([[1.0, 1.0, 0.0, 0.0, 1.0], [50.25, 50.25, 50.0, 50.0, 50.25]])
    found = [shapely.from_wkb(data) for data in wkb_outlines(x, y)]
    expected = [shapely.Polygon(np.column_stack(pair)) for pair in zip(x, y, strict=True)]
    assert [shape.equals_exact(other) for shape, other in zip(found, expected, strict=True)] == [True, True]
    assert wkb_outlines(x, y)[0] == shapely.to_wkb(expected[0], byte_order=1)
    assert wkb_outlines(np.zeros((0, 5)), np.zeros((0, 5))) == []


def test_a_multipolygon_keeps_parts_and_holes() -> None:
    whole, hole = box(0, 0, 10, 10)[0], box(2, 2, 4, 4)[0]
    polygons = ((whole, hole), box(20, -5, 30, 5))
    expected = shapely.MultiPolygon([(whole.tolist(), [hole.tolist()]), (box(20, -5, 30, 5)[0].tolist(), [])])
    assert wkb_multipolygon(polygons) == shapely.to_wkb(expected, byte_order=1)
    assert shapely.from_wkb(wkb_multipolygon(polygons)).area == 100 - 4 + 100
