"""Earth Engine over HTTP: credentials, and one call that gives bytes, JSON or one typed error.

A worker needs no ``ee.Initialize``: it posts JSON through one pooled urllib3 connection set. Sources: the REST
reference (https://developers.google.com/earth-engine/reference/rest) and, for what an answer means, the public error
catalogue of the service's users.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlencode
from urllib.request import getproxies, proxy_bypass

import urllib3
from google.auth import credentials as google_credentials
from google.auth import default as google_default
from google.auth import exceptions as google_exceptions
from google.auth import impersonated_credentials
from google.auth.transport.urllib3 import Request as GoogleRequest
from google.oauth2 import service_account
from urllib3 import connection, connectionpool

from ee_spark.errors import JobError, Kind, ServiceError, one_line, refusal
from ee_spark.hosts import ENDPOINTS, host_of, is_google
from ee_spark.job import JobConfig
from ee_spark.version import __version__

SCOPES = ("https://www.googleapis.com/auth/earthengine", "https://www.googleapis.com/auth/cloud-platform")
NO_PROJECT = "local"
"""What stands for a project where the endpoint is not Google's, and the job file names none."""
CONNECT_SECONDS = 10
ANSWER_SECONDS = 330  # the service ends an interactive request after five minutes
RESTRICTED = "parallelism_restricted=true"


@dataclass(frozen=True)
class Service:
    """Which Earth Engine, as whom, and for whose quota: small, picklable, and without any secret."""

    url: str
    project: str
    credentials: str = "default"
    tag: str | None = None

    @classmethod
    def of(cls, job: JobConfig, emulator: str | None = None) -> Service:
        """Return the service that a job names; ``emulator`` is the URL of the embedded one, where it runs."""
        engine = job.earth_engine
        if emulator:
            return cls(emulator, engine.project or NO_PROJECT, "anonymous", job.name)
        url = ENDPOINTS.get(engine.endpoint, engine.endpoint)
        return cls(url, engine.project or NO_PROJECT, engine.credentials, job.name)

    @property
    def anonymous(self) -> bool:
        """True where no token is sent: by choice, or because the host is not Google's."""
        return self.credentials == "anonymous" or not is_google(self.url)


@dataclass(frozen=True)
class Reply:
    """One good answer: its bytes, whether it said that the project is in restricted mode."""

    body: bytes
    restricted: bool = False


def asset_name(asset_id: str) -> str:
    """Return the resource name of an asset id, e.g. ``projects/earthengine-public/assets/MODIS/061/MOD13Q1``.

    As the official client does (https://developers.google.com/earth-engine/reference/rest): public ids and legacy
    ``users/`` ids have owners of their own.
    """
    if re.match(r"projects/[^/]+/assets/", asset_id):
        return asset_id
    owner = "earthengine-legacy" if asset_id.startswith(("users/", "projects/")) else "earthengine-public"
    return f"projects/{owner}/assets/{asset_id}"


