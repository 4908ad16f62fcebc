"""Nothing below a dataset's root is followed through a link; locks hold where a file system has no flock."""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import platform
import signal
import stat
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from ee_spark.errors import StoreError
from ee_spark.lane.notes import clear, clear_dead
from ee_spark.objects import FileStore, Store
from ee_spark.objects.lock import SLOTS, Locks
from ee_spark.objects.names import temporary

FOLDERS = ("_ee_spark", "_ee_spark/tmp", "_ee_spark/locks", "_ee_spark/lanes", "_ee_spark/runs", "pixels", "tiles")
FOREIGN = f".{'a' * 32}"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder that is not the dataset's, with files of all the names that the dataset could take for its own."""
    folder = tmp_path / "outside"
    for name in (FOREIGN, f".probe-{'b' * 32}", "part-0.parquet", "run.json", f"tmp/{FOREIGN}", "lanes/dead/stop"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("foreign")
    (folder / "dead").mkdir()
    (folder / "dead/stop").write_text("foreign")
    return folder


def content(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("linked", FOLDERS)
def test_nothing_goes_through_a_linked_folder(linked: str, tmp_path: Path, outside: Path) -> None:
    before, root = content(outside), tmp_path / "set"
    (root / linked).parent.mkdir(parents=True)
    (root / linked).symlink_to(outside)
    store = FileStore(root)
    names = ("pixels/part-0.parquet", "tiles/part-0.parquet", "_ee_spark/job.json", "_ee_spark/runs/run.json")
    works: list[Callable[[], object]] = [store.clear_temp, lambda: clear_dead(store), lambda: clear(store, "dead")]
    for name in (*names, "_ee_spark/tmp/" + FOREIGN, "_ee_spark/lanes/dead/stop"):
        works += [
            lambda name=name: store.create(name, b"x"),  # type: ignore[misc]
            lambda name=name: store.replace(name, b"x", None),  # type: ignore[misc]
            lambda name=name: store.replace(f"{name}2", b"x", None),  # type: ignore[misc]
            lambda name=name: store.send(name, Path(__file__)),  # type: ignore[misc]
            lambda name=name: store.delete(name),  # type: ignore[misc]
            lambda name=name: store.list(name),  # type: ignore[misc]
            lambda name=name: store.read(name),  # type: ignore[misc]
            lambda name=name: store.open(name).close(),  # type: ignore[misc]
        ]
    told = set()
    for work in works:
        try:
            work()
        except StoreError as error:
            told.add(str(error).partition(": ")[2])
    last = linked.rpartition("/")[2]
    assert f"{last} is a link, and inside a dataset none is followed; move the whole dataset and link its root " in (
        "".join(told)
    )
    assert content(outside) == before


def test_a_linked_part_is_refused_and_stays(tmp_path: Path, outside: Path) -> None:
    store, name = FileStore(tmp_path / "set"), "pixels/part-0.parquet"
    store.create("pixels/part-1.parquet", b"ours")
    (tmp_path / "set" / name).symlink_to(outside / "part-0.parquet")
    assert [entry.name for entry in store.list("pixels/part-0")] == [name]
    for work in (store.read, store.open):
        with pytest.raises(StoreError, match=r"part-0\.parquet is a link"):
            work(name)
    assert not store.create(name, b"x")
    assert not store.replace(name, b"x", None)
    store.delete(name)
    assert content(outside)["part-0.parquet"] == "foreign"


def test_the_root_and_what_is_above_may_be_links(tmp_path: Path) -> None:
    (tmp_path / "disk/deep").mkdir(parents=True)
    (tmp_path / "mount").symlink_to(tmp_path / "disk")
    (tmp_path / "set").symlink_to(tmp_path / "mount/deep")
    store = FileStore(tmp_path / "set")
    assert store.create("pixels/0", b"x")
    assert (tmp_path / "disk/deep/pixels/0").read_bytes() == b"x"
    assert [entry.name for entry in store.list("")] == ["pixels/0"]


def test_only_temporaries_of_our_shape_are_cleared(tmp_path: Path, outside: Path) -> None:
    store, temps = FileStore(tmp_path), tmp_path / "_ee_spark/tmp"
    store.create("pixels/0", b"x")
    for name in ("notes.txt", ".hidden", temporary()[:-1], temporary("probe-"), temporary(), f"{FOREIGN}.bak"):
        (temps / name).write_text("x")
    (temps / f".{'c' * 32}").symlink_to(outside / "run.json")
    (temps / f".{'d' * 32}").mkdir()
    store.clear_temp()
    left = sorted(path.name for path in temps.iterdir())
    assert len(left) == 6
    assert {"notes.txt", ".hidden", f"{FOREIGN}.bak", f".{'c' * 32}", f".{'d' * 32}"} < set(left)


def test_what_is_no_file_is_told_and_does_not_hang(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    store.create("pixels/0", b"x")
    os.mkfifo(tmp_path / "pixels/part-0.parquet")
    for work in (store.read, store.open):
        with pytest.raises(StoreError, match="not a regular file"):
            work("pixels/part-0.parquet")


@pytest.mark.parametrize("swapped", ["_ee_spark/tmp", "pixels", "_ee_spark"])
def test_a_folder_swapped_for_a_link_leads_nowhere(swapped: str, tmp_path: Path, outside: Path) -> None:
    """Somebody exchanges a folder and a link to elsewhere, over and over, while the store works."""
    before, root, end = content(outside), tmp_path / "set", threading.Event()
    store = FileStore(root)
    store.create("pixels/0", b"x")
    (root / "link").symlink_to(outside)
    swaps = 0

    def swap() -> None:
        nonlocal swaps
        while not end.is_set():
            exchange(root / "link", root / swapped)
            swaps += 1

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        refused = 0
        for number in range(400):
            for work in (
                lambda number=number: store.create(f"pixels/part-{number}", b"x"),  # type: ignore[misc]
                store.clear_temp,
                lambda: store.delete("pixels/part-0.parquet"),
            ):
                try:
                    work()
                except StoreError:
                    refused += 1
    finally:
        end.set()
        thread.join()
    assert content(outside) == before
    assert swaps > 100
    assert refused


def exchange(one: Path, other: Path) -> None:
    """Exchange two names in one step (renameat2(2), RENAME_EXCHANGE)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(-100, os.fsencode(one), -100, os.fsencode(other), 2):
        raise OSError(ctypes.get_errno(), "renameat2")


def test_new_files_follow_no_planted_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outside: Path) -> None:
    """Even somebody who knew the name of a temporary could not have it written elsewhere."""
    import uuid

    from ee_spark.objects.file import replace_file

    known = uuid.UUID("0" * 32)
    monkeypatch.setattr(uuid, "uuid4", lambda: known)
    (tmp_path / f".ee-spark-{known.hex}").symlink_to(outside / "run.json")
    with pytest.raises(StoreError, match="File exists"):
        replace_file(tmp_path / "page.html", b"x")
    assert content(outside)["run.json"] == "foreign"
    assert (tmp_path / f".ee-spark-{known.hex}").is_symlink()


def test_a_replaced_file_has_the_mode_of_the_umask(tmp_path: Path) -> None:
    from ee_spark.objects.file import replace_file

    mask = os.umask(0o027)
    try:
        replace_file(tmp_path / "page.html", b"x")
        FileStore(tmp_path).create("pixels/0", b"x")
    finally:
        os.umask(mask)
    for name in ("page.html", "pixels/0"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o640


def test_locks_are_few_whatever_they_guard(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    for number in range(200):
        assert store.replace(f"tiles/part-{number}.parquet", b"x", None)
    assert len(list((tmp_path / "_ee_spark/locks").iterdir())) <= SLOTS


HOLD_FLOCK = textwrap.dedent(
    """
    import fcntl, os, sys
    files = [os.open(name, os.O_RDONLY) for name in sys.argv[1:]]
    for file in files:
        fcntl.flock(file, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
    """
)


def test_a_lock_that_a_reader_keeps_is_told_and_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process that may only read the lock files holds all of them; when it goes, the same call does."""
    monkeypatch.setattr(Locks, "longest", 0.3)
    store = FileStore(tmp_path)
    store.replace("tiles/0", b"x", None)
    files = [str(path) for path in (tmp_path / "_ee_spark/locks").iterdir()]
    command = [sys.executable, "-c", HOLD_FLOCK, *files]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        assert holder.stdin
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreError, match=r"_ee_spark/locks/lock-\d\d is held by another process .*; find"):
            store.replace("tiles/0", b"y", store.read("tiles/0")[1])  # type: ignore[index]
        holder.stdin.close()
        holder.wait()
    assert store.replace("tiles/0", b"y", store.read("tiles/0")[1])  # type: ignore[index]


def test_a_lock_that_is_waited_for_is_had_when_it_is_free(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    store.replace("tiles/0", b"x", None)
    generation = store.read("tiles/0")[1]  # type: ignore[index]
    lock = os.open(next((tmp_path / "_ee_spark/locks").iterdir()), os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(store.replace, "tiles/0", b"y", generation)
        with pytest.raises(TimeoutError):
            done.result(0.2)
        os.close(lock)
        assert done.result(60)


def test_a_lock_file_that_is_no_file_is_told(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    store.replace("tiles/0", b"x", None)
    lock = next((tmp_path / "_ee_spark/locks").iterdir())
    lock.unlink()
    os.mkfifo(lock)
    with pytest.raises(StoreError, match=r"locks/lock-\d\d is not a regular file; find out who put it there"):
        store.replace("tiles/0", b"y", store.read("tiles/0")[1])  # type: ignore[index]


def test_who_is_of_another_group_cannot_read_a_lock(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        FileStore(tmp_path).replace("tiles/0", b"x", None)
    finally:
        os.umask(mask)
    (lock,) = (tmp_path / "_ee_spark/locks").iterdir()
    assert stat.S_IMODE(lock.stat().st_mode) == 0o660


# A kernel filter that answers ENOSYS to flock, as Lustre mounted without it does (seccomp(2), x86-64 and arm64).
NO_FLOCK = textwrap.dedent(
    """
    import ctypes, errno, fcntl, json, logging, os, platform, random, struct, sys, time
    call = {"x86_64": 73, "aarch64": 32}[platform.machine()]
    ret = lambda value: struct.pack("HBBI", 0x06, 0, 0, value)
    program = struct.pack("HBBI", 0x20, 0, 0, 0) + struct.pack("HBBI", 0x15, 0, 1, call)
    program += ret(0x00050000 | errno.ENOSYS) + ret(0x7FFF0000)
    code = ctypes.create_string_buffer(program)
    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    assert libc.prctl(22, 2, ctypes.byref(Program(len(program) // 8, ctypes.addressof(code)))) == 0
    try:
        fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX)
    except OSError as error:
        assert error.errno == errno.ENOSYS
    else:
        raise SystemExit("the filter does not hold")
    logging.basicConfig()
    from ee_spark.objects import open_store
    store = open_store(sys.argv[1])
    """
)
ADD = textwrap.dedent(
    """
    for number in range(int(sys.argv[2]), int(sys.argv[3])):
        while True:
            found = store.read("counts.json")
            numbers = [*(json.loads(found[0]) if found else []), number]
            if store.replace("counts.json", json.dumps(numbers).encode(), found[1] if found else None):
                break
    """
)
HOLD = textwrap.dedent(
    """
    from ee_spark.objects.file import FileStore, _Step
    def hold(self):
        print("held", flush=True)
        time.sleep(600)
    _Step.rename = hold
    store.replace("counts.json", b"[]", (store.read("counts.json") or (b"", None))[1])
    """
)
filtered = pytest.mark.skipif(
    platform.system() != "Linux" or platform.machine() not in ("x86_64", "aarch64") or sys.maxsize < 2**32,
    reason="the kernel filter is written for Linux on x86-64 and arm64",
)


def without_flock(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", NO_FLOCK + code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@filtered
def test_four_processes_lose_no_update_without_flock(tmp_path: Path) -> None:
    count = 60
    processes = [without_flock(ADD, tmp_path, first, first + count) for first in range(0, 4 * count, count)]
    for process in processes:
        _, said = process.communicate(timeout=240)
        assert process.returncode == 0, said
        assert said.count("has no flock") == 1
    assert sorted(json.loads((tmp_path / "counts.json").read_bytes())) == list(range(4 * count))
    assert [path.name for path in (tmp_path / "_ee_spark/locks").iterdir() if path.stat().st_size] == []
    assert list((tmp_path / "_ee_spark/tmp").iterdir()) == []


@filtered
def test_a_dead_holders_lock_is_taken_over_by_one(tmp_path: Path) -> None:
    """A process is killed while it holds the lock, and four others come at once; twice."""
    wanted = []
    for first in (0, 40):
        holder = without_flock(HOLD, tmp_path)
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        os.kill(holder.pid, signal.SIGKILL)
        holder.communicate()
        processes = [without_flock(ADD, tmp_path, start, start + 10) for start in range(first, first + 40, 10)]
        for process in processes:
            _, said = process.communicate(timeout=240)
            assert process.returncode == 0, said
        wanted += range(first, first + 40)
        assert sorted(json.loads((tmp_path / "counts.json").read_bytes())) == wanted


@filtered
def test_a_lock_of_elsewhere_is_stale_when_it_is_old(tmp_path: Path) -> None:
    """Nobody knows whether a process of another machine lives: its lock counts by the file system's clock."""
    store: Store = FileStore(tmp_path)
    store.replace("counts.json", b"[]", None)
    slot = next((tmp_path / "_ee_spark/locks").iterdir()).name.removeprefix("lock-")
    held = tmp_path / f"_ee_spark/locks/held-{slot}"
    held.write_text(json.dumps({"nonce": "0" * 32, "process": {"host": "elsewhere", "pid": 1}}))
    waiting = without_flock(ADD, tmp_path, 0, 1)
    with suppress(subprocess.TimeoutExpired):
        waiting.wait(3)
    assert waiting.poll() is None, "the lock is young, and is kept"
    past = held.stat().st_mtime - 1000
    os.utime(held, (past, past))
    _, said = waiting.communicate(timeout=60)
    assert waiting.returncode == 0, said
    assert json.loads((tmp_path / "counts.json").read_bytes()) == [0]
    assert not held.exists()


@filtered
def test_a_lock_by_link_of_the_future_is_not_waited_for_long(tmp_path: Path) -> None:
    """By the file system's clock it never grows old, so somebody made it up, or set a clock back."""
    store: Store = FileStore(tmp_path)
    store.replace("counts.json", b"[]", None)
    slot = next((tmp_path / "_ee_spark/locks").iterdir()).name.removeprefix("lock-")
    held = tmp_path / f"_ee_spark/locks/held-{slot}"
    held.write_text(json.dumps({"nonce": "0" * 32, "process": {"host": "elsewhere", "pid": 1}}))
    future = held.stat().st_mtime + 10**6
    os.utime(held, (future, future))
    waiting = without_flock("import ee_spark.objects.lock as lock\nlock.Locks.longest = 0.3\n" + ADD, tmp_path, 0, 1)
    _, said = waiting.communicate(timeout=60)
    assert waiting.returncode == 1
    assert f"held-{slot} is held by another process" in said
