"""Lanes at work on an emulator and a real directory, most of them without Spark."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from emulator_client import asset, get, post, write_catalog, write_raster
from hypothesis import given, settings
from hypothesis import strategies as st

import ee_emulator as emulator
from ee_spark import config, extract
from ee_spark.client import Service
from ee_spark.datasource import fetched
from ee_spark.lane import work
from ee_spark.lane.deal import Share, deal, even, make_shares
from ee_spark.lane.notes import Notes, clear, clear_dead
from ee_spark.lane.record import LaneRecord
from ee_spark.lane.rounds import Suspect, left_over, narrowed, next_shares, run_rounds
from ee_spark.lane.slice import Slice, encode
from ee_spark.lane.tally import count_unclosed
from ee_spark.objects import open_store
from ee_spark.planner.chunk import Chunk, by_time, cut
from ee_spark.planner.cover import Runs
from ee_spark.planner.lattice import Lattice
from ee_spark.planner.points import Points, point_ids
from ee_spark.store import manifest, runs

IMAGES, TILES = 5, 12
TRANSFORM = [10.0, 0.0, 330_080.0, 0.0, -10.0, 5_822_400.0]


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five images of 4 × 3 tiles of 16 pixels, a corner of each tile masked, and one tile of image 2 wholly."""
    folder = tmp_path_factory.mktemp("lanes")
    for image in range(IMAGES):
        write_raster(folder / f"{image}.tif", truth(image), TRANSFORM, "EPSG:32633", nodata=0)
    assets = [
        asset(f"T/C/{image}", {"v": f"{image}.tif"}, start=f"2020-0{image + 1}-01T00:00:00Z") for image in range(IMAGES)
    ]
    return write_catalog(folder, assets)


def truth(image: int) -> np.ndarray[Any, Any]:
    values = np.random.default_rng(image).integers(1, 9999, (48, 64)).astype(np.uint16)
    values[::16, ::16] = 0
    if image == 2:
        values[16:32, 32:48] = 0
    return values


@pytest.fixture(scope="module")
def url(catalog: Path) -> Iterator[str]:
    with emulator.start(catalog) as running:
        yield running.url


def job(url: str, path: Path, **more: Any) -> dict[str, Any]:
    data: dict[str, Any] = {
        "name": "lane-test",
        "earth_engine": {"endpoint": url, "lanes": 1, "concurrent_requests": 16, "requests_per_minute": 60_000},
        "source": {"collection": "T/C"},
        "region": {"bbox": [12.4958, 52.5212, 12.5044, 52.5250]},
        "grid": {"crs": "EPSG:32633", "scale": 10, "align": "asset", "tile": 16},
        "pixels": {"images_per_request": 1},
        "output": {"path": str(path)},
    }
    for key, value in more.items():
        data[key] = {**data.get(key, {}), **value}
    return data


def prepared(data: dict[str, Any], run_id: str = "run") -> list[Share]:
    """Do what a run does before its lanes begin; one lane."""
    parsed = config.parse(data)
    store = open_store(parsed.output.path)
    plan = extract.join_dataset(parsed, Service(parsed.earth_engine.endpoint, "local", "anonymous"), store)
    manifest.open_tables(store, manifest.layout_of(plan))
    run_id = runs.start_run(store, plan, run_id)
    return make_shares(plan, plan.images.version, run_id, slots=int(parsed.earth_engine.lanes), nonce="")


def rows(path: Path, table: str) -> dict[tuple[str, str], dict[str, Any]]:
    found = pq.read_table(path / table).to_pylist()
    keyed = {(row["tile_id"], row["image_id"]): row for row in found}
    assert len(keyed) == len(found)  # never doubled
    return keyed


def check_pixels(path: Path) -> int:
    found = rows(path, "pixels")
    for (_, image), row in found.items():
        values = truth(int(image.rpartition("/")[2]))
        x, y = round((row["transform"][2] - TRANSFORM[2]) / 10), round((TRANSFORM[5] - row["transform"][5]) / 10)
        whole = np.zeros((16, 16), np.uint16)
        top, left, bottom, right = max(0, y), max(0, x), min(48, y + 16), min(64, x + 16)
        whole[top - y : bottom - y, left - x : right - x] = values[top:bottom, left:right]
        np.testing.assert_array_equal(np.array(row["v"]).reshape(16, 16), whole)
        np.testing.assert_array_equal(np.array(row["valid"]).reshape(16, 16), whole > 0)
    return len(found)


