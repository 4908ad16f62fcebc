"""Stores: one promise, three places. The same tests run against real files, fake-gcs-server and moto."""

from __future__ import annotations

import ctypes
import io
import json
import os
import platform
import random
import resource
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage as official
from object_servers import BUCKET, Flaky, gcs_server, s3_server, settings_for

from ee_spark.errors import JobError, StoreError
from ee_spark.objects import FileStore, Store, open_store, probe, read_input

KINDS = ("file", "gs", "s3")
_folders = count()


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, str]]:
    with gcs_server() as gs, s3_server() as s3:
        yield {"gs": gs, "s3": s3}


def rooted(kind: str, servers: dict[str, str], folder: str, url: str | None = None) -> Store:
    return open_store(f"{kind}://{BUCKET}/{folder}", settings_for(kind, url or servers[kind]))


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, servers: dict[str, str], tmp_path: Path) -> Store:
    if request.param == "file":
        return open_store(str(tmp_path / "a dataset"))
    return rooted(request.param, servers, f"data/set{next(_folders)}")


def test_a_name_is_created_once(store: Store) -> None:
    assert store.create("pixels/part-0.parquet", b"first")
    assert not store.create("pixels/part-0.parquet", b"second")
    assert store.read("pixels/part-0.parquet")[0] == b"first"  # type: ignore[index]
    assert store.read("pixels/part-1.parquet") is None


def test_replace_wants_the_generation_that_was_read(store: Store) -> None:
    assert not store.replace("a/job.json", b"x", "12345")
    assert store.read("a/job.json") is None
    assert store.replace("a/job.json", b"one", None)
    assert not store.replace("a/job.json", b"other", None)
    found = store.read("a/job.json")
    assert found is not None
    assert store.replace("a/job.json", b"two", found[1])
    assert not store.replace("a/job.json", b"three", found[1])
    assert store.read("a/job.json")[0] == b"two"  # type: ignore[index]


def test_list_is_by_prefix_sorted_with_sizes_and_generations(store: Store) -> None:
    for name in ("pixels/part-b-2.parquet", "pixels/part-b-10.parquet", "pixels/part-a-0.parquet", "tiles/x", "_S"):
        store.create(name, name.encode())
    store.create("pixels/part-b-deep/er", b"")
    names = [entry.name for entry in store.list("pixels/part-b-")]
    assert names == ["pixels/part-b-10.parquet", "pixels/part-b-2.parquet", "pixels/part-b-deep/er"]
    assert [entry.name for entry in store.list("_S")] == ["_S"]
    assert store.list("nothing/") == []
    for entry in store.list("pixels/part-a"):
        assert (entry.size, entry.generation) == (len(entry.name), store.read(entry.name)[1])  # type: ignore[index]


def test_a_file_is_sent_whole_and_replaces_what_was_there(store: Store, tmp_path: Path) -> None:
    data = random.Random(1).randbytes(20 << 20)  # several parts on S3
    (tmp_path / "file").write_bytes(data)
    assert store.create("out/mosaic é.tif", b"old")
    store.send("out/mosaic é.tif", tmp_path / "file")
    assert store.read("out/mosaic é.tif")[0] == data  # type: ignore[index]
    assert [entry.name for entry in store.list("out/")] == ["out/mosaic é.tif"]


@pytest.mark.parametrize("kind", ["gs", "s3"])
def test_a_file_is_sent_again_when_that_fails(kind: str, servers: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456789" * 100_000)
    flaky = Flaky(servers[kind], {"refuse": 0.2, "drop": 0.2}, seed=3)
    with flaky.serving() as url:
        far = rooted(kind, servers, f"sent{next(_folders)}", url)
        for index in range(8):
            far.send(f"x{index}", tmp_path / "file")
        assert [entry.size for entry in far.list("x")] == [1_000_000] * 8
    assert flaky.met["refuse"]
    assert flaky.met["drop"]


def test_a_long_list_comes_whole(store: Store) -> None:
    wanted = sorted(f"many/part-{index:05d}" for index in range(1100))
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda name: store.create(name, b"x"), wanted))
    assert [entry.name for entry in store.list("many/part-")] == wanted


def test_names_with_special_characters(store: Store) -> None:
    name = "pixels/part-é %2F#?&+=~.parquet"
    assert store.create(name, b"data")
    assert [entry.name for entry in store.list("pixels/part-é %2F#")] == [name]
    assert store.read(name)[0] == b"data"  # type: ignore[index]
    with store.open(name) as file:
        assert file.read() == b"data"
    store.delete(name)
    store.delete(name)
    assert store.list("pixels/") == []


