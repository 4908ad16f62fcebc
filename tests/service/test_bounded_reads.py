"""What is read of a store ends, in bytes and in time: records, objects, lists and errors, whoever serves them."""

from __future__ import annotations

import os
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from object_servers import BUCKET, s3_server, settings_for

from ee_spark.errors import DamagedError, StoreError
from ee_spark.limits import MAX_RECORD
from ee_spark.objects import FileStore, Settings, Store, open_store
from ee_spark.objects import s3 as s3_module
from ee_spark.store import manifest, runs
from ee_spark.store.life import goes_on
from ee_spark.store.schema import JOB, RUNS

HUGE = 6 << 30
MEGABYTE = bytes(1 << 20)


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    """A process that takes gigabytes fails here, instead of filling the machine."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + (1 << 30), hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def sparse(path: Path, size: int = HUGE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.truncate(path, size)
    return path


def test_a_file_larger_than_any_object_is_told(tmp_path: Path) -> None:
    sparse(tmp_path / "pixels/0")
    with pytest.raises(StoreError, match=r"pixels/0: it has 6,442,450,944 bytes or more, and at most 1,073,741,824"):
        FileStore(tmp_path).read("pixels/0")


def test_a_bound_is_met_to_the_byte(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    store.create("a", b"12345")
    assert store.read("a", 5) is not None
    with pytest.raises(DamagedError, match="5 bytes or more, and at most 4"):
        store.read("a", 4)


@pytest.mark.parametrize("read", [manifest.read, lambda store: goes_on(store, "f" * 64, "")], ids=["all", "life"])
def test_a_manifest_is_no_large_object(read: Callable[[Store], object], tmp_path: Path) -> None:
    sparse(tmp_path / JOB, MAX_RECORD + 1)
    with pytest.raises(DamagedError, match=rf"job\.json: it has {MAX_RECORD + 1:,} bytes or more"):
        read(FileStore(tmp_path))


def test_a_huge_record_of_a_run_is_torn_and_forgotten(tmp_path: Path) -> None:
    sparse(tmp_path / RUNS / "mine.json", MAX_RECORD + 1)
    store = FileStore(tmp_path)
    assert runs.read_runs(store) == {"mine": None}
    assert runs.forget(store, "mine", "me")["torn"]
    assert runs.is_forgotten(runs.read_runs(store)["mine"] or {})


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    with s3_server() as url:
        yield url


def test_s3_reads_to_its_bound_and_not_beyond(moto: str) -> None:
    store = open_store(f"s3://{BUCKET}/bounded", settings_for("s3", moto))
    store.create("a", MEGABYTE * 3)
    assert store.read("a", 3 << 20) == (MEGABYTE * 3, store.list("a")[0].generation)
    with pytest.raises(DamagedError, match=r"bounded/a: it has 3,145,728 bytes or more, and at most 3,145,727"):
        store.read("a", (3 << 20) - 1)


@contextmanager
def served(head: bytes, piece: Callable[[int], bytes]) -> Iterator[tuple[Store, list[int]]]:
    """Yield an S3 store whose server answers ``head`` and pieces until the client hangs up, and the bytes it sent."""
    sent = [0]

    def serve(connection: socket.socket) -> None:
        with connection:
            try:
                while connection.recv(65536):
                    connection.sendall(head)
                    for number in count():
                        data = piece(number)
                        if not data:
                            break
                        connection.sendall(data)
                        sent[0] += len(data)
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        yield open_store("s3://b/x", Settings(s3_endpoint=url, s3_region="us-east-1", anonymous=True)), sent
        listener.shutdown(socket.SHUT_RDWR)


LARGE = b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: %d\r\n\r\n' % HUGE
CHUNKED = b'HTTP/1.1 %s\r\nETag: "x"\r\nTransfer-Encoding: chunked\r\n\r\n'
CHUNK = b"100000\r\n" + MEGABYTE + b"\r\n"


@pytest.mark.parametrize("head", [LARGE, CHUNKED % b"200 OK"], ids=["length", "chunks"])
@pytest.mark.parametrize("work", ["read", "open"])
def test_s3_takes_no_more_than_was_asked_for(work: str, head: bytes) -> None:
    with served(head, lambda _: MEGABYTE if head is LARGE else CHUNK) as (store, sent):
        with pytest.raises(StoreError, match="bytes or more, and at most"):
            store.read("a", 8 << 20) if work == "read" else store.open("a")
        assert sent[0] < 64 << 20


def test_an_s3_error_without_end_is_not_taken() -> None:
    with served(CHUNKED % b"403 Forbidden", lambda _: CHUNK) as (store, sent):
        with pytest.raises(StoreError, match="and at most 65,536 are read"):
            store.read("a")
        assert sent[0] < 64 << 20


def test_an_s3_page_without_end_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_module, "MAX_JSON", 8 << 20)
    with served(CHUNKED % b"200 OK", lambda _: CHUNK) as (store, sent):
        with pytest.raises(StoreError, match="and at most 8,388,608 are read"):
            store.list("pixels/")
        assert sent[0] < 64 << 20


@pytest.mark.parametrize("work", ["read", "list"])
def test_an_s3_answer_that_drips_ends(work: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then keeps every timeout of a socket from being met."""
    monkeypatch.setattr(s3_module, "ANSWER_SECONDS", 0.5)
    pause = threading.Event()

    def drip(_: int) -> bytes:
        pause.wait(0.02)
        return b" "

    ends = pytest.raises(StoreError, match=r"the answer did not end: [0-9,]+ bytes in \d+ s; run the same command")
    with served(LARGE.replace(b"%d" % HUGE, b"1000000"), drip) as (store, _), ends:
        getattr(store, work)("a")
    pause.set()


@pytest.mark.parametrize("named", ["the same", "nothing", "others"])
def test_an_s3_list_without_end_is_told(named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_module, "MAX_LISTED", 10_000)
    pages = count()

    def page(number: int) -> bytes:
        if number:
            return b""
        at = next(pages)
        names = {"the same": range(1000), "nothing": range(0), "others": range(at * 1000, at * 1000 + 1000)}[named]
        items = "".join(f'<Contents><Key>x/{n}</Key><ETag>"x"</ETag><Size>1</Size></Contents>' for n in names)
        token = f"<IsTruncated>true</IsTruncated><NextContinuationToken>t{at}</NextContinuationToken>"
        body = f"<ListBucketResult>{token}{items}</ListBucketResult>".encode()
        return b"Content-Type: application/xml\r\nContent-Length: %d\r\n\r\n" % len(body) + body

    with served(b"HTTP/1.1 200 OK\r\n", page) as (store, _), pytest.raises(StoreError, match="a list without an end"):
        store.list("")
    assert next(pages) < 30


def test_an_s3_body_that_breaks_off_is_asked_for_again() -> None:
    whole = b"0123456789"
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for data in (whole[:4], whole[:4], whole):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: 10\r\n\r\n' + data)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        store = open_store("s3://b/x", Settings(s3_endpoint=url, s3_region="us-east-1", anonymous=True))
        assert store.read("a") == (whole, '"x"')
        thread.join()
