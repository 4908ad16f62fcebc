"""HTTP/1.1 connections: requests are parsed, answered in order, and replies are sent as their fault demands."""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from urllib.parse import parse_qsl, unquote

import httptools

from ..errors import ServiceError, not_implemented
from .message import JSON, Reply, Request, refused
from .origin import foreign
from .service import algorithms
from .traffic import Traffic

MAX_BODY = 10485760
"""Bytes of a request body (the service's own limit)."""
_OVERRIDE = "x-http-method-override"
_FORM = "application/x-www-form-urlencoded"
_MAX_HEAD = 1 << 16
"""Bytes of a request's line and headers."""
_WAITING = 16
"""Requests of one connection that may wait for their turn before no more is read from it."""
SLOW_SECONDS = 3.0
"""How long the `slow` fault takes to trickle out a reply."""
_GZIP_FROM = 1024
_JOINED = 1 << 16
"""Bodies below this many bytes go out in one write with their head."""
_REASONS = {200: "OK", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed"}
_REASONS |= {429: "Too Many Requests", 500: "Internal Server Error", 503: "Service Unavailable", 504: "Gateway Timeout"}


def _method(path: str) -> str | None:
    """The short name of an API method for counting; None for what is neither limited nor counted."""
    if not path.startswith(("/v1/", "/v1alpha/")) or path.endswith("/algorithms"):
        return None
    tail = path.rpartition("/")[2]
    if tail == "thumbnails":
        return "createThumbnail"
    return tail.rpartition(":")[2] if ":" in tail else "get"


Answer = Callable[[Request], Awaitable[Reply]]
"""Gives the reply to a request of the API."""


class Connection(asyncio.Protocol):
    """One client connection: requests are answered one after the other, in order."""

    def __init__(self, answer: Answer, own: Callable[[Request], Reply], traffic: Traffic) -> None:
        self._answer = answer
        self._own = own
        self._traffic = traffic
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[tuple[Request | ServiceError, bool]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._held = False
        self._broken = False
        self._start()

    def _start(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._size = 0
        self._head = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The client is there: what asyncio calls first."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._address = str(transport.get_extra_info("sockname", ("",))[0])

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone; nothing is answered any more."""
        self._writable.set()
        self._waiting.clear()

    def pause_writing(self) -> None:
        """The client reads too slowly: wait before the next reply."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """The client has read enough."""
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        if self._broken:
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._broken = True
            self._enqueue(ServiceError(f"Malformed HTTP request: {error!s:.100}"), keep=False)

    # What httptools calls while it parses.

    def on_message_begin(self) -> None:
        """A request begins."""
        self._start()

    def on_url(self, url: bytes) -> None:
        """A part of its path and query."""
        self._url += url
        self._count(len(url))

    def _count(self, size: int) -> None:
        self._head += size
        if self._head > _MAX_HEAD:
            raise ValueError("the head of the request is too large")  # httptools makes a parser error of it

    def on_header(self, name: bytes, value: bytes) -> None:
        """One of its headers."""
        self._count(len(name) + len(value))
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        if key in ("host", "origin") and key in self._headers:
            text = f"{self._headers[key]}, {text}"  # two of them are none that is known
        self._headers[key] = text

    def on_headers_complete(self) -> None:
        """Its head is read: tell a client that waits to go on."""
        if self._headers.get("expect", "").lower() == "100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """A part of its body; what is beyond the limit is counted only."""
        self._size += len(body)
        if self._size <= MAX_BODY:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """The request is whole: it waits for its turn."""
        keep = bool(self._parser.should_keep_alive())
        if self._size > MAX_BODY:
            self._enqueue(ServiceError(f"Request payload size exceeds the limit: {MAX_BODY} bytes."), keep)
            return
        path, _, query = self._url.decode("latin-1").partition("?")
        method, body = self._parser.get_method().decode("latin-1"), b"".join(self._body)
        if method == "POST" and _OVERRIDE in self._headers:
            # A query too long for a URL: https://cloud.google.com/apis/docs/http
            if self._headers[_OVERRIDE].upper() != "GET":
                self._enqueue(not_implemented(f"{_OVERRIDE}: {self._headers[_OVERRIDE]:.60}"), keep)
                return
            method = "GET"
            if self._headers.get("content-type", "").startswith(_FORM):
                query, body = "&".join(filter(None, (query, body.decode("latin-1")))), b""
        request = Request(
            method,
            unquote(path) if "%" in path else path,
            dict(parse_qsl(query, keep_blank_values=True)) if query else {},
            self._headers,
            body,
        )
        self._enqueue(request, keep)

    def _enqueue(self, request: Request | ServiceError, keep: bool) -> None:
        self._waiting.append((request, keep))
        if len(self._waiting) > _WAITING and not self._held:
            self._held = True
            self._transport.pause_reading()
        if self._task is None:
            self._task = self._loop.create_task(self._drain())

    async def _drain(self) -> None:
        try:
            while self._waiting:
                request, keep = self._waiting.popleft()
                if self._held and not self._waiting:
                    self._held = False
                    self._transport.resume_reading()
                if isinstance(request, ServiceError):
                    self._send(refused(request), {}, keep)
                else:
                    keep = await self._serve(request, keep) and keep
                if not keep:
                    self._transport.close()
                    return
                await self._writable.wait()
        finally:
            self._task = None

    async def _serve(self, request: Request, keep: bool) -> bool:
        """Answer one request; False when the connection is to be closed."""
        wrong = foreign(request.headers, self._address)
        if wrong:
            self._send(refused(ServiceError(wrong, 403)), request.headers, keep)
            return True
        method = _method(request.path)
        if method is None:
            own = request.path.startswith("/_emulator/")
            reply = self._own(request) if own else await self._answer(request)
            self._send(reply, request.headers, keep)
            return True
        traffic = self._traffic
        status, sent = "closed", 0
        started = time.monotonic()
        try:
            traffic.enter(started, method)
        except ServiceError as error:
            traffic.leave(str(error.code), self._send(refused(error), request.headers, keep))
            return True
        try:
            fault = traffic.fault()
            until = started + traffic.latency()
            if fault in ("500", "503"):
                text = "An internal error has occurred" if fault == "500" else "The service is currently unavailable."
                reply = refused(ServiceError(text, int(fault)))
            elif fault == "reset":
                reply = refused(ServiceError("reset", 500))
            else:
                reply = await self._answer(request)
            rest = until - time.monotonic()
            if rest > 0:
                await asyncio.sleep(rest)
            status, sent = await self._deliver(fault, reply, request, keep)
            return status.isdigit()
        finally:
            traffic.leave(status, sent)

    async def _deliver(self, fault: str | None, reply: Reply, request: Request, keep: bool) -> tuple[str, int]:
        """Send a reply as its fault demands; the status to count and the bytes sent."""
        if fault == "reset":
            raw = self._transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()
            return "reset", 0
        if fault == "truncate":
            data = self._message(reply, request.headers, keep)
            cut = data[: len(data) - max(1, len(reply.body) // 2)]
            self._transport.write(cut)
            return "truncated", len(cut)
        if fault == "slow":
            data = self._message(reply, request.headers, keep)
            step = max(1, -(-len(data) // 10))
            for at in range(0, len(data), step):
                self._transport.write(data[at : at + step])
                await asyncio.sleep(SLOW_SECONDS / 10)
            return str(reply.status), len(data)
        return str(reply.status), self._send(reply, request.headers, keep)

    def _send(self, reply: Reply, headers: Mapping[str, str], keep: bool) -> int:
        if self._transport.is_closing():
            return 0
        head, body = self._head_and_body(reply, headers, keep)
        if len(body) < _JOINED:
            self._transport.write(head + body)
        else:  # a large body is not copied: what the socket does not take at once is a slice of a view
            self._transport.write(head)
            self._transport.write(memoryview(body))
        return len(head) + len(body)

    def _message(self, reply: Reply, headers: Mapping[str, str], keep: bool) -> bytes:
        head, body = self._head_and_body(reply, headers, keep)
        return head + body

    def _head_and_body(self, reply: Reply, headers: Mapping[str, str], keep: bool) -> tuple[bytes, bytes | memoryview]:
        body, encoding = reply.body, ""
        # Google's front ends compress for clients that also say so in the user agent; JSON is cheap enough for all.
        wanted = "gzip" in headers.get("accept-encoding", "") and len(body) >= _GZIP_FROM
        if wanted and (reply.content_type == JSON or "gzip" in headers.get("user-agent", "")):
            body, encoding = _compressed(body), "Content-Encoding: gzip\r\n"
        extra = "".join(f"{name}: {value}\r\n" for name, value in self._traffic.headers.items())
        head = (
            f"HTTP/1.1 {reply.status} {_REASONS.get(reply.status, 'Unknown')}\r\n"
            f"Content-Type: {reply.content_type}\r\nContent-Length: {len(body)}\r\n{encoding}{extra}"
            f"Connection: {'keep-alive' if keep else 'close'}\r\n\r\n"
        )
        return head.encode("latin-1"), body


def _compressed(body: bytes | memoryview) -> bytes:
    return _compressed_list() if body is algorithms() else gzip.compress(body, 1, mtime=0)


@lru_cache(maxsize=1)
def _compressed_list() -> bytes:
    return gzip.compress(algorithms(), 6, mtime=0)
