"""Connections to other machines: pooled, by the environment's proxies, with answers of bounded size.

The only home of HTTP but for boto3's own. Nothing is followed elsewhere, and a request with a token goes to Google or
nowhere: that is checked here, where it connects.
"""

from __future__ import annotations

import base64
import ipaddress
import os
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3 import connection, connectionpool
from urllib3.exceptions import DecodeError, HTTPError, LocationParseError
from urllib3.util import parse_url

from ee_spark.errors import JobError
from ee_spark.hosts import check_token_goes_to, host_of, is_endpoint
from ee_spark.limits import MAX_ERROR, MAX_JSON

__all__ = ["Answer", "Connections", "HTTPError", "OversizeError", "Proxy", "proxy_of"]

CONNECT_SECONDS = 10
LOOK_SECONDS = 0.5
"""How often requests in flight are looked at, whether their time is over."""
IDLE_LOOKS = 20
"""After so many looks at nothing the thread that looks ends; the next request starts another."""
_STEP = 1 << 16
"""Bytes of a compressed answer inflated at once: what a bomb of them may come to is bounded too."""


class OversizeError(Exception):
    """An answer has more bytes than what was asked for can have; the rest of it was not read."""

    def __init__(self, most: int) -> None:
        super().__init__(f"the answer has more than {most} bytes, the most that was asked for")
        self.most = most


@dataclass(frozen=True)
class Answer:
    """A whole answer; where its status is not a success, the first 64 KiB. ``headers`` go by name in any case."""

    status: int
    headers: Mapping[str, str]
    data: bytes


@dataclass(frozen=True)
class Proxy:
    """A proxy of the environment: its URL without a user, and the header that says who asks it.

    Neither the header nor ``full_url``, which has user and password, is ever shown.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)
    full_url: str = field(default="", repr=False, compare=False)


class Connections:
    """Pooled connections, directly or through the environment's proxies, whose requests end in time.

    For any number of threads; a process that was forked begins anew, since two must not read from one connection. A
    timeout of sockets starts again with every byte: one thread of its own, while requests are in flight, ends those
    whose whole time is over.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._begin()

    def request(
        self,
        method: str,
        url: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = CONNECT_SECONDS,
        most: int = MAX_JSON,
    ) -> Answer:
        """Send one request, whole, and return its answer, whole and inflated, within ``timeout`` seconds.

        Raises:
            urllib3.exceptions.HTTPError, OSError, ValueError: without a whole answer.
            OversizeError: for a good answer of more than ``most`` bytes, inflated.
            JobError: for a token that would not go to Google, or a proxy that cannot be understood.
        """
        headers = dict(headers or {})
        if any(name.lower() == "authorization" for name in headers):
            check_token_goes_to(url)
        if self._process != os.getpid():
            self._begin()
        limits = urllib3.Timeout(connect=min(CONNECT_SECONDS, timeout), read=timeout)
        until = time.monotonic() + timeout
        flight, thread = self._in_flight, threading.get_ident()
        flight[thread] = (until, None)
        _tracked.request = (flight, until)
        if self._reaper is None:
            self._start_reaper()
        ended = False
        try:
            try:
                response = self._manager(url).request(
                    method,
                    url,
                    body=body,
                    headers=headers,
                    timeout=limits,
                    redirect=False,
                    retries=False,
                    preload_content=False,
                )
                answer = Answer(response.status, response.headers, _read(response, most))
            finally:
                ended = flight.pop(thread, None) is None
        except (HTTPError, OSError, ValueError):
            if ended:
                raise _late(until, timeout) from None
            raise
        if ended:  # a body that ends with its connection looks whole
            raise _late(until, timeout)
        return answer

    def expire(self, everything: bool) -> None:
        """End requests that are past their time, or ``everything`` in flight: their callers get an HTTPError."""
        now = time.monotonic()
        for thread, (until, wire) in list(self._in_flight.items()):
            if wire is not None and (everything or until < now):
                self._in_flight.pop(thread, None)
                with suppress(OSError, ValueError):
                    socket.socket.shutdown(wire, socket.SHUT_RDWR)  # wakes the thread that reads from it

    def close(self) -> None:
        """Close every idle connection."""
        for manager in self._managers.values():
            manager.clear()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()  # another thread may have held the old one when this process was forked
        self._managers: dict[str | None, urllib3.PoolManager] = {}
        self._in_flight: dict[int, tuple[float, socket.socket | None]] = {}
        self._reaper: threading.Thread | None = None

    def _start_reaper(self) -> None:
        with self._lock:
            if self._reaper is None:
                self._reaper = threading.Thread(target=self._reap, name="ends-late-requests", daemon=True)
                self._reaper.start()

    def _reap(self) -> None:
        """End requests that are past their time; ends when there were none for a while."""
        idle = 0
        while True:
            time.sleep(LOOK_SECONDS)
            self.expire(everything=False)
            idle = 0 if self._in_flight else idle + 1
            if idle >= IDLE_LOOKS:
                with self._lock:
                    reaper, self._reaper = self._reaper, None
                    if not self._in_flight:  # a request notes itself before it looks for who watches
                        return
                    self._reaper, idle = reaper, 0

    def _manager(self, url: str) -> urllib3.PoolManager:
        proxy = proxy_of(url)
        key = None if proxy is None else f"{proxy.url} {proxy.headers}"
        with self._lock:
            if key not in self._managers:
                if proxy is None:
                    manager = urllib3.PoolManager(maxsize=self._count, block=False)
                else:
                    manager = urllib3.ProxyManager(
                        proxy.url, maxsize=self._count, block=False, proxy_headers=dict(proxy.headers)
                    )
                manager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}
                self._managers[key] = manager
            return self._managers[key]


