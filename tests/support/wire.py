"""A scripted HTTP server on loopback, for what no emulator would do: odd headers, torn bodies, silence."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Said:
    """One request as it came in; the header ``x-peer`` is the port that it came from."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Told:
    """One answer: ``length`` is what Content-Length says, ``hold`` an event that the body's second half waits for."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None
    hold: threading.Event | None = None


class Wire(ThreadingHTTPServer):
    """Answers every request by ``script`` and remembers what was said."""

    request_queue_size = 256
    daemon_threads = True
    block_on_close = False

    def __init__(self, script: Callable[[Said], Told], tls: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script, self.tls = script, tls
        self.said: list[Said] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self.tls:
            request = self.tls.wrap_socket(request, server_side=True)
        super().finish_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Wire

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        headers["x-peer"] = str(self.client_address[1])
        said = Said(self.command, self.path, headers, body)
        self.server.said.append(said)
        told = self.server.script(said)
        self.send_response(told.status)
        self.send_header("Content-Length", str(len(told.body) if told.length is None else told.length))
        for name, value in told.headers.items():
            self.send_header(name, value)
        self.end_headers()
        half = len(told.body) // 2 if told.hold else 0
        self.wfile.write(told.body[:half])
        if told.hold:
            self.wfile.flush()
            told.hold.wait(30)
        self.wfile.write(told.body[half:])
        if told.length is not None and told.length > len(told.body):
            self.close_connection = True

    do_GET = _serve  # noqa: N815 (the base class's names)
    do_POST = _serve  # noqa: N815

    def do_CONNECT(self) -> None:
        """Tunnel to ``server.behind``, as a proxy does."""
        self.server.said.append(Said("CONNECT", self.path, dict(self.headers.items()), b""))
        self.send_response(200)
        self.end_headers()
        self.close_connection = True
        with socket.create_connection(self.server.behind) as far:  # type: ignore[attr-defined]
            back = threading.Thread(target=pump, args=(far, self.connection), daemon=True)
            back.start()
            pump(self.connection, far)
            back.join(5)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def pump(source: socket.socket, target: socket.socket) -> None:
    """Pass on what comes from ``source`` until it ends."""
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return


@contextmanager
def wire(script: Callable[[Said], Told], tls: ssl.SSLContext | None = None) -> Iterator[Wire]:
    """Serve ``script`` on a free port of 127.0.0.1."""
    server = Wire(script, tls)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def silence() -> socket.socket:
    """Return a listening socket that never answers."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(16)
    return listener
