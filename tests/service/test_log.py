"""The chunk log: whatever writers do, crash or lose, each (tile, image) is committed exactly once and nothing is lost.

A state machine runs two and three writers over one chunk, one store operation at a time, in any order; each operation
may kill its writer before or after it, lose its answer, or be tried again after it got through. The store is a
dictionary with the promise of :class:`ee_spark.objects.Store`, which test_objects.py checks of the real ones.
"""

from __future__ import annotations

import io
import json
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from object_servers import BUCKET, Flaky, gcs_server, s3_server, settings_for
from store_data import FINGERPRINT, layout, row, tiles
from store_data import part as build_part

from ee_spark.errors import EESparkError, LedgerError, StoppedError, StoreError
from ee_spark.limits import MAX_OBJECT
from ee_spark.objects import Entry, FileStore, Store, open_store
from ee_spark.store import ledger, manifest
from ee_spark.store.log import ChunkLog, open_logs
from ee_spark.store.part import Row, failed_table
from ee_spark.store.schema import JOB, Layout

LAYOUT = layout([("a", "uint8")], side=1)
CHUNK = "0a1b2c3d_r0c0_t0"
TILES = range(6)
KEYS = {row(LAYOUT, n, "empty").key: n for n in TILES}
build = partial(build_part, LAYOUT)
JOB_TEXT = json.dumps({"fingerprint": FINGERPRINT}).encode()


class MemoryStore:
    """The promise of a store, kept by a dictionary."""

    root = "memory"

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, str]] = {}
        self._count = 0

    def create(self, name: str, data: bytes) -> bool:
        return name not in self.objects and self._put(name, data)

    def replace(self, name: str, data: bytes, generation: str | None) -> bool:
        found = self.objects.get(name)
        return (found[1] if found else None) == generation and self._put(name, data)

    def _put(self, name: str, data: bytes) -> bool:
        self._count += 1
        self.objects[name] = data, str(self._count)
        return True

    def read(self, name: str, most: int = MAX_OBJECT) -> tuple[bytes, str] | None:
        return self.objects.get(name)

    def open(self, name: str) -> Any:
        if name not in self.objects:
            raise StoreError(f"{name}: no such object")
        return pa.BufferReader(self.objects[name][0])

    def list(self, prefix: str) -> list[Entry]:
        return [Entry(n, len(d), g) for n, (d, g) in sorted(self.objects.items()) if n.startswith(prefix)]

    def delete(self, name: str) -> None:
        self.objects.pop(name, None)

    def clear_temp(self) -> None:
        """Nothing is temporary here."""


class Killed(BaseException):
    """kill -9."""


class Stepped:
    """A store whose every operation waits for the scheduler, which says how it ends.

    ``go`` lets it happen; ``kill`` and ``kill after`` end the writer before or after it; ``lose`` does it and loses the
    answer for good; ``again`` does it, loses the answer, and tries again, as clients of object stores do.
    """

    root = "memory"

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.next_is = ""
        self.how = "go"
        self.may_go, self.has_stopped = threading.Semaphore(0), threading.Semaphore(0)

    def _step(self, what: str, operation: Callable[[], Any]) -> Any:
        self.next_is = what
        self.has_stopped.release()
        self.may_go.acquire()
        if self.how == "kill":
            raise Killed
        found = operation()
        if self.how == "kill after":
            raise Killed
        if self.how == "lose":
            raise StoreError("the answer was lost")
        return operation() if self.how == "again" else found

    def create(self, name: str, data: bytes) -> bool:
        return bool(self._step("create", lambda: self._store.create(name, data)))

    def replace(self, name: str, data: bytes, generation: str | None) -> bool:
        return bool(self._step("replace", lambda: self._store.replace(name, data, generation)))

    def read(self, name: str, most: int = MAX_OBJECT) -> Any:
        return self._step("read", lambda: self._store.read(name, most))

    def open(self, name: str) -> Any:
        return self._step("open", lambda: self._store.open(name))

    def list(self, prefix: str) -> Any:
        return self._step("list", lambda: self._store.list(prefix))

    def delete(self, name: str) -> None:
        self._step("delete", lambda: self._store.delete(name))

    def clear_temp(self) -> None:
        """Nothing is temporary here."""


def extract(store: Store, outcomes: dict[int, str], batch: int, of: Layout = LAYOUT) -> tuple[list[Row], list[Row]]:
    """Do what a lane does with a chunk; return the rows it committed, and those it folded as failed."""
    log = ChunkLog(store, of, CHUNK)
    log.read()
    wanted = [row(LAYOUT, n, how) for n, how in outcomes.items() if row(LAYOUT, n, how).key not in log.committed]
    done = [item for item in wanted if item.status != "failed"]
    failed = [item for item in wanted if item.status == "failed"]
    mine = [item for at in range(0, len(done), batch) for item in log.publish(done[at : at + batch], build)]
    log.fold(failed_table(failed, of, "run"))
    return mine, failed