def _read(response: urllib3.BaseHTTPResponse, most: int) -> bytes:
    """Return the body of an answer, inflated; what is over its bound is not read, and the connection given up."""
    try:
        encoding = response.headers.get("content-encoding", "")
        if "," in encoding:
            raise DecodeError(f"the answer is encoded more than once: {encoding[:60]}")
        if response.status not in (200, 206):
            return response.read(MAX_ERROR)
        length = response.headers.get("content-length", "")
        chunked = "transfer-encoding" in response.headers
        if not encoding and not chunked and length.isascii() and length.isdigit() and len(length) < 19:
            if int(length) > most:
                raise OversizeError(most)
            return response.read()  # in one piece: no copy of it is made
        parts: list[bytes] = []
        size = 0
        while part := response.read(min(_STEP, most + 1 - size)):
            size += len(part)
            if size > most:
                raise OversizeError(most)
            parts.append(part)
        return b"".join(parts)
    finally:
        if not response.closed:
            response.close()


def _late(until: float, seconds: float) -> HTTPError:
    late = time.monotonic() >= until
    return urllib3.exceptions.TimeoutError(f"no whole answer within {seconds:g} s" if late else "ended from outside")


_tracked = threading.local()


def _note(wire: socket.socket | None) -> None:
    """Note the socket of this thread's request where another thread can end it."""
    flight, until = _tracked.request
    flight[threading.get_ident()] = (until, wire)


class _Tracked:
    """A connection that notes its socket from its first moment on: a proxy's answer and a handshake have an end too."""

    sock: Any

    def request(self, *args: Any, **options: Any) -> Any:
        if self.sock is not None:
            _note(_base(self.sock))
        return super().request(*args, **options)  # type: ignore[misc]

    def connect(self) -> None:
        self._first: socket.socket | None = None
        try:
            super().connect()  # type: ignore[misc]
            _note(_base(self.sock))
        finally:
            if self._first is not None:
                self._first.close()

    def _new_conn(self) -> socket.socket:
        made: socket.socket = super()._new_conn()  # type: ignore[misc]
        self._first = made.dup()  # TLS takes over the socket before it is there to be noted
        _note(self._first)
        return made


def _base(sock: Any) -> Any:
    """Return the socket below TLS within TLS, which is not a socket itself."""
    return sock if isinstance(sock, socket.socket) else sock.socket


class _HTTPConnection(_Tracked, connection.HTTPConnection):
    pass


class _HTTPSConnection(_Tracked, connection.HTTPSConnection):
    pass


class _HTTPPool(connectionpool.HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(connectionpool.HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


def proxy_of(url: str) -> Proxy | None:
    """Return the environment's proxy for ``url``; None for this machine and for what ``no_proxy`` names.

    A user and password in its URL, percent-decoded, become its header ``Proxy-Authorization`` (RFC 7617).

    Raises:
        JobError: for a proxy that is not ``[http(s)://][USER:PASSWORD@]HOST[:PORT]``; the password is not told.
    """
    host = host_of(url)
    if is_near(host) or proxy_bypass(host):
        return None
    scheme = url.partition(":")[0].lower()
    proxies = getproxies()
    which = scheme if proxies.get(scheme) else "all"
    text = proxies.get(which)
    if not text:
        return None
    try:
        user = parse_url(text if "://" in text else f"http://{text}").auth
    except LocationParseError:
        user = None
    kind, _, rest = text.rpartition("://")
    plain = f"{kind or 'http'}://{rest.rpartition('@')[2]}"
    if not is_endpoint(plain) or ("@" in rest and not user):
        raise JobError(
            f"{which.upper()}_PROXY: not a valid proxy; write http(s)://[USER:PASSWORD@]HOST[:PORT], other signs in "
            "the password as %XX"
        )
    if not user:
        return Proxy(plain, full_url=plain)
    name, _, word = user.partition(":")
    secret = base64.b64encode(f"{unquote(name)}:{unquote(word)}".encode()).decode()
    return Proxy(plain, {"proxy-authorization": f"Basic {secret}"}, plain.replace("://", f"://{user}@", 1))


def is_near(host: str) -> bool:
    """Return True for this machine and for the metadata server beside it, which has the credentials of a VM."""
    if host in ("localhost", "metadata.google.internal") or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_link_local
