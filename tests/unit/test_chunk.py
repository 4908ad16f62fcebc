"""Chunks: every pair once, whatever the run's extent; keys that name logs; halves."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ee_spark.planner.chunk import Chunk, block_side, bucket_days, by_time, cut, morton
from ee_spark.planner.cover import Runs, union
from ee_spark.planner.images import NO_TIME
from ee_spark.planner.lattice import Lattice
from ee_spark.planner.points import Points
from ee_spark.planner.tile import Shape, patches

LATTICES = (Lattice("EPSG:32610", 30.0, 30.0, 15.0, 15.0), Lattice("EPSG:32611", 30.0, 30.0))
SHAPE = Shape(16, 16)
DAY = 86_400_000_000


def runs_of(cells: set[tuple[int, int]]) -> Runs:
    return union([Runs(*(np.array([value]) for value in (row, column, column + 1))) for row, column in sorted(cells)])


cells_strategy = st.sets(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=1, max_size=40)
plans = st.lists(st.tuples(st.integers(0, 1), cells_strategy), min_size=1, max_size=6)


def pairs_by_chunk(pairs) -> dict[str, set[tuple[str, int]]]:
    found: dict[str, set[tuple[str, int]]] = {}
    for number in range(len(pairs)):
        chunk = pairs.chunk(number)
        assert chunk.key not in found
        tiles, tile, image = chunk.pairs(SHAPE, None, snap=True)
        listed = [(tiles.ids[t], i) for t, i in zip(tile.tolist(), image.tolist(), strict=True)]
        assert len(set(listed)) == len(listed) == chunk.count
        assert len(set(tiles.ids)) == len(tiles)
        found[chunk.key] = set(listed)
    return found


@settings(max_examples=150, deadline=None)
@given(plans, st.sampled_from([1, 2, 4, 8]), st.sampled_from([1, 16, 16384]), st.integers(0, 2**31))
def test_the_pairs_of_all_chunks_are_the_pairs_each_once(plan, side, days, seed):
    time = np.random.default_rng(seed).integers(-100 * DAY, 20_000 * DAY, len(plan))
    time[::4] = NO_TIME
    found = [(lattice, image, runs_of(cells)) for image, (lattice, cells) in enumerate(plan)]
    pairs = by_time(cut(LATTICES, found, side), time, days)
    listed = pairs_by_chunk(pairs)
    expected = {
        (f"{LATTICES[lattice].prefix}/r{row}c{column}", image)
        for image, (lattice, cells) in enumerate(plan)
        for row, column in cells
    }
    assert set().union(*listed.values()) == expected
    assert sum(map(len, listed.values())) == len(expected) == pairs.count == int(pairs.counts.sum())
    for key, members in listed.items():  # one lattice, one block, one time bucket
        assert "-" not in key
        places = [tile.rpartition("/r")[2].split("c") for tile, _ in members]
        assert len({(int(row) // side, int(column) // side) for row, column in places}) == 1
        assert len({time[i] if time[i] == NO_TIME else time[i] // (days * DAY) for _, i in members}) == 1


@settings(max_examples=100, deadline=None)
@given(plans, plans, st.sampled_from([1, 4]), st.integers(0, 2**31))
def test_a_pair_is_in_the_same_chunk_whatever_else_a_run_plans(first, second, side, seed):
    time = np.random.default_rng(seed).integers(0, 20_000 * DAY, 12)

    def where(parts, shift):
        found = [(lattice, image + shift, runs_of(cells)) for image, (lattice, cells) in enumerate(parts)]
        listed = pairs_by_chunk(by_time(cut(LATTICES, found, side), time, 16))
        return {pair: key for key, members in listed.items() for pair in members}

    alone, other = where(first, 0), where(second, len(first))
    both = [(lattice, image, runs_of(cells)) for image, (lattice, cells) in enumerate([*first, *second])]
    listed = pairs_by_chunk(by_time(cut(LATTICES, both, side), time, 16))
    together = {pair: key for key, members in listed.items() for pair in members}
    assert together == alone | other


@settings(max_examples=100, deadline=None)
@given(plans)
def test_halves_hold_each_pair_once(plan):
    found = [(0, image, runs_of(cells)) for image, (_, cells) in enumerate(plan)]
    pairs = cut(LATTICES, found, 64)
    for number in range(len(pairs)):
        chunk = pairs.chunk(number)
        if chunk.count < 2:
            continue
        parts = chunk.halves()
        lists = []
        for part in parts:
            assert part.key == chunk.key
            tiles, tile, image = part.pairs(SHAPE, None, snap=True)
            lists.append({(tiles.ids[t], i) for t, i in zip(tile.tolist(), image.tolist(), strict=True)})
        tiles, tile, image = chunk.pairs(SHAPE, None, snap=True)
        whole = {(tiles.ids[t], i) for t, i in zip(tile.tolist(), image.tolist(), strict=True)}
        assert lists[0] | lists[1] == whole
        assert not lists[0] & lists[1]
        assert all(lists)


def test_a_chunk_can_be_cut_down_to_single_tiles():
    whole = Chunk("k", LATTICES[0], *(np.array(v) for v in ([0, 1], [0, 0], [5, 3], [0, 0])))
    todo, single = [whole], []
    while todo:
        chunk = todo.pop()
        if chunk.count == 1:
            single.append((int(chunk.row[0]), int(chunk.start[0])))
        else:
            todo += chunk.halves()
    assert sorted(single) == [(0, c) for c in range(5)] + [(1, c) for c in range(3)]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(0, 2**31), st.booleans())
def test_points_are_in_chunks_by_their_place_and_sorted_by_id(count, seed, snap):
    rng = np.random.default_rng(seed)
    lon, lat = rng.uniform(-124, -122, count), rng.uniform(36, 38, count)
    ids = tuple(f"p{number}" for number in rng.permutation(1000)[:count])
    order = rng.permutation(count)

    def chunks(index):
        points = Points(tuple(ids[i] for i in index), lon[index], lat[index], pa.table({"n": pa.array(index)}))
        tiles = patches(LATTICES[0], SHAPE, points, snap=snap)
        every = np.arange(len(index))
        pairs = cut(
            LATTICES[:1],
            [(0, 0, Runs(every, np.zeros_like(every), np.ones_like(every)))],
            64,
            [(tiles.left / 16, tiles.top / 16)],
        )
        found = {}
        for number in range(len(pairs)):
            tiles, tile, _ = pairs.chunk(number).pairs(SHAPE, points, snap=snap)
            assert list(tiles.ids) == sorted(tiles.ids)
            assert tile.tolist() == sorted(tile.tolist())
            found[pairs.chunk(number).key] = set(tiles.ids)
            for name, n in zip(tiles.ids, tiles.points.columns["n"].to_pylist(), strict=True):
                assert ids[n] == name
        return found

    assert chunks(np.arange(count)) == chunks(order)
    assert set().union(*chunks(order).values()) == set(ids)


@given(st.integers(1, 100_000_000), st.booleans())
def test_a_block_is_a_power_of_two_and_about_a_chunks_bytes(tile_bytes, points):
    side = block_side(tile_bytes, points=points)
    assert side & (side - 1) == 0
    tiles = (side / (16 if points else 1)) ** 2
    assert tiles * tile_bytes <= 128_000_000 or tiles == 1
    assert tiles <= 4096


@pytest.mark.parametrize(
    ("images", "tiles", "packed"), [(100, 4, False), (2000, 64, False), (300, 64, True), (1, 1, False)]
)
def test_time_buckets_keep_chunks_from_growing(images, tiles, packed):
    cells = {(row, column) for row in range(8) for column in range(tiles // 8 or 1)}
    runs = runs_of(cells)
    pairs = cut(LATTICES, [(0, image, runs) for image in range(images)], 8)
    time = np.arange(images, dtype=np.int64) * 5 * DAY
    tile_bytes = 100_000
    days = bucket_days(pairs, time, tile_bytes, packed=packed)
    assert days & (days - 1) == 0
    largest = by_time(pairs, time, days).counts.max()
    assert largest * tile_bytes <= 4 * 128_000_000 or days == 1


@given(
    st.lists(
        st.tuples(st.integers(-(2**20), 2**20), st.integers(-(2**20), 2**20)), min_size=2, max_size=50, unique=True
    )
)
def test_morton_numbers_are_distinct_and_keep_neighbours_near(cells):
    rows, columns = np.array(cells).T
    assert len(set(morton(rows, columns).tolist())) == len(cells)
    square = np.array([(r, c) for r in range(4) for c in range(4)])
    assert sorted(morton(*square.T).tolist()) == list(range(16))