class Writer:
    """One lane at work on the chunk, one store operation at a time."""

    def __init__(self, store: MemoryStore, outcomes: dict[int, str], batch: int, of: Layout = LAYOUT) -> None:
        self.stepped = Stepped(store)
        self.over = False
        self.mine: list[Row] = []
        self.failed: list[Row] = []
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, args=(outcomes, batch, of), daemon=True)
        self._thread.start()
        self._wait()

    def _work(self, outcomes: dict[int, str], batch: int, of: Layout) -> None:
        try:
            self.mine, self.failed = extract(self.stepped, outcomes, batch, of)
        except (Killed, EESparkError) as error:
            self.error = error
        except BaseException as error:
            self.error = error
        self.over = True
        self.stepped.has_stopped.release()

    def _wait(self) -> None:
        assert self.stepped.has_stopped.acquire(timeout=20), "the writer hangs"

    def step(self, how: str = "go") -> None:
        if not self.over:
            self.stepped.how = how
            self.stepped.may_go.release()
            self._wait()


def parts_of(store: MemoryStore) -> dict[str, ledger.Ledger]:
    return {entry.name: ledger.read(store, entry.name) for entry in store.list("pixels/part-")}


def tiles_of(store: MemoryStore) -> list[dict[str, Any]]:
    return [row for entry in store.list("tiles/") for row in pq.read_table(store.open(entry.name)).to_pylist()]


outcome = st.sampled_from(["ok", "ok", "empty", "failed"])


class ChunkLogMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryStore()
        self.writers: list[Writer] = []
        self.ended: list[Writer] = []

    @initialize(
        outcomes=st.lists(st.lists(outcome, min_size=3, max_size=6), min_size=2, max_size=3),
        batch=st.integers(1, 4),
    )
    def two_or_three_begin(self, outcomes: list[list[str]], batch: int) -> None:
        self.store.create(JOB, JOB_TEXT)
        self.writers = [Writer(self.store, dict(enumerate(how)), batch) for how in outcomes]

    @precondition(lambda self: len(self.writers) < 3)
    @rule(outcomes=st.dictionaries(st.sampled_from(TILES), outcome, min_size=1), batch=st.integers(1, 4))
    def another_begins(self, outcomes: dict[int, str], batch: int) -> None:
        self.writers.append(Writer(self.store, outcomes, batch))

    @precondition(lambda self: self.writers)
    @rule(turns=st.lists(st.integers(0, 2), min_size=1, max_size=8))
    def go(self, turns: list[int]) -> None:
        for which in turns:
            self.writers[which % len(self.writers)].step()
        self._bury()

    @precondition(lambda self: self.writers)
    @rule(which=st.integers(0, 2), how=st.sampled_from(["kill", "kill after", "lose", "again"]))
    def fault(self, which: int, how: str) -> None:
        writer = self.writers[which % len(self.writers)]
        publishes = writer.stepped.next_is in ("create", "replace")
        writer.step(how if publishes or how.startswith("kill") else "go")
        self._bury()

    def _bury(self) -> None:
        self.ended += [writer for writer in self.writers if writer.over]
        self.writers = [writer for writer in self.writers if not writer.over]

    @invariant()
    def each_key_is_final_at_most_once(self) -> None:
        found = [key for entry in parts_of(self.store).values() for key in entry.tiles]
        assert len(found) == len(set(found))

    @invariant()
    def readers_see_no_row_twice(self) -> None:
        keys = [(found["tile_id"], found["image_id"]) for found in tiles_of(self.store)]
        assert len(keys) == len(set(keys))

    def teardown(self) -> None:
        for writer in self.writers:
            while not writer.over:
                writer.step("kill")
        for writer in [*self.ended, *self.writers]:
            assert writer.error is None or isinstance(writer.error, Killed | StoreError), writer.error
        # What a writer that came to its end reported is there.
        committed = {key for entry in parts_of(self.store).values() for key in entry.tiles}
        told = [item.key for writer in self.ended if not writer.error for item in writer.mine]
        assert len(told) == len(set(told)), "two writers both say that they committed a tile"
        assert set(told) <= committed
        rows = {(found["tile_id"], found["image_id"]): found for found in tiles_of(self.store)}
        for writer in self.ended:
            if not writer.error:
                for item in writer.failed:
                    assert item.key in committed or rows[item.key]["status"] == "failed"
        # A last run that succeeds with everything commits all, exactly once, and folds all.
        extract(self.store, dict.fromkeys(TILES, "ok"), 4)
        self.each_key_is_final_at_most_once()
        parts = parts_of(self.store)
        assert {key for entry in parts.values() for key in entry.tiles} == set(KEYS)
        rows = {(found["tile_id"], found["image_id"]): found for found in tiles_of(self.store)}
        assert set(rows) == set(KEYS)
        for name, entry in parts.items():
            pixels = pq.read_table(self.store.open(name))["tile_id"].to_pylist()
            for tile, image, status in zip(
                *(entry.committed[c].to_pylist() for c in ("tile_id", "image_id", "status")), strict=True
            ):
                assert (tile in pixels) == (status == "ok")
                assert rows[tile, image]["status"] == status
                assert rows[tile, image]["part"] == (name.removeprefix("pixels/") if status == "ok" else None)