def test_open_reads_ranges(store: Store) -> None:
    data = bytes(range(256)) * 4096  # 1 MiB: more than is held of its end
    store.create("large", data)
    with store.open("large") as file:
        file.seek(1000)
        assert file.read(5000) == data[1000:6000]
        file.seek(-10, io.SEEK_END)
        assert file.read() == data[-10:]
        assert file.tell() == len(data)
        file.seek(len(data) - (1 << 18) - 7)
        assert file.read(20) == data[len(data) - (1 << 18) - 7 :][:20]
    store.create("empty", b"")
    with store.open("empty") as file:
        assert file.read() == b""
    with pytest.raises(StoreError):
        store.open("absent")


def test_a_parquet_footer_is_read_through_open(store: Store) -> None:
    table = pa.table({"a": pa.array(range(500_000), pa.int64())})
    sink = io.BytesIO()
    pq.write_table(table, sink, use_dictionary=False, compression="none")
    store.create("t.parquet", sink.getvalue())
    with store.open("t.parquet") as file:
        assert pq.ParquetFile(file).metadata.num_rows == 500_000
    with store.open("t.parquet") as file:
        assert pq.read_table(file).equals(table)


def test_racing_creators_leave_one_winner(store: Store) -> None:
    barrier = threading.Barrier(8)

    def race(number: int) -> bool:
        barrier.wait()
        return store.create("pixels/race", str(number).encode() * 50_000)

    with ThreadPoolExecutor(8) as pool:
        won = [number for number, created in enumerate(pool.map(race, range(8))) if created]
    assert len(won) == 1
    assert store.read("pixels/race")[0] == str(won[0]).encode() * 50_000  # type: ignore[index]


def test_racing_replacers_lose_no_update(store: Store) -> None:
    def add(number: int) -> None:
        while True:
            found = store.read("counts.json")
            numbers = [*(json.loads(found[0]) if found else []), number]
            if store.replace("counts.json", json.dumps(numbers).encode(), found[1] if found else None):
                return

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(add, range(30)))
    assert sorted(json.loads(store.read("counts.json")[0])) == list(range(30))  # type: ignore[index]


def test_the_probe_takes_a_good_store_and_leaves_nothing(store: Store) -> None:
    probe(store)
    assert [entry for entry in store.list("") if "locks" not in entry.name] == []


def test_the_probe_refuses_a_store_that_ignores_the_condition(tmp_path: Path) -> None:
    class Overwriting(FileStore):
        """What a store looks like that knows no If-None-Match: writing what is there succeeds."""

        def create(self, name: str, data: bytes) -> bool:
            self.delete(name)
            return super().create(name, data)

    with pytest.raises(JobError, match=r"output\.path: .* creates an object that is there already"):
        probe(Overwriting(tmp_path))


def test_the_probe_says_where_nothing_can_be_written(servers: dict[str, str]) -> None:
    for kind in ("gs", "s3"):
        with pytest.raises(JobError, match=f"output.path: cannot write to {kind}://no-such-bucket"):
            probe(open_store(f"{kind}://no-such-bucket/x", settings_for(kind, servers[kind])))


@pytest.mark.parametrize("kind", ["gs", "s3"])
def test_refused_and_dropped_requests_are_tried_again(kind: str, servers: dict[str, str]) -> None:
    flaky = Flaky(servers[kind], {"refuse": 0.2, "drop": 0.1}, seed=5)
    with flaky.serving() as url:
        store = rooted(kind, servers, f"flaky{next(_folders)}", url)
        assert all(store.create(f"p/{index}", b"x" * 1000) for index in range(15))
        assert len(store.list("p/")) == 15
        assert all(store.read(f"p/{index}")[0] == b"x" * 1000 for index in range(15))  # type: ignore[index]
    assert flaky.met["refuse"] > 2
    assert flaky.met["drop"] > 2


@pytest.mark.parametrize("kind", ["gs", "s3"])
def test_a_lost_answer_leaves_the_object_whole(kind: str, servers: dict[str, str]) -> None:
    """False where it was ours is allowed (the log settles it); a name with nothing or half an object is not."""
    flaky = Flaky(servers[kind], {"lose": 0.4}, seed=2)
    with flaky.serving() as url:
        store = rooted(kind, servers, f"lost{next(_folders)}", url)
        created = [store.create(f"p/{index}", str(index).encode()) for index in range(12)]
    straight = rooted(kind, servers, store.root.rpartition("/")[2])
    assert [straight.read(f"p/{index}")[0] for index in range(12)] == [str(i).encode() for i in range(12)]  # type: ignore[index]
    assert flaky.met["lose"] > 3
    assert not all(created)