class Client:
    """One pooled connection set to a service, for any number of threads. Make one per process, after any fork.

    Proxies of the environment (https://docs.python.org/3/library/urllib.request.html#urllib.request.getproxies) are
    honoured, but never for this machine. Answers that are pixels come uncompressed: inflating them would cost a worker
    more than all the rest it does.
    """

    def __init__(self, service: Service, connections: int = 40) -> None:
        self.service, self.connections = service, connections
        self._connections = _Connections(connections)
        self._tokens = threading.Lock()
        self._refused: str | None = None

    def get(self, path: str, **query: str | int | None) -> Any:
        """GET ``path`` (from ``projects/`` on) and return its JSON.

        Raises:
            ServiceError: for anything but a whole, good answer.
        """
        text = urlencode({key: value for key, value in query.items() if value is not None})
        return self._json("GET", f"/v1/{path}?{text}" if text else f"/v1/{path}", None)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """POST ``body`` as JSON to ``path`` and return the JSON of the answer."""
        return self._json("POST", f"/v1/{path}", json.dumps(body).encode())

    def call(self, method: str, path: str, body: bytes | None = None, seconds: float = ANSWER_SECONDS) -> Reply:
        """Send one request and return its answer's bytes; tries again only where a token had run out.

        Raises:
            ServiceError: with the kind of failure, the HTTP status (0 without an answer) and the service's message.
        """
        answer = self._answered(method, path, body, seconds, "identity")
        return Reply(answer.data, RESTRICTED in answer.headers.get("x-earth-engine-quota-status", ""))

    def expire(self, everything: bool = False) -> None:
        """End requests that are past their time, or ``everything`` in flight: their callers get a ServiceError."""
        self._connections.expire(everything)

    def close(self) -> None:
        """Close every idle connection."""
        self._connections.close()

    def _json(self, method: str, path: str, body: bytes | None) -> Any:
        answer = self._answered(method, path, body, ANSWER_SECONDS, "gzip")
        try:
            return json.loads(answer.data)
        except ValueError:
            message = f"an answer of {len(answer.data)} bytes is not JSON"
            raise ServiceError(message, kind="damaged", status=200) from None

    def _answered(
        self, method: str, path: str, body: bytes | None, seconds: float, encoding: str
    ) -> urllib3.BaseHTTPResponse:
        answer, token = self._send(method, path, body, seconds, encoding)
        if answer.status == 401 and token and self._renewed(token):
            answer, _ = self._send(method, path, body, seconds, encoding)
        if answer.status != 200:
            raise refusal(answer.status, answer.data, answer.headers.get("Retry-After"))
        return answer

    def _send(
        self, method: str, path: str, body: bytes | None, seconds: float, encoding: str
    ) -> tuple[urllib3.BaseHTTPResponse, str | None]:
        token = None if self.service.anonymous else self._token()
        seconds = max(0.001, min(seconds, ANSWER_SECONDS))
        headers = {"user-agent": f"ee_spark/{__version__}", "accept-encoding": encoding}
        if encoding == "gzip":
            headers["user-agent"] += " (gzip)"  # Google's front ends compress for those who say it here too
        if body is not None:
            headers["content-type"] = "application/json"
        if self.service.project:
            headers["x-goog-user-project"] = self.service.project
        if token:
            headers["authorization"] = f"Bearer {token}"
        try:
            return self._connections.request(method, self.service.url + path, body, headers, timeout=seconds), token
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise _no_answer(error, self.service.url) from None

    def _token(self) -> str:
        with self._tokens:  # one refresh for all threads
            if not self._credentials.valid:
                self._refresh()
            return str(self._credentials.token)

    def _renewed(self, token: str) -> bool:
        """Return True if ``token``, which was just refused, has a successor: it is renewed once for all threads."""
        with self._tokens:
            if self._credentials.token == token and self._refused is None:
                self._refused = token
                self._refresh()
            return bool(self._credentials.token != token)

    def _refresh(self) -> None:
        try:
            self._credentials.refresh(GoogleRequest(self._connections))
        except google_exceptions.GoogleAuthError as error:
            passing = isinstance(error, google_exceptions.TransportError) or error.retryable
            kind: Kind = "unavailable" if passing else "access"
            raise ServiceError(
                f"could not get a token: {one_line(error)}", kind=kind, status=0 if passing else 401
            ) from None

    @cached_property
    def _credentials(self) -> google_credentials.Credentials:
        return load_credentials(self.service.credentials)