TestChunkLog = ChunkLogMachine.TestCase
TestChunkLog.settings = settings(
    max_examples=int(os.environ.get("EE_SPARK_EXAMPLES", "40")),
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@pytest.fixture
def store() -> MemoryStore:
    made = MemoryStore()
    made.create(JOB, JOB_TEXT)
    return made


def test_a_crash_after_any_operation_is_healed_by_the_next_run(store: MemoryStore) -> None:
    """Exhaustive: kill before and after operation k, for every k that a run has; then run again to the end."""
    outcomes = {0: "ok", 1: "empty", 2: "failed", 3: "ok", 4: "ok"}
    k, more = 0, True
    while more:
        for how in ("kill", "kill after", "lose"):
            fresh = MemoryStore()
            fresh.create(JOB, JOB_TEXT)
            writer = Writer(fresh, outcomes, 2)
            for _ in range(k):
                writer.step()
            more = not writer.over
            writer.step(how if how != "lose" or writer.stepped.next_is in ("create", "replace") else "kill")
            while not writer.over:
                writer.step()
            extract(fresh, outcomes, 2)
            status = {found["tile_id"]: found["status"] for found in tiles_of(fresh)}
            assert status == {row(LAYOUT, n, how).key[0]: how for n, how in outcomes.items()}
            keys = [key for entry in parts_of(fresh).values() for key in entry.tiles]
            assert len(keys) == len(set(keys)) == 4
        k += 1
    assert k > 12


def test_an_overwrite_before_any_operation_leaves_nothing_old() -> None:
    """Exhaustive: another run overwrites the job before operation k of a live lane; the lane stops and cleans up."""
    k, more, stopped = 0, True, 0
    while more:
        store = MemoryStore()
        store.create(JOB, JOB_TEXT)
        writer = Writer(store, {0: "ok", 1: "ok", 2: "failed"}, 1)
        for _ in range(k):
            writer.step()
        more = not writer.over
        store.replace(JOB, json.dumps({"fingerprint": "f" * 64}).encode(), store.read(JOB)[1])  # type: ignore[index]
        for entry in [*store.list("pixels/"), *store.list("tiles/")]:
            store.delete(entry.name)
        while not writer.over:
            writer.step()
        assert [entry.name for entry in store.list("") if entry.name != JOB] == [], k
        assert writer.error is None or isinstance(writer.error, StoppedError | StoreError)
        stopped += isinstance(writer.error, StoppedError)
        k += 1
    assert stopped > k // 2  # the others met a part that was gone, or had looked at the job for the last time


def test_the_newest_failure_stays_until_the_tile_is_committed(store: MemoryStore) -> None:
    log = ChunkLog(store, LAYOUT, CHUNK)
    for message in ("first", "second"):
        failed = failed_table([row(LAYOUT, 0, "failed", error_message=message)], LAYOUT, f"run-{message}")
        assert log.fold(failed) == {row(LAYOUT, 0, "failed").key}
    assert [(found["error_message"], found["run_id"]) for found in tiles_of(store)] == [("second", "run-second")]
    other = ChunkLog(store, LAYOUT, CHUNK)
    assert other.publish([row(LAYOUT, 0)], build)
    late = failed_table([row(LAYOUT, 0, "failed", error_message="late")], LAYOUT, "run-late")
    assert log.fold(late) == frozenset()
    assert [(found["status"], found["error_message"]) for found in tiles_of(store)] == [("ok", None)]


def test_a_failure_stays_while_others_write_the_chunk(store: MemoryStore) -> None:
    extract(store, {0: "failed"}, 1)
    extract(store, {1: "failed", 2: "ok"}, 1)
    extract(store, {3: "empty"}, 1)
    found = {item["tile_id"]: item["status"] for item in tiles_of(store)}
    assert found == {row(LAYOUT, n, how).key[0]: how for n, how in enumerate(("failed", "failed", "ok", "empty"))}


def test_an_unreadable_part_ends_the_run_with_its_name(store: MemoryStore) -> None:
    extract(store, {0: "ok"}, 1)
    name = store.list("pixels/")[0].name
    store.objects[name] = store.objects[name][0][:-7], "torn"
    with pytest.raises(LedgerError, match=name):
        extract(store, {1: "ok"}, 1)
    with pytest.raises(LedgerError, match=name):
        list(open_logs(store, LAYOUT, [CHUNK]))


def test_a_torn_tiles_file_is_an_error_with_a_way_out(store: MemoryStore) -> None:
    extract(store, {0: "ok"}, 1)
    name = store.list("tiles/")[0].name
    store.objects[name] = b"torn", "torn"
    with pytest.raises(StoreError, match=r"tiles/.*verify.py --repair"):
        extract(store, {1: "ok"}, 1)


def test_logs_open_ahead_in_order_with_committed_and_failed() -> None:
    """100 chunks: each log holds what a log that was read alone holds."""
    store = MemoryStore()
    store.create(JOB, JOB_TEXT)
    names = [f"0a1b2c3d_r{n}c0_t0" for n in range(100)]
    for n, name in enumerate(names):
        log = ChunkLog(store, LAYOUT, name)
        if n % 3:
            log.publish([row(LAYOUT, 0), row(LAYOUT, 1, "empty")], build)
        if n % 5:
            log.fold(failed_table([row(LAYOUT, 2, "failed")] if n % 2 else [], LAYOUT, "run"))
    for n, (name, log) in enumerate(zip(names, open_logs(store, LAYOUT, names), strict=True)):
        alone = ChunkLog(store, LAYOUT, name)
        alone.read()
        assert log.chunk == name
        assert log.parts == alone.parts
        assert len(log.committed) == (2 if n % 3 else 0)
        assert log.failed == ({row(LAYOUT, 2, "failed").key} if n % 5 and n % 2 else frozenset())
        before = dict(store.objects)
        log.fold(failed_table([], LAYOUT, "run"))
        assert (store.objects == before) == bool(n % 5 or not n % 3), "a file that is up to date is not written again"


# --- through servers ---


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, str]]:
    with gcs_server() as gs, s3_server() as s3:
        yield {"gs": gs, "s3": s3}


