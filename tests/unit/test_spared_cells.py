"""What footprints took away, beside the tiles that came: against a search of every cell."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
from hypothesis import given

from ee_spark.lane.spared import SIDES, Spared, reaches
from ee_spark.planner.validity import Validity

Run = tuple[int, int, int, int, int]
RUNS = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 3), st.integers(-4, 4), st.integers(-6, 6), st.integers(1, 4)),
    max_size=12,
)


def spared_of(runs: list[Run]) -> Spared:
    columns = np.array([(lattice, image, row, start, start + length) for lattice, image, row, start, length in runs])
    return Spared(("one", "two"), *columns.reshape(-1, 5).T.astype(np.int64))


def apart(runs: list[Run]) -> list[Run]:
    """Only those of the runs that overlap none before them, as a plan's never do."""
    kept: list[Run] = []
    for run in runs:
        same = [other for other in kept if other[:3] == run[:3]]
        if all(run[3] + run[4] <= other[3] or other[3] + other[4] <= run[3] for other in same):
            kept.append(run)
    return kept


@given(RUNS, st.integers(0, 1), st.integers(0, 3), st.integers(-5, 5), st.integers(-7, 7))
def test_the_sides_are_those_of_every_cell(runs: list[Run], lattice: int, image: int, row: int, column: int) -> None:
    runs = apart(runs)
    cells = {(r[0], r[1], r[2], c) for r in runs for c in range(r[3], r[3] + r[4])}
    wanted = [(dy, dx) for dy, dx in SIDES if (lattice, image, row + dy, column + dx) in cells]
    assert spared_of(runs).around(("one", "two")[lattice], image, row, column) == wanted


@given(RUNS, st.sets(st.integers(0, 3), min_size=1), st.integers(-4, 0), st.integers(0, 4))
def test_a_part_has_what_lies_near(runs: list[Run], images: set[int], low: int, high: int) -> None:
    runs, chosen = apart(runs), sorted(images)
    part = spared_of(runs).near(np.array(chosen), low, high)
    wanted = [(r[0], chosen.index(r[1]), *r[2:4], r[3] + r[4]) for r in runs if r[1] in images and low <= r[2] <= high]
    found = zip(*(getattr(part, name).tolist() for name in ("lattice", "image", "row", "start", "stop")), strict=True)
    assert sorted(found) == sorted(wanted)


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 2), st.data())
def test_a_side_is_reached_from_core_or_margin(height: int, width: int, margin: int, data: st.DataObject) -> None:
    shape = height + 2 * margin, width + 2 * margin
    row, column = (data.draw(st.integers(0, side - 1)) for side in shape)
    valid = np.zeros(shape, np.uint8)
    valid[row, column] = 1
    planes = {"b": np.zeros(shape, np.float32), "valid": valid}

    def step(at: int, side: int) -> set[int]:
        """In which directions a pixel lies on an edge of the core, or beyond it."""
        return {d for d, here in ((-1, at <= margin), (1, at >= side + margin - 1)) if here} | (
            {0} if margin <= at < side + margin else set()
        )

    for side in SIDES:
        wanted = side[0] in step(row, height) and side[1] in step(column, width)
        assert reaches(planes, Validity("band", ("b",)), margin, [side]) == wanted
        assert reaches({"b": valid}, Validity("none", ("b",)), margin, [side]) == wanted
    assert not reaches(planes, Validity("band", ("b",)), margin, [])