def worked(share: Share, attempt: int = 0) -> LaneRecord:
    return work(share.lane(None), attempt)


def counts(record: LaneRecord) -> dict[str, int]:
    named = {name: getattr(record, name) for name in ("ok", "empty", "failed", "skipped", "missing")}
    return {name: count for name, count in named.items() if count}


def test_a_lane_fetches_publishes_and_resumes(url: str, tmp_path: Path) -> None:
    (lane,) = prepared(job(url, tmp_path))
    record = worked(lane)
    planned = sum(chunk.count for chunk in lane.chunks)
    assert counts(record)["ok"] == check_pixels(tmp_path)
    assert record.ok + record.empty == planned == record.traffic.requests
    assert record.empty >= 1
    tiles = rows(tmp_path, "tiles")
    assert len(tiles) == planned
    assert {row["status"] for row in tiles.values()} == {"ok", "empty"}
    assert all(row["attempts"] == row["requests"] == 1 and row["bytes_in"] > 0 for row in tiles.values())
    again = worked(prepared(job(url, tmp_path))[0])
    assert counts(again) == {"skipped": planned}
    assert again.traffic.requests == 0
    assert len(rows(tmp_path, "pixels")) == record.ok


def test_lanes_side_by_side_share_chunks_without_doubling(url: str, tmp_path: Path) -> None:
    (lane,) = prepared(job(url, tmp_path))
    chunks = [half for chunk in lane.chunks for half in chunk.halves()]
    lanes = [replace(lane, index=index, chunks=tuple(chunks[index::2])) for index in range(2)]
    found: list[LaneRecord] = []
    threads = [threading.Thread(target=lambda lane=lane: found.append(worked(lane))) for lane in lanes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sum(record.ok for record in found) == check_pixels(tmp_path)
    assert sum(record.ok + record.empty for record in found) == sum(chunk.count for chunk in chunks)


def test_packed_and_unpacked_are_the_same_rows(url: str, tmp_path: Path) -> None:
    tables = {}
    for name, size in (("one", 1), ("many", "auto")):
        (lane,) = prepared(job(url, tmp_path / name, pixels={"images_per_request": size}))
        record = worked(lane)
        tables[name] = record.traffic.requests, rows(tmp_path / name, "pixels"), rows(tmp_path / name, "tiles")
    assert check_pixels(tmp_path / "many") > 0
    assert tables["many"][0] * 4 <= tables["one"][0]
    assert tables["many"][1] == tables["one"][1]
    for key, row in tables["many"][2].items():
        for column in ("status", "crc32c", "valid_count", "v_mean"):
            assert row[column] == tables["one"][2][key][column]


@pytest.mark.parametrize("mask", [{"mask": "fill", "fill": 0}, {"mask": "none"}, {"mask": "bands"}])
def test_every_mask_comes_in_parts_of_any_size(url: str, tmp_path: Path, mask: dict[str, Any]) -> None:
    data = job(url, tmp_path, pixels=mask, output={"path": str(tmp_path), "part_size": 2000})
    data["source"] = {"collection": "T/C", "method": "computePixels"}
    (lane,) = prepared(data)
    record = worked(lane)
    assert record.ok + record.empty == sum(chunk.count for chunk in lane.chunks)
    assert (record.empty > 0) == (mask["mask"] != "none")
    assert record.parts > len(lane.chunks)
    assert len(rows(tmp_path, "pixels")) == record.ok


def test_the_daily_quota_stops_every_lane_of_the_run(url: str, tmp_path: Path) -> None:
    (lane,) = prepared(job(url, tmp_path))
    planned = sum(chunk.count for chunk in lane.chunks)
    post(url, "/_emulator/traffic", {"faults": "daily-after:7"})
    try:
        record = worked(lane)
    finally:
        post(url, "/_emulator/traffic", {"faults": "", "latency_ms": 200})
    assert record.stop_kind == "daily"
    assert "daily quota" in record.stopped
    assert record.ok + record.empty + record.missing == planned
    assert record.missing >= planned - 7
    try:
        slow = replace(lane, index=1, threads=1)  # would take some 10 s
        other = worked(slow)
    finally:
        post(url, "/_emulator/traffic", {"latency_ms": 0})
    assert other.stopped == record.stopped
    assert other.missing > 0
    assert other.seconds < 8
    clear(open_store(str(tmp_path)), "run")
    last = worked(lane)
    assert last.missing == 0
    assert last.ok == check_pixels(tmp_path)  # what the same run's other lanes had done counts as its own


def test_failed_tiles_are_rows_and_asked_for_again(url: str, tmp_path: Path) -> None:
    (lane,) = prepared(job(url, tmp_path))
    post(url, "/_emulator/traffic", {"faults": "oom-above:1"})
    try:
        record = worked(lane)
    finally:
        post(url, "/_emulator/traffic", {"faults": ""})
    assert set(counts(record)) == {"failed"}
    failed = rows(tmp_path, "tiles").values()
    assert {row["error_class"] for row in failed} == {"too_big"}
    assert all("User memory limit exceeded." in row["error_message"] and row["http_status"] == 400 for row in failed)
    again = worked(prepared(job(url, tmp_path))[0])
    assert again.failed == 0
    assert again.ok == check_pixels(tmp_path)


def test_what_a_dead_attempt_had_open_is_left_to_the_next_round(url: str, tmp_path: Path) -> None:
    (lane,) = prepared(job(url, tmp_path))
    halves = lane.chunks[0].halves()
    lane = replace(lane, chunks=(*halves, *lane.chunks[1:]))
    notes = Notes(open_store(str(tmp_path)), "run", 0, lane.index)
    notes.opened(1)
    record = worked(lane, attempt=1)
    assert record.left == (1,)
    assert record.ok + record.empty == sum(chunk.count for chunk in lane.chunks) - halves[1].count
    assert notes.record() == record
    chunks, suspects = left_over([lane], [record], [notes.left_open()])
    assert chunks == []
    assert sum(suspect.chunk.count for suspect in suspects) == halves[1].count


def test_a_tile_that_cost_two_workers_fails_without_a_request(url: str, tmp_path: Path) -> None:
    (lane,) = prepared(job(url, tmp_path))
    suspects = [Suspect(lane.chunks[0])]
    while suspects[0].chunk.count > 1:
        suspects = [*narrowed(suspects[0], alone=True), *suspects[1:]]
    twice = narrowed(*[narrowed(suspects[0], alone=True)[0]], alone=True)
    assert twice == [Suspect(suspects[0].chunk, 2)]
    (alone,) = next_shares([lane], [], [*twice, *suspects[1:]], 0)
    assert alone.alone
    record = worked(alone)
    assert (record.failed, record.ok + record.empty) == (1, lane.chunks[0].count - 1)
    (row,) = [row for row in rows(tmp_path, "tiles").values() if row["status"] == "failed"]
    assert row["error_class"] == "worker_died"
    assert row["attempts"] == 2


@given(st.lists(st.integers(1, 500), max_size=60), st.integers(1, 12))
def test_dealing_gives_each_chunk_to_one_lane_and_is_even(sizes: list[int], lanes: int) -> None:
    dealt = deal(sizes, lanes)
    assert sorted(index for lane in dealt for index in lane) == list(range(len(sizes)))
    loads = [sum(sizes[index] for index in lane) for lane in dealt]
    assert max(loads) - min(loads) <= max(sizes, default=0)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_rounds_lose_nothing_and_blame_only_what_was_open(data: st.DataObject) -> None:
    lanes = data.draw(st.integers(1, 4))
    first = [
        replace(_LANE[0], index=index, threads=5, per_second=2.0, chunks=_LANE[0].chunks[index::lanes])
        for index in range(lanes)
    ]
    found: list[LaneRecord | None] = []
    still_open = []
    for lane in first:
        dead = data.draw(st.booleans())
        noted = data.draw(st.sets(st.sampled_from(range(len(lane.chunks))))) if lane.chunks else set()
        found.append(None if dead else LaneRecord(0, left=tuple(sorted(noted))))
        still_open.append(noted if dead else set())
    chunks, suspects = left_over(first, found, still_open)
    expected = sum(
        chunk.count
        for lane, record in zip(first, found, strict=True)
        for index, chunk in enumerate(lane.chunks)
        if record is None or index in record.left
    )
    assert sum(chunk.count for chunk in chunks) + sum(suspect.chunk.count for suspect in suspects) == expected
    for todo in ((chunks, suspects), ([], suspects)):
        if todo[0] or todo[1]:
            again = next_shares(first, *todo, 3)
            assert sum(lane.threads for lane in again) == 5 * lanes
            assert sum(lane.per_second for lane in again) == pytest.approx(2.0 * lanes)
            assert sum(chunk.count for lane in again for chunk in lane.chunks) == sum(
                chunk.count for chunk in (todo[0] or [suspect.chunk for suspect in todo[1]])
            )


_LANE: list[Share] = []


@pytest.fixture(scope="module", autouse=True)
def _some_lane(url: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    (lane,) = prepared(job(url, tmp_path_factory.mktemp("some")))
    halves = [half for chunk in lane.chunks for half in chunk.halves()]
    _LANE.append(replace(lane, chunks=tuple(half for chunk in halves for half in chunk.halves())))


def test_a_cluster_that_is_gone_ends_the_run_in_two_rounds(url: str, tmp_path: Path) -> None:
    """Its lanes die between their last part and the fold; then nothing runs at all: what there is is folded, counted.

    A lane's death there leaves its parts and its notes, and neither a record nor a file in ``tiles``.
    """
    lanes = prepared(job(url, tmp_path))
    store = open_store(str(tmp_path))
    done: list[LaneRecord] = []

    def dying(these: list[Share]) -> str:
        if not done:
            for lane in these:
                done.append(worked(lane))
                clear(store, "run")
                Notes(store, "run", lane.round, lane.index).opened(0)
            for entry in store.list("tiles/"):
                if "schema" not in entry.name:
                    store.delete(entry.name)
        return "the session is gone"

    found, left, reason = run_rounds(lanes, store, dying)
    assert (found, reason) == ([], "the session is gone; a round of work achieved nothing")
    assert not store.list("_ee_spark/lanes/"), "its notes are cleared"
    assert sum(chunk.count for chunk, _ in left) == sum(chunk.count for lane in lanes for chunk in lane.chunks)
    assert count_unclosed(lanes[0], store, left) == Counter(ok=done[0].ok, empty=done[0].empty, failed=done[0].failed)
    tiles = rows(tmp_path, "tiles").values()
    assert Counter(row["status"] for row in tiles) == {"ok": done[0].ok, "empty": done[0].empty}


def test_a_run_that_is_stopped_early_counts_what_others_had_done(url: str, tmp_path: Path) -> None:
    """Some pairs are committed; the next run is refused from its first request on."""
    (lane,) = prepared(job(url, tmp_path))
    part = next(piece for piece in (lane.chunks[0], *lane.chunks[0].halves()) if piece.count <= 40)
    before = worked(replace(lane, chunks=(part,)))
    assert before.ok + before.empty == part.count
    lanes, store = prepared(job(url, tmp_path), "next"), open_store(str(tmp_path))

    def run_lanes(these: list[Share]) -> None:
        for one in these:
            worked(one)

    post(url, "/_emulator/traffic", {"faults": "daily-after:0"})
    try:
        found, left, reason = run_rounds(lanes, store, run_lanes)
    finally:
        post(url, "/_emulator/traffic", {"faults": ""})
    assert "daily quota" in str(reason)
    counts = count_unclosed(lanes[0], store, left) + Counter(
        ok=found[0].ok, empty=found[0].empty, skipped=found[0].skipped
    )
    assert counts == Counter(skipped=part.count)


def test_only_notes_of_drivers_that_are_gone_are_cleared(url: str, tmp_path: Path) -> None:
    """Runs by their drivers: this process, one that was killed, one of another machine, one that began long ago."""
    (lane,) = prepared(job(url, tmp_path), "mine")
    store = open_store(str(tmp_path))
    killed = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    killed.kill()
    killed.wait()
    found = store.read("_ee_spark/runs/mine.json")
    assert found is not None
    record = json.loads(found[0])
    others: dict[str, dict[str, Any]] = {
        "killed": {"owner": {**record["owner"], "pid": killed.pid}},
        "elsewhere": {"owner": {**record["owner"], "host": "elsewhere", "pid": killed.pid}},
        "ended": {"report": {"status": "stopped"}},
        "old": {"owner": {"host": "elsewhere", "pid": 1}, "started_at": "2020-01-01T00:00:00Z"},
    }
    for name, change in others.items():
        store.create(f"_ee_spark/runs/{name}.json", json.dumps({**record, **change}).encode())
    for name in ("mine", "nobody", *others):
        Notes(store, name, 0, lane.index).opened(0)
    clear_dead(store)
    assert {entry.name.split("/")[2] for entry in store.list("_ee_spark/lanes/")} == {"mine", "elsewhere"}


def test_a_large_slice_is_an_object_that_ends_with_the_run(url: str, tmp_path: Path) -> None:
    shares, store = prepared(job(url, tmp_path)), open_store(str(tmp_path))
    seen: list[str] = []

    def run_lanes(these: list[Share]) -> None:
        lanes = [one.lane(store, inline=0) for one in these]
        seen.extend(entry.name for entry in store.list("_ee_spark/lanes/"))
        assert all(len(pickle.dumps(lane)) < len(pickle.dumps(lane.brief)) + 1000 for lane in lanes)
        for lane in pickle.loads(pickle.dumps(lanes)):
            work(lane)

    found, left, stopped = run_rounds(shares, store, run_lanes)
    assert (left, stopped) == ([], None)
    assert found[0].ok == check_pixels(tmp_path)
    assert seen == ["_ee_spark/lanes/run/r0-l0.arrow"]
    assert not store.list("_ee_spark/lanes/")


@pytest.mark.parametrize("change", ["other", "gone"])
def test_a_slice_of_somebody_else_ends_the_run(url: str, tmp_path: Path, change: str) -> None:
    shares, store = prepared(job(url, tmp_path)), open_store(str(tmp_path))

    def run_lanes(these: list[Share]) -> None:
        (lane,) = [one.lane(store, inline=0) for one in these]
        store.delete("_ee_spark/lanes/run/r0-l0.arrow")
        if change == "other":
            store.create("_ee_spark/lanes/run/r0-l0.arrow", pickle.dumps("anything"))
        work(lane)

    found, left, stopped = run_rounds(shares, store, run_lanes)
    planned = sum(chunk.count for chunk in shares[0].chunks)
    assert (found[0].missing, found[0].traffic.requests, found[0].ok) == (planned, 0, 0)
    assert "r0-l0.arrow: the lane's slice is " in str(stopped)
    assert "\n" not in str(stopped)
    assert sum(chunk.count for chunk, _ in left) == planned
    assert rows(tmp_path, "pixels") == {}
    assert worked(shares[0]).ok == check_pixels(tmp_path)


def graphs_of(days: int) -> tuple[list[Chunk], Slice]:
    """Four blocks of 64 tiles on each of so many days, each day a graph of 6 kB of its own."""
    random = np.random.default_rng(1)
    lattice, day = Lattice("EPSG:32633", 10.0, 10.0), 86_400_000_000
    tiles = Runs(np.arange(16), np.zeros(16, np.int64), np.full(16, 16))
    pairs = by_time(cut([lattice], [(0, image, tiles) for image in range(days)], 8), np.arange(days) * day, 8)
    graphs = tuple(f"{image} {random.bytes(3000).hex()}" for image in range(days))
    names = tuple(f"2015-01-01/{image}" for image in range(days))
    chunks = [pairs.chunk(index) for index in range(len(pairs))]
    return chunks, Slice(tuple(chunks), names, tuple(range(days)), (-1,) * days, graphs, None)


def places_of(count: int) -> tuple[list[Chunk], Slice]:
    """So many points, with an id and two columns of their own, of one image."""
    random = np.random.default_rng(2)
    lon, lat = random.uniform(-120, -80, count), random.uniform(30, 48, count)
    columns = pa.table({"field": np.arange(count), "crop": ["wheat"] * count})
    held = Points(point_ids(lon, lat), lon, lat, columns)
    lattice, every = Lattice("EPSG:5070", 30.0, 30.0), np.arange(count)
    u, v = lattice.from_lonlat(lon, lat)
    runs = Runs(every, np.zeros_like(every), np.ones_like(every))
    pairs = cut([lattice], [(0, 0, runs)], 256, [(u / 64, v / 64)])
    chunks = [pairs.chunk(index) for index in range(len(pairs))]
    return chunks, Slice(tuple(chunks), ("I",), (1,), (-1,), ("g",), held)


@pytest.mark.parametrize(("of", "count"), [(graphs_of, 3_650), (places_of, 1_000_000)])
def test_lanes_carry_the_plan_once(
    url: str, tmp_path: Path, of: Callable[[int], tuple[list[Chunk], Slice]], count: int
) -> None:
    (share,) = prepared(job(url, tmp_path))
    store, lanes = open_store(str(tmp_path)), 25
    planned, whole = of(count)
    chunks, dealt = even(planned, lanes, by_image=len(whole.graphs) > 1)
    mine = [tuple(chunks[index] for index in indices) for indices in dealt]
    shares = [replace(share, index=at, whole=whole, chunks=these) for at, these in enumerate(mine)]
    closures, objects = [], 0
    for one in shares:
        lane = one.lane(store)
        closures.append(len(pickle.dumps(lane)))
        assert closures[-1] <= 1_000_000 + len(pickle.dumps(lane.brief)) + 1000
        own = lane.open(store)
        assert sum(chunk.count for chunk in own.chunks) == sum(chunk.count for chunk in one.chunks)
        objects += len(encode(own))
    once = len(encode(whole))
    print(f"{count}: the plan {once / 1e6:.2f} MB, all slices {objects / 1e6:.2f} MB, closures {max(closures)} at most")
    assert objects <= 1.2 * once
    clear(store, "run")


def test_a_reader_that_leaves_ends_the_lane_and_its_requests(url: str, tmp_path: Path) -> None:
    """As Spark's limit(1) does: the rest of some 200 requests is not sent."""
    (share,) = prepared(job(url, tmp_path, output={"path": str(tmp_path), "part_size": 2000}))
    lane = share.lane(None)
    every = pa.Table.from_batches(list(fetched(lane)))
    assert every.num_rows == worked(share).ok == check_pixels(tmp_path)
    key = [("tile_id", "ascending"), ("image_id", "ascending")]
    table = pq.read_table(tmp_path / "pixels")
    assert every.sort_by(key).equals(table.select(every.column_names).cast(every.schema).sort_by(key))
    before = json.loads(get(url, "/_emulator/stats").data)["requests"]
    post(url, "/_emulator/traffic", {"latency_ms": 200})
    try:
        rows_read = fetched(replace(lane, threads=2))
        assert next(rows_read).num_rows >= 1
        started = time.monotonic()
        rows_read.close()
        assert time.monotonic() - started < 5
    finally:
        post(url, "/_emulator/traffic", {"latency_ms": 0})
    assert json.loads(get(url, "/_emulator/stats").data)["requests"] - before < lane.pairs / 2
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith(("fetch-", "publish"))]


@pytest.mark.parametrize(
    "planted",
    [
        {"ok": 1_000_000},
        {"ok": -5},
        {"ok": "all"},
        {"ok": True},
        {"lane": 7},
        {"left": [99]},
        {"left": [-1]},
        {"unclosed": {"99": {}}},
        {"unclosed": {"0": {"ok": -1}}},
        {"stopped": {"a": [1]}},
        {"errors": {"x": "y"}},
        {"traffic": {"requests": -1}},
        {"seconds": "long"},
        {"strange": 1},
    ],
    ids=str,
)
def test_a_planted_record_counts_as_a_lane_that_died(planted: dict[str, Any], url: str, tmp_path: Path) -> None:
    shares, store = prepared(job(url, tmp_path)), open_store(str(tmp_path))
    text = json.dumps({**LaneRecord(shares[0].index).to_json(), **planted})
    store.create(f"{Notes(store, shares[0].brief.notes, 0, shares[0].index).stem}.json", text.encode())
    records, left, stopped = run_rounds(shares, store, lambda _: "no lane ran")
    assert records == []
    assert sum(rest.chunk.count for rest in left) == sum(chunk.count for chunk in shares[0].chunks)
    assert stopped == "no lane ran; a round of work achieved nothing"


@pytest.mark.parametrize("planted", [b"", b"{", b"[]", b"[" * 200_000, b"\xff", b"null"])
def test_what_is_not_a_record_counts_as_a_lane_that_died(planted: bytes, url: str, tmp_path: Path) -> None:
    (share,), store = prepared(job(url, tmp_path)), open_store(str(tmp_path))
    notes = Notes(store, share.brief.notes, 0, share.index)
    store.create(f"{notes.stem}.json", planted)
    assert notes.record() is None


def test_nobody_knows_beforehand_where_a_run_leaves_its_notes(url: str, tmp_path: Path) -> None:
    """Not even who chose its id: else a record that lies there already would be a lane's."""
    parsed, store = config.parse(job(url, tmp_path)), open_store(str(tmp_path))
    plan = extract.join_dataset(parsed, Service(url, "local", "anonymous"), store)
    names = {make_shares(plan, plan.images.version, "daily", slots=1)[0].brief.notes for _ in range(10)}
    assert len(names) == 10
    assert all(name.startswith("daily~") for name in names)