@pytest.mark.parametrize("kind", ["gs", "s3"])
@pytest.mark.parametrize("faults", [{}, {"refuse": 0.1, "drop": 0.05, "lose": 0.15}], ids=["straight", "flaky"])
def test_two_writers_race_through_a_server(kind: str, faults: dict[str, float], servers: dict[str, str]) -> None:
    """Both report success, and each tile is there once; also where every sixth answer to a success is lost."""
    folder = f"race-{len(faults)}"
    flaky = Flaky(servers[kind], faults, seed=11)
    with flaky.serving() as url:
        stores = [open_store(f"{kind}://{BUCKET}/{folder}", settings_for(kind, url)) for _ in range(2)]
        stores[0].create(JOB, JOB_TEXT)
        barrier = threading.Barrier(2)

        def race(index: int) -> list[Row]:
            barrier.wait()
            how = {n: "empty" if n == 5 else "ok" for n in (TILES if index else range(1, 6))}
            return extract(stores[index], how, 2)[0]

        with ThreadPoolExecutor(2) as pool:
            told = [item.key for rows in pool.map(race, range(2)) for item in rows]
    assert sorted(told) == sorted(KEYS)
    straight = open_store(f"{kind}://{BUCKET}/{folder}", settings_for(kind, servers[kind]))
    keys = [key for entry in straight.list("pixels/") for key in ledger.read(straight, entry.name).tiles]
    assert sorted(keys) == sorted(KEYS)
    extract(straight, dict.fromkeys(TILES, "ok"), 2)
    table = pq.read_table(io.BytesIO(straight.read(straight.list("tiles/")[0].name)[0]))  # type: ignore[index]
    assert sorted(zip(table["tile_id"].to_pylist(), table["image_id"].to_pylist(), strict=True)) == sorted(KEYS)
    assert not faults or flaky.met["lose"] > 0


