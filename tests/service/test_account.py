"""_SUCCESS: there only while every planned tile of all runs is committed, and cheap to tell after years of runs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from daily_runs import DAILY, begin, commit, put, record, report_of

from ee_spark.check.forget import forget
from ee_spark.check.repair import repair
from ee_spark.check.verify import Problem
from ee_spark.errors import JobError
from ee_spark.limits import MAX_OBJECT
from ee_spark.objects import FileStore
from ee_spark.store import account
from ee_spark.store.schema import RUNS, SUCCESS


class Watched(FileStore):
    """A store that counts its operations, and does something before one of them."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.done: Counter[str] = Counter()
        self.before: dict[tuple[str, str], Callable[[], None]] = {}

    def _met(self, what: str, name: str) -> None:
        self.done[what] += 1
        act = self.before.pop((what, name), None)
        if act is not None:
            act()

    def read(self, name: str, most: int = MAX_OBJECT) -> tuple[bytes, str] | None:
        self._met("read", name)
        return super().read(name, most)

    def open(self, name: str) -> Any:
        self._met("open", name)
        return super().open(name)

    def list(self, prefix: str) -> Any:
        self._met("list", prefix)
        return super().list(prefix)

    def replace(self, name: str, data: bytes, generation: str | None) -> bool:
        self._met("replace", name)
        return super().replace(name, data, generation)


@pytest.fixture
def store(tmp_path: Path) -> Watched:
    made = Watched(tmp_path)
    begin(made)
    return made


def success(store: FileStore) -> str | None:
    """The run that _SUCCESS names."""
    found = store.read(SUCCESS)
    return None if found is None else str(json.loads(found[0])["run_id"])


def test_a_small_run_waits_for_a_larger_one(store: Watched) -> None:
    record(store, "large", [1, 2, 3])
    record(store, "small", [2])
    for day in (1, 2):
        commit(store, day)
    assert not account.settle(store, DAILY, report_of("small"))
    assert success(store) is None
    commit(store, 3, [0, 1, 3])
    assert not account.settle(store, DAILY, report_of("small")), "a tile is missing"
    commit(store, 3, [2])
    assert account.settle(store, DAILY, report_of("small")), "whoever committed it"
    assert success(store) == "small"


def test_what_does_not_count_holds_nothing_up(store: Watched) -> None:
    """Runs of replaced jobs, of an earlier life of the same job, forgotten ones, and those that planned nothing."""
    commit(store, 1)
    record(store, "mine", [1])
    record(store, "other-job", [7], fingerprint="f" * 64)
    record(store, "other-life", [7], life="e" * 32)
    record(store, "older-life", [7], life="")
    record(store, "mistake", [7], forgotten={"at": "2020-01-01T00:00:00Z", "by": "me"})
    record(store, "nothing", [], planned=0)
    assert account.settle(store, DAILY, report_of("mine"))


def test_a_torn_record_is_told_with_the_way_out(store: Watched, caplog: pytest.LogCaptureFixture) -> None:
    commit(store, 1)
    record(store, "mine", [1])
    store.create(f"{RUNS}/torn.json", b"{")
    assert not account.settle(store, DAILY, report_of("mine"))
    assert "--forget torn" in caplog.text
    assert forget(store, "torn")[1].endswith("wrote _SUCCESS")
    assert success(store) == "mine"


def test_forgetting_needs_an_id_that_is_there(store: Watched) -> None:
    for run_id in ("20200101T000000Z", "20200102T000000Z", "other"):
        record(store, run_id, [1])
    with pytest.raises(JobError, match="the closest are 20200102T000000Z, 20200101T000000Z") as refused:
        forget(store, "20200102T000000")
    assert refused.value.exit_code == 2
    with pytest.raises(JobError, match="no run of this id"):
        forget(store, "../job")


def test_a_forgotten_run_is_whole_for_the_others(store: Watched) -> None:
    commit(store, 1)
    record(store, "whole", [1])
    record(store, "mistake", [1, 2, 3], report=report_of("mistake", "stopped"))
    assert not account.settle(store, DAILY, report_of("whole"))
    forget(store, "mistake")
    assert success(store) == "whole"
    found = json.loads(store.read(f"{RUNS}/mistake.json")[0])  # type: ignore[index]
    assert found["forgotten"].keys() == {"at", "by"}
    assert found["planned"] == 12, "the rest of its record stays"