def test_the_official_client_reads_what_gs_wrote(servers: dict[str, str]) -> None:
    """An independent reader: google-cloud-storage sees the bytes, the checksum and the names."""
    store, data = rooted("gs", servers, "official"), os.urandom(3_000_000)
    store.create("pixels/part one.parquet", data)
    client = official.Client(
        "p",
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": servers["gs"]},
        use_auth_w_custom_endpoint=False,
    )
    blob = client.bucket(BUCKET).get_blob("official/pixels/part one.parquet")
    assert blob.download_as_bytes(checksum="crc32c") == data
    assert str(blob.generation) == store.list("pixels/")[0].generation


@pytest.mark.parametrize("kind", ["gs", "s3"])
def test_an_open_file_never_mixes_generations(kind: str, servers: dict[str, str]) -> None:
    store = rooted(kind, servers, f"mixed{next(_folders)}")
    store.create("f", b"a" * 600_000)
    with store.open("f") as file:
        store.replace("f", b"b" * 600_000, store.read("f")[1])  # type: ignore[index]
        with suppress(StoreError):  # said, not mixed: neither server keeps the older generation
            assert set(file.read(100)) == set(b"a")


@pytest.mark.parametrize("path", ["ftp://host/x", "gs:///x", "s3://"])
def test_what_is_no_store_is_refused(path: str) -> None:
    with pytest.raises(JobError):
        open_store(path)


@pytest.mark.parametrize("kind", ["gs", "s3"])
def test_job_files_and_what_they_name_are_read_from_buckets(kind: str, servers: dict[str, str]) -> None:
    rooted(kind, servers, "jobs").replace("area.geojson", b"{}", None)
    settings = settings_for(kind, servers[kind])
    assert read_input(f"{kind}://{BUCKET}/jobs/area.geojson", "region.geojson", settings) == b"{}"
    with pytest.raises(JobError, match=r"region.geojson: .*absent. does not exist"):
        read_input(f"{kind}://{BUCKET}/jobs/absent", "region.geojson", settings)


# --- files ---


def in_a_process(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def test_two_processes_race_for_one_name(tmp_path: Path) -> None:
    """64 names, two processes that start together: each name is created by exactly one, and is whole."""
    code = """
        import sys, time
        from ee_spark.objects import open_store
        store, mine, start = open_store(sys.argv[1]), sys.argv[2].encode(), float(sys.argv[3])
        while time.time() < start: pass
        print(sum(store.create(f"pixels/{n}", mine * 100_000) for n in range(64)))
    """
    import time

    start = str(time.time() + 1.5)
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda who: in_a_process(code, str(tmp_path), who, start), "ab"))
    assert sum(int(process.stdout) for process in done) == 64, done
    contents = [(tmp_path / "pixels" / str(n)).read_bytes() for n in range(64)]
    assert all(content in (b"a" * 100_000, b"b" * 100_000) for content in contents)
    assert list((tmp_path / "_ee_spark/tmp").iterdir()) == []


class ClearedUnder(FileStore):
    """A store whose temporaries another run clears just before they are published, ``times`` times."""

    times = 0

    def _write_temp(self, temps: int, data: bytes) -> str:
        temp = super()._write_temp(temps, data)
        if self.times:
            self.times -= 1
            FileStore(Path(self.root)).clear_temp()
        return temp


def test_a_temporary_that_another_run_clears_is_written_again(tmp_path: Path) -> None:
    store = ClearedUnder(tmp_path)
    store.times = 2
    assert store.create("pixels/0", b"first")
    store.times = 2
    assert store.replace("pixels/0", b"second", store.read("pixels/0")[1])  # type: ignore[index]
    assert store.read("pixels/0")[0] == b"second"  # type: ignore[index]
    store.times = 99
    with pytest.raises(StoreError, match="vanished"):
        store.create("pixels/1", b"x")
    assert store.read("pixels/1") is None


def test_a_listing_bears_files_that_vanish_meanwhile(tmp_path: Path) -> None:
    store, end = FileStore(tmp_path), threading.Event()
    for number in range(200):
        store.create(f"pixels/keep-{number}", b"")

    def churn() -> None:
        while not end.is_set():
            (tmp_path / "pixels/keep-x").write_bytes(b"")
            (tmp_path / "pixels/keep-x").unlink()

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(300):
            assert len([e for e in store.list("pixels/keep-") if e.name != "pixels/keep-x"]) == 200
    finally:
        end.set()
        thread.join()