def test_a_part_whose_ledger_would_pass_4_mb_becomes_several(tmp_path: Path) -> None:
    """500 bands have 2,000 statistics per tile: 400 such tiles are more than a footer should hold."""
    mine, store = layout([(f"b{n}", "float64") for n in range(500)], side=1), FileStore(tmp_path)
    store.create(JOB, json.dumps({"fingerprint": FINGERPRINT}).encode())
    of = tiles(mine.frozen.shape, 400)
    rows = [row(mine, n, of=of) for n in range(400)]
    assert build_part(mine, rows).ledger_bytes > ledger.MAX_BYTES
    log = ChunkLog(store, mine, "k_r0c0_t0")
    assert {done.key for done in log.publish(rows, lambda left: build_part(mine, left))} == {r.key for r in rows}
    assert len(log.ledgers) > 1
    for entry in store.list("pixels/"):
        with store.open(entry.name) as file:
            assert len(pq.ParquetFile(file).metadata.metadata[ledger.KEY]) <= ledger.MAX_BYTES
    assert sum(len(entry.tiles) for entry in log.ledgers.values()) == 400


# --- lives of a dataset ---

LIVES = ("a" * 32, "b" * 32, "c" * 32)


def life_of(life: str) -> Layout:
    return replace(LAYOUT, frozen=replace(LAYOUT.frozen, life=life))


def take_over(store: MemoryStore, number: int) -> None:
    """Begin life ``number`` as a run does: job.json is replaced, then what earlier lives left is removed."""
    name, job = ("a" * 64, "b" * 64, "a" * 64)[number], store.read(JOB)
    frozen = replace(LAYOUT.frozen, life=LIVES[number]).to_json()
    body = {"name": "test", "fingerprint": name, "identity": {}, "frozen": frozen, "replaced": LIVES[:number]}
    assert store.replace(JOB, json.dumps(body).encode(), job and job[1])
    manifest.remove_replaced(store)


@pytest.mark.parametrize("dies", [False, True], ids=["stands down", "dies after its publish"])
@pytest.mark.parametrize("lanes", ["before", "between", "after"])
def test_a_job_that_comes_back_is_another_life(dies: bool, lanes: str) -> None:
    """Exhaustive: A, then B, then A again before operation k of a lane of the first A, which goes on or dies.

    The lane of the second A works before the sleeper wakes, between its operations, or after it: nothing is doubled,
    nothing lost, and nothing of the first life stays.
    """
    outcomes = {0: "ok", 1: "ok", 2: "failed", 3: "empty"}
    k, more, late = 0, True, 0
    while more:
        store = MemoryStore()
        take_over(store, 0)
        sleeper = Writer(store, {0: "ok", 1: "empty", 2: "ok"}, 1, replace(life_of(LIVES[0]), fingerprint="a" * 64))
        for _ in range(k):
            sleeper.step()
        more = not sleeper.over
        take_over(store, 1)
        take_over(store, 2)
        mine = replace(life_of(LIVES[2]), fingerprint="a" * 64)
        new = Writer(store, outcomes, 2, mine)
        while lanes == "before" and not new.over:
            new.step()
        first = True
        while not sleeper.over:
            publishes = sleeper.stepped.next_is in ("create", "replace")
            sleeper.step("kill after" if dies and publishes else "go")
            if publishes and not first:
                late += 1
            first = False
            if lanes == "between":
                new.step()
        while not new.over:
            new.step()
        assert new.error is None
        assert sleeper.error is None or isinstance(sleeper.error, Killed | StoppedError | StoreError)
        manifest.remove_replaced(store)  # as every run does at its end
        names = [entry.name for entry in store.list("") if entry.name != JOB]
        assert all(f"/{mine.prefix}" in name for name in names), (k, names)
        keys = [key for entry in parts_of(store).values() for key in entry.tiles]
        assert sorted(keys) == sorted(row(LAYOUT, n, how).key for n, how in outcomes.items() if how != "failed")
        assert {found["tile_id"]: found["status"] for found in tiles_of(store)} == {
            row(LAYOUT, n, how).key[0]: how for n, how in outcomes.items()
        }
        k += 1
    assert k > 12
    assert late == 0, "job.json is looked at before each publish"


def test_a_lane_asks_job_json_before_it_publishes() -> None:
    """A life that ended before a publish began leaves nothing for readers to see, not for a moment."""
    store = MemoryStore()
    take_over(store, 0)
    log = ChunkLog(store, replace(life_of(LIVES[0]), fingerprint="a" * 64), CHUNK)
    log.read()
    take_over(store, 1)
    take_over(store, 2)
    created: list[str] = []
    store.create = lambda name, data: created.append(name) or True  # type: ignore[method-assign, func-returns-value]
    with pytest.raises(StoppedError, match="overwritten"):
        log.publish([row(LAYOUT, 0)], build)
    assert created == []
