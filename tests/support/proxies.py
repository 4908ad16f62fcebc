"""A small proxy on loopback, with a password: for CONNECT and for plain http, it knows where each name is served."""

from __future__ import annotations

import base64
import http.client
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from wire import pump

Address = tuple[str, int]


@dataclass(frozen=True)
class Asked:
    """What a proxy was asked: ``target`` is HOST:PORT, as the client wrote it; ``headers`` in lower case."""

    method: str
    target: str
    headers: dict[str, str]


class Proxy(ThreadingHTTPServer):
    """Serves ``routes`` (HOST:PORT to an address of this machine) to who gives ``user`` (NAME:PASSWORD), if any."""

    request_queue_size = 256
    daemon_threads = True
    block_on_close = False

    def __init__(self, routes: Mapping[str, Address], user: str | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.routes, self.asked = dict(routes), list[Asked]()
        self.wanted = f"Basic {base64.b64encode(user.encode()).decode()}" if user else None
        self.address = f"127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Proxy

    def _admitted(self, target: str) -> Address | None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.asked.append(Asked(self.command, target, headers))
        if self.server.wanted not in (None, headers.get("proxy-authorization")):
            self._refuse(407)
            return None
        if target not in self.server.routes:
            self._refuse(502)
            return None
        return self.server.routes[target]

    def _refuse(self, status: int) -> None:
        self.send_response(status)
        self.send_header("content-length", "0")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True

    def do_CONNECT(self) -> None:
        """Tunnel to where the name is served."""
        address = self._admitted(self.path)
        if address is None:
            return
        self.send_response(200)
        self.end_headers()
        self.close_connection = True
        with socket.create_connection(address) as far:
            back = threading.Thread(target=pump, args=(far, self.connection), daemon=True)
            back.start()
            pump(self.connection, far)
            back.join(5)

    def _pass_on(self) -> None:
        parts = urlsplit(self.path)
        address = self._admitted(parts.netloc)
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if address is None:
            return
        far = http.client.HTTPConnection(*address)
        headers = {
            name: value for name, value in self.headers.items() if not name.lower().startswith(("proxy-", "host"))
        }
        far.request(self.command, self.path.partition(parts.netloc)[2], body, headers)
        answer = far.getresponse()
        data = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        far.close()

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _pass_on  # noqa: N815 (the base class calls these names)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def proxy(routes: Mapping[str, Address] | None = None, user: str | None = None) -> Iterator[Proxy]:
    """Serve a proxy on a free port of 127.0.0.1."""
    server = Proxy(routes or {}, user)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