def test_a_folder_that_is_a_file_is_an_error_not_a_taken_name(tmp_path: Path) -> None:
    (tmp_path / "pixels").write_text("not a folder")
    with pytest.raises(StoreError, match=r"pixels.*Not a directory; .* find out who made it, and move it away"):
        FileStore(tmp_path).create("pixels/part-0", b"x")


@pytest.mark.parametrize("work", ["read", "open", "delete", "send", "replace"])
def test_a_folder_in_an_objects_place_has_a_way_out(work: str, tmp_path: Path) -> None:
    (tmp_path / "set/_SUCCESS").mkdir(parents=True)
    store = FileStore(tmp_path / "set")
    do = {
        "read": lambda: store.read("_SUCCESS"),
        "open": lambda: store.open("_SUCCESS"),
        "delete": lambda: store.delete("_SUCCESS"),
        "send": lambda: store.send("_SUCCESS", Path(__file__)),
        "replace": lambda: store.replace("_SUCCESS", b"x", store._generation("_SUCCESS")),
    }[work]
    with pytest.raises(StoreError, match=r"_SUCCESS: Is a directory; .* find out who made it, and move it away"):
        do()
    assert [path.name for path in (tmp_path / "set").glob("*SUCCESS")] == ["_SUCCESS"]


def test_a_full_disk_leaves_no_object_and_no_temporary(tmp_path: Path) -> None:
    """The kernel refuses to let a file grow beyond a limit, as a full disk would."""
    code = """
        import resource, signal, sys
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        from ee_spark.objects import open_store
        from ee_spark.errors import StoreError
        store = open_store(sys.argv[1])
        assert store.create("pixels/small", b"x" * 1000)
        for publish in (lambda: store.create("pixels/large", b"x" * 1_000_000),
                        lambda: store.replace("pixels/small", b"x" * 1_000_000, store.read("pixels/small")[1])):
            try:
                publish()
            except StoreError as error:
                print(error)
        assert store.read("pixels/large") is None
        assert store.read("pixels/small")[0] == b"x" * 1000
        assert store.list("_ee_spark/tmp/") == []
    """
    done = in_a_process(code, str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("File too large") == 2
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 100_000


# A kernel filter that answers EPERM to link and linkat, as a mount without links does (seccomp(2), x86-64 and arm64).
NO_LINK = """
    import ctypes, platform, struct
    calls = {"x86_64": (86, 265), "aarch64": (37, 37)}[platform.machine()]
    ret = lambda value: struct.pack("HBBI", 0x06, 0, 0, value)
    program = struct.pack("HBBI", 0x20, 0, 0, 0)
    program += struct.pack("HBBI", 0x15, 1, 0, calls[0]) + struct.pack("HBBI", 0x15, 0, 1, calls[1])
    program += ret(0x00050000 | 1) + ret(0x7FFF0000)
    code = ctypes.create_string_buffer(program)
    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    assert libc.prctl(22, 2, ctypes.byref(Program(len(program) // 8, ctypes.addressof(code)))) == 0
"""


def can_filter() -> bool:
    return (
        platform.system() == "Linux"
        and platform.machine() in ("x86_64", "aarch64")
        and bool(ctypes.sizeof(ctypes.c_void_p) == 8)
    )


@pytest.mark.skipif(not can_filter(), reason="the kernel filter is written for Linux on x86-64 and arm64")
def test_a_mount_without_links_is_written_by_rename(tmp_path: Path) -> None:
    code = textwrap.dedent(NO_LINK) + textwrap.dedent(
        """
            import errno, logging, os, sys
            logging.basicConfig()
            from ee_spark.objects import open_store, probe
            open(sys.argv[1] + "/a", "w").close()
            try:
                os.link(sys.argv[1] + "/a", sys.argv[1] + "/b")
            except OSError as error:
                assert error.errno == errno.EPERM
            else:
                raise SystemExit("the filter does not hold")
            store = open_store(sys.argv[1])
            probe(store)
            assert store.create("pixels/0", b"one")
            assert not store.create("pixels/0", b"two")
            assert store.create("pixels/1", b"one")
            assert store.read("pixels/0")[0] == b"one"
            assert store.list("_ee_spark/tmp/") == []
            """
    )
    done = in_a_process(code, str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("cannot link files") == 1
    assert "one writer at a time" in done.stderr