def test_a_run_that_begins_meanwhile_takes_it_away(store: Watched) -> None:
    """It is in the second listing, and its own removal of _SUCCESS may have come before the write."""
    commit(store, 1)
    record(store, "first", [1])
    store.before["replace", SUCCESS] = lambda: record(store, "second", [1, 2], report=None)
    assert not account.settle(store, DAILY, report_of("first"))
    assert success(store) is None
    commit(store, 2)
    assert account.settle(store, DAILY, report_of("second"))


def test_a_run_that_began_and_ended_meanwhile_leaves_it(store: Watched) -> None:
    """What the one takes away, unseen by the other, it writes again."""
    commit(store, 1)
    record(store, "first", [1])

    def another() -> None:
        record(store, "second", [1, 2])
        store.before["list", f"{RUNS}/"] = lambda: None

    store.before["replace", SUCCESS] = another
    ended = {"now": False}

    def delete(name: str) -> None:
        if name == SUCCESS and not ended["now"]:
            ended["now"] = True
            commit(store, 2)
            assert account.settle(store, DAILY, report_of("second"))
        FileStore.delete(store, name)

    store.delete = delete  # type: ignore[method-assign]
    assert account.settle(store, DAILY, report_of("first"))
    assert success(store) == "first"


def test_an_overwritten_job_writes_none(store: Watched) -> None:
    commit(store, 1)
    record(store, "late", [1])
    record(store, "new", [1], life="e" * 32)
    begin(store, replace(DAILY, frozen=replace(DAILY.frozen, life="e" * 32)))
    assert not account.settle(store, DAILY, report_of("late"))
    assert success(store) is None
    assert account.unmarked(store) == ["late", "new"], "a life that is over marks no run"


def test_a_day_without_images_is_a_success(tmp_path: Path) -> None:
    """There is no dataset before a day that has some."""
    store = FileStore(tmp_path)
    record(store, "empty-day", [], planned=0)
    assert account.settle(store, DAILY, report_of("empty-day"))
    assert success(store) == "empty-day"


def test_a_repair_that_empties_a_part_opens_the_account(store: Watched) -> None:
    commit(store, 1)
    commit(store, 2)
    record(store, "one", [1])
    record(store, "two", [2])
    assert account.settle(store, DAILY, report_of("one"))
    part = store.list(f"pixels/{DAILY.prefix}")[0].name
    repair(store, [Problem("torn", part, "cannot be read")])
    assert success(store) is None
    assert store.list(f"{account.DONE}/") == []
    assert not account.settle(store, DAILY, report_of("two")), "its tiles are missing now"


def test_after_730_daily_runs_only_new_ones_are_read(store: Watched) -> None:
    """Those that are unmarked, as older versions left them, are read once; then two listings tell."""
    for day in range(730):
        record(store, f"day-{day:03}", [day % 5])
        if day >= 50:
            put(store, f"{account.DONE}/day-{day:03}", b"")
    for day in range(5):
        commit(store, day)
    assert account.settle(store, DAILY, report_of("day-729"))
    assert store.done["open"] <= 5, "a chunk's ledgers are read once for all runs"
    assert len(store.list(f"{account.DONE}/")) == 730
    record(store, "day-730", [0])
    store.done.clear()
    assert account.settle(store, DAILY, report_of("day-730"))
    assert store.done["open"] == 1, "the run itself is looked at, by the ledger of its one chunk, and no other"
    assert store.done["read"] <= 5, store.done  # its own record among them
    assert store.done["list"] <= 8, store.done


def test_an_unfinished_run_is_followed_to_its_first_gap(store: Watched) -> None:
    record(store, "large", range(80))
    record(store, "small", [0])
    for day in (0, *range(20, 80)):
        commit(store, day)
    store.done.clear()
    assert not account.settle(store, DAILY, report_of("small"))
    assert store.done["open"] <= 32, "not the ledgers of all its chunks"


def test_a_run_that_says_it_is_complete_is_looked_at(store: Watched) -> None:
    """Its lanes' records may say anything: what is committed stands in the ledgers."""
    record(store, "liar", [1, 2])
    commit(store, 1)
    assert not account.settle(store, DAILY, report_of("liar"))
    assert success(store) is None
    assert account.unmarked(store) == ["liar"]
