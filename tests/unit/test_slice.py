"""Slices: the same after a way through bytes, and after a cut the same pairs with no more than they index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ee_spark.lane.deal import deal, gathered
from ee_spark.lane.slice import Slice, decode, encode
from ee_spark.planner.chunk import Chunk
from ee_spark.planner.lattice import Lattice
from ee_spark.planner.points import Points
from ee_spark.planner.tile import Shape

LATTICES = (Lattice("EPSG:32633", 10.0, 10.0, 3.5, -1e-9), Lattice("EPSG:4326", 0.1, 1 / 3), Lattice("WKT[x]", 1, 2))
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
WHOLE = st.integers(-(2**62), 2**62)
COLUMNS = {
    "none": pa.table({}),
    "typed": pa.table({"n": pa.array([None, 2, 3, 4, 5], pa.int16()), "s": pa.array(["ä", "", None, "d", "e"])}),
    "nested": pa.table({"list": [[1.5], None, [], [2.0, None], [3.0]], "when": pa.array([1, 2, 3, 4, 5], pa.date32())}),
}


def points(columns: str) -> Points:
    random = np.random.default_rng(1)
    return Points(("a", "b", "c", "ß", ""), random.uniform(-180, 180, 5), random.uniform(-90, 90, 5), COLUMNS[columns])


@st.composite
def slices(draw: st.DrawFn) -> Slice:
    images = draw(st.integers(1, 6))
    held = points(draw(st.sampled_from(sorted(COLUMNS)))) if draw(st.booleans()) else None
    numbers = st.integers(0, 4) if held else st.integers(-(2**40), 2**40)
    chunks = []
    for number in range(draw(st.integers(0, 5))):
        runs = draw(st.lists(st.tuples(numbers, st.integers(-9, 9), st.integers(1, 9)), max_size=5))
        row, start = (np.array([run[at] for run in runs], np.int64) for at in (0, 1))
        stop = start + np.array([run[2] for run in runs], np.int64)
        if held:
            start, stop = np.zeros_like(row), np.ones_like(row)
        image = np.array([draw(st.integers(0, images - 1)) for _ in runs], np.int64)
        chunks.append(Chunk(f"key{number}", draw(st.sampled_from(LATTICES)), row, start, stop, image))
    of_each = st.lists(TEXT, min_size=images, max_size=images).map(tuple)
    times = st.lists(WHOLE, min_size=images, max_size=images).map(tuple)
    graphs = draw(st.one_of(st.just(()), st.tuples(TEXT), of_each))
    return Slice(tuple(chunks), draw(of_each), draw(times), draw(times), graphs, held)


def plain(part: Slice) -> dict[str, Any]:
    """A slice as values that can be compared."""
    held = part.points
    return {
        "chunks": [
            (chunk.key, chunk.lattice, *(getattr(chunk, name).tolist() for name in ("row", "start", "stop", "image")))
            for chunk in part.chunks
        ],
        "types": {getattr(chunk, name).dtype.str for chunk in part.chunks for name in ("row", "start", "image")},
        "images": (part.image_ids, part.image_times, part.image_versions),
        "graphs": part.graphs,
        "points": held and (held.ids, held.lon.tobytes(), held.lat.tobytes(), held.columns.schema, held.columns),
    }


@settings(deadline=None)
@given(slices())
def test_a_slice_comes_back_from_bytes_as_it_went(part: Slice) -> None:
    assert plain(decode(encode(part))) == plain(part)
    assert encode(decode(encode(part))) == encode(part)


@settings(deadline=None)
@given(slices(), st.data())
def test_a_cut_has_the_same_pairs_and_no_more_than_they_index(part: Slice, data: st.DataObject) -> None:
    chosen = [chunk for chunk in part.chunks if data.draw(st.booleans())]
    own = part.cut(chosen)
    before = [_pairs(part, chunk) for chunk in chosen]
    assert [_pairs(own, chunk) for chunk in own.chunks] == before
    assert set(range(len(own.image_ids))) == {int(i) for chunk in own.chunks for i in chunk.image}
    assert len(own.image_times) == len(own.image_versions) == len(own.image_ids)
    if own.points:
        assert set(range(len(own.points.ids))) == {int(row) for chunk in own.chunks for row in chunk.row}


def _pairs(part: Slice, chunk: Chunk) -> list[tuple[Any, ...]]:
    """What a lane makes of a chunk, pair by pair."""
    found = []
    for row, start, stop, image in zip(chunk.row, chunk.start, chunk.stop, chunk.image, strict=True):
        place: tuple[Any, ...] = (int(row),)
        if part.points:
            taken = part.points.take(np.array([row]))
            place = (taken.ids, taken.lon.tolist(), taken.lat.tolist(), taken.columns.to_pylist())
        name, time, version = (of[image] for of in (part.image_ids, part.image_times, part.image_versions))
        found.append((*place, int(start), int(stop), name, time, version, part.graph(int(image))))
    return found


def test_keys_are_those_of_the_chunks_pairs() -> None:
    row = np.array([0, 0, 2])
    chunk = Chunk("k", LATTICES[0], row, np.zeros(3, np.int64), np.ones(3, np.int64), np.array([1, 0, 1]))
    part = Slice((chunk,), ("I", "J"), (1, 2), (-1, -1), (), points("none"))
    assert part.keys(chunk, Shape(3, 3), snap=True) == [("a", "I"), ("a", "J"), ("c", "J")]


@pytest.mark.parametrize("cut", [1, 100, -20])
def test_bytes_that_are_cut_short_are_refused(cut: int) -> None:
    data = encode(Slice((), ("I",), (1,), (1,), ("g",), points("typed")))
    with pytest.raises((pa.ArrowInvalid, OSError, KeyError)):
        decode(data[:cut])


@given(st.lists(st.integers(1, 5), max_size=40), st.integers(1, 7), st.randoms(use_true_random=False))
def test_gathered_lanes_have_the_same_loads(sizes: list[int], lanes: int, random: Any) -> None:
    place = [random.randint(0, 9) for _ in sizes]
    before = deal(sizes, lanes)
    after = gathered(sizes, before, place)
    assert sorted(index for lane in after for index in lane) == list(range(len(sizes)))
    assert [_sizes(sizes, lane) for lane in after] == [_sizes(sizes, lane) for lane in before]


def _sizes(sizes: Sequence[int], lane: Sequence[int]) -> list[int]:
    return sorted(sizes[index] for index in lane)
