"""Which cells a polygon touches, against shapely: every cell of the box is asked."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from ee_spark.planner.cover import Runs, cover, union

SIDE = 12
CELLS = shapely.box(
    *np.meshgrid(np.arange(SIDE), np.arange(SIDE)), *np.meshgrid(np.arange(1, SIDE + 1), np.arange(1, SIDE + 1))
)


def edges_of(polygon):
    rings = [np.array(ring.coords) for ring in (polygon.exterior, *polygon.interiors)]
    return np.concatenate([np.column_stack([ring[:-1], ring[1:]]) for ring in rings])


def cells(runs: Runs) -> set[tuple[int, int]]:
    rows, columns = runs.cells()
    return set(zip(rows.tolist(), columns.tolist(), strict=True))


def overlapping(polygon, least: float = 0.0) -> set[tuple[int, int]]:
    """The (row, column) of cells with which the polygon shares more area than ``least``."""
    shared = shapely.area(shapely.intersection(CELLS, polygon))
    return {(int(row), int(column)) for row, column in zip(*np.nonzero(shared > least), strict=True)}


def well_formed(runs: Runs) -> None:
    assert (runs.start < runs.stop).all()
    key = runs.row * 1000 + runs.start
    assert (np.diff(key) > 0).all()
    same = np.diff(runs.row) == 0
    assert (runs.start[1:][same] > runs.stop[:-1][same]).all()


@st.composite
def polygons(draw):
    """Stars around a middle, sometimes with a hole, corners on cell borders as often as not."""
    count = draw(st.integers(3, 9))
    angles = np.sort(draw(st.lists(st.floats(0, 2 * np.pi), min_size=count, max_size=count, unique=True)))
    reach = np.array(draw(st.lists(st.floats(0.02, 5.5), min_size=count, max_size=count)))
    middle = np.array([draw(st.floats(5.6, 6.4)), draw(st.floats(5.6, 6.4))])
    ring = middle + reach[:, None] * np.column_stack([np.cos(angles), np.sin(angles)])
    if draw(st.booleans()):
        ring = np.rint(ring * 2) / 2
    shape = shapely.make_valid(shapely.Polygon(ring))
    if draw(st.booleans()):
        shape = shape.difference(shapely.affinity.scale(shape, 0.6, 0.6, origin=(6.2, 5.9)))
    return [part for part in getattr(shape, "geoms", [shape]) if part.geom_type == "Polygon" and part.area > 1e-6]


@settings(max_examples=400, deadline=None)
@given(polygons())
def test_the_cells_are_those_that_share_area_with_the_polygon(parts):
    runs = union([cover(edges_of(part)) for part in parts])
    well_formed(runs)
    whole = shapely.union_all(parts) if parts else shapely.Polygon()
    found = cells(runs)
    assert overlapping(whole, 1e-9) <= found
    # what shares less than this is float noise of either side, and is on the boundary
    for row, column in found - overlapping(whole, 0.0):
        assert whole.distance(shapely.box(column, row, column + 1, row + 1)) < 1e-9


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10), st.integers(0, 10), st.integers(1, 4), st.integers(1, 4), st.floats(-0.04, 0.04))
def test_a_border_that_runs_along_cells_touches_only_one_side(column, row, width, height, noise):
    box = shapely.box(column + noise, row - noise, column + width + noise, row + height - noise)
    expected = {(r, c) for r in range(row, row + height) for c in range(column, column + width)}
    assert cells(cover(edges_of(box), 0.05)) == expected


def test_a_sliver_is_found_in_every_cell_it_passes():
    sliver = shapely.Polygon([(0.5, 0.5), (11.5, 7.25), (11.5, 7.2501)])
    assert cells(cover(edges_of(sliver))) == overlapping(sliver)


def test_a_cell_wholly_inside_a_hole_is_not_touched():
    donut = shapely.box(1, 1, 9, 9).difference(shapely.box(3, 3, 7, 7))
    assert cells(cover(edges_of(donut))) == overlapping(donut)
    assert (4, 4) not in cells(cover(edges_of(donut)))


@pytest.mark.parametrize("shift", [-(2**20), 0, 2**20])
def test_negative_and_large_positions(shift):
    ring = edges_of(shapely.Point(6, 6).buffer(4))
    there = {(row - shift, column - shift) for row, column in cells(cover(ring + shift))}
    assert there == cells(cover(ring))


runs_strategy = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 20), st.integers(1, 6)), max_size=8)


@settings(max_examples=300, deadline=None)
@given(runs_strategy, runs_strategy, st.integers(1, 7))
def test_runs_are_sets_of_cells(first, second, width):
    a, b = (
        union([Runs(*(np.array([v]) for v in (row, start, start + length))) for row, start, length in given])
        for given in (first, second)
    )
    well_formed(a)
    sets = [
        {(row, column) for row, start, length in given for column in range(start, start + length)}
        for given in (first, second)
    ]
    assert cells(a) == sets[0]
    assert a.count == len(sets[0])
    assert cells(a & b) == sets[0] & sets[1]
    assert cells(union([a, b])) == sets[0] | sets[1]
    split = a.split(width)
    assert cells(split) == sets[0]
    assert (split.start // width == (split.stop - 1) // width).all()