class _Connections:
    """Pooled connections, directly or through the environment's proxies, whose requests in flight can be ended."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._managers: dict[str | None, urllib3.PoolManager] = {}
        self._lock = threading.Lock()
        self._in_flight: dict[int, tuple[float, Any]] = {}

    def request(
        self,
        method: str,
        url: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        timeout: float = CONNECT_SECONDS,
        **_: Any,
    ) -> urllib3.BaseHTTPResponse:
        """Send one request, whole, and return its answer, whole, within ``timeout`` seconds."""
        limits = urllib3.Timeout(connect=min(CONNECT_SECONDS, timeout), read=timeout)
        _tracked.requests = (self._in_flight, time.monotonic() + timeout)
        try:
            return self._manager(url).request(
                method, url, body=body, headers=headers, timeout=limits, redirect=False, retries=False
            )
        finally:
            self._in_flight.pop(threading.get_ident(), None)

    def expire(self, everything: bool) -> None:
        now = time.monotonic()
        for until, wire in list(self._in_flight.values()):
            if everything or until < now:
                with suppress(OSError, ValueError):
                    socket.socket.shutdown(wire, socket.SHUT_RDWR)  # wakes the thread that reads from it

    def close(self) -> None:
        for manager in self._managers.values():
            manager.clear()

    def _manager(self, url: str) -> urllib3.PoolManager:
        proxy = proxy_of(url)
        with self._lock:
            if proxy not in self._managers:
                make = (
                    urllib3.PoolManager if proxy is None else lambda **options: urllib3.ProxyManager(proxy, **options)
                )
                manager = make(maxsize=self._count, block=False)
                manager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}
                self._managers[proxy] = manager
            return self._managers[proxy]


_tracked = threading.local()


class _Tracked:
    """A connection that notes its socket, while a request is in flight, where another thread can end it."""

    def request(self, *args: Any, **options: Any) -> Any:
        result = super().request(*args, **options)  # type: ignore[misc]
        in_flight, until = _tracked.requests
        in_flight[threading.get_ident()] = (until, self.sock)  # type: ignore[attr-defined]
        return result


class _HTTPConnection(_Tracked, connection.HTTPConnection):
    pass


class _HTTPSConnection(_Tracked, connection.HTTPSConnection):
    pass


class _HTTPPool(connectionpool.HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(connectionpool.HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


def proxy_of(url: str) -> str | None:
    """Return the environment's proxy for ``url``; None for this machine and for what ``no_proxy`` names."""
    host = host_of(url)
    if _is_near(host) or proxy_bypass(host):
        return None
    proxies = getproxies()
    proxy = proxies.get(url.partition(":")[0].lower()) or proxies.get("all")
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"


def _is_near(host: str) -> bool:
    """Return True for this machine and for the metadata server beside it, which has the credentials of a VM."""
    if host in ("localhost", "metadata.google.internal") or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_link_local


def load_credentials(which: str) -> google_credentials.Credentials:
    """Return google-auth credentials for ``default``, ``anonymous``, ``service-account:PATH`` or ``impersonate:EMAIL``.

    Raises:
        JobError: if there are none; says how to get them.
    """
    kind, _, rest = which.partition(":")
    try:
        if kind == "anonymous":
            return google_credentials.AnonymousCredentials()
        if kind == "service-account":
            if not os.path.isfile(rest):  # a device has no end
                raise OSError(f"{rest!r} is not a file")
            return service_account.Credentials.from_service_account_file(rest, scopes=SCOPES)
        source, _ = google_default(scopes=SCOPES)
        if kind == "impersonate":
            return impersonated_credentials.Credentials(source, rest, list(SCOPES))
        return source
    except (google_exceptions.GoogleAuthError, OSError, ValueError) as error:
        raise JobError(
            f"earth_engine.credentials: could not load credentials for {which!r} ({one_line(error)}); run "
            "'gcloud auth application-default login', or write service-account:PATH or anonymous"
        ) from None


def _no_answer(error: Exception, url: str) -> ServiceError:
    """Return the typed error of a request that got no whole answer; ``unavailable`` if it never reached the service."""
    reason = getattr(error, "reason", None) or error
    never = (
        urllib3.exceptions.NewConnectionError,
        urllib3.exceptions.ConnectTimeoutError,
        urllib3.exceptions.ProxyError,
    )
    kind: Kind = "unavailable" if isinstance(error, never) or isinstance(reason, never) else "transient"
    return ServiceError(f"no complete answer from {url}: {type(reason).__name__}: {one_line(reason)}", kind=kind)
