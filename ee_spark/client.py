"""Earth Engine over HTTP: credentials, and one call that gives bytes, JSON or one typed error.

A worker needs no ``ee.Initialize``: it posts JSON through one pooled urllib3 connection set. Sources: the REST
reference (https://developers.google.com/earth-engine/reference/rest) and, for what an answer means, the public error
catalogue of the service's users.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote, urlencode

import urllib3
from google.auth import credentials as google_credentials
from google.auth import exceptions as google_exceptions
from google.auth import impersonated_credentials
from google.oauth2 import service_account

from ee_spark.connections import Answer, Connections, OversizeError
from ee_spark.errors import EESparkError, JobError, ServiceError, one_line, refusal
from ee_spark.hosts import ENDPOINTS, check_credentials, is_google
from ee_spark.job import JobConfig
from ee_spark.json_answers import parsed
from ee_spark.limits import MAX_ANSWER, MAX_JSON
from ee_spark.refusals import Kind
from ee_spark.tokens import Official, Tokens, Transport, default_account, default_credentials, passing
from ee_spark.version import __version__

SCOPES = ("https://www.googleapis.com/auth/earthengine", "https://www.googleapis.com/auth/cloud-platform")
NO_PROJECT = "local"
"""What stands for a project where the endpoint is not Google's, and the job file names none."""
ANSWER_SECONDS = 330  # the service ends an interactive request after five minutes
LONGEST_URL = 2048
"""Characters: googleapiclient's limit (``MAX_URI_LENGTH`` of its ``http`` module)."""
LONG_GET = {"x-http-method-override": "GET", "content-type": "application/x-www-form-urlencoded"}
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
    """Return the path of an asset id, e.g. ``projects/earthengine-public/assets/MODIS/061/MOD13Q1``.

    What a URL would read as something else (``?``, ``#``, ``%``, ``:``) is percent-encoded: it is part of the name.

    As the official client does (https://developers.google.com/earth-engine/reference/rest): public ids and legacy
    ``users/`` ids have owners of their own.
    """
    if re.match(r"projects/[^/]+/assets/", asset_id):
        return quote(asset_id)
    owner = "earthengine-legacy" if asset_id.startswith(("users/", "projects/")) else "earthengine-public"
    return quote(f"projects/{owner}/assets/{asset_id}")


class Client:
    """One pooled connection set to a service, for any number of threads. Make one per process, after any fork.

    Proxies of the environment (https://docs.python.org/3/library/urllib.request.html#urllib.request.getproxies) are
    honoured, but never for this machine. Answers that are pixels come uncompressed: inflating them would cost a worker
    more than all the rest it does. No answer is larger than what was asked for can be.
    """

    def __init__(self, service: Service, connections: int = 40) -> None:
        self.service, self.connections = service, connections
        self._connections = Connections(connections)
        self._tokens = Tokens(partial(_loaded, service.credentials), self._connections)

    def get(self, path: str, **query: str | int | None) -> dict[str, Any]:
        """GET ``path`` (from ``projects/`` on) and return its JSON object.

        A query that makes the URL longer than front ends take goes as the body of a POST that says so, as
        googleapiclient sends it.

        Raises:
            ServiceError: for anything but a whole, good answer.
        """
        text = urlencode({key: value for key, value in query.items() if value is not None})
        if len(self.service.url) + len(path) + len(text) + 5 > LONGEST_URL:
            return self._json("POST", f"/v1/{path}", text.encode(), LONG_GET)
        return self._json("GET", f"/v1/{path}?{text}" if text else f"/v1/{path}", None)

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """POST ``body`` as JSON to ``path`` and return the JSON of the answer."""
        return self._json("POST", f"/v1/{path}", json.dumps(body).encode())

    def call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        seconds: float = ANSWER_SECONDS,
        most: int = MAX_ANSWER,
    ) -> Reply:
        """Send one request and return its answer's bytes; tries again only where a token had run out.

        Raises:
            ServiceError: with the kind of failure, the HTTP status (0 without an answer) and the service's message;
                ``damaged`` for an answer of more than ``most`` bytes.
        """
        answer = self._answered(method, path, body, seconds, "identity", most)
        return Reply(answer.data, RESTRICTED in answer.headers.get("x-earth-engine-quota-status", ""))

    def official(self) -> tuple[google_credentials.Credentials, OfficialTransport]:
        """Return what makes the official client go by this client's connections and tokens, and by their rules."""
        anonymous = self.service.anonymous
        credentials = google_credentials.AnonymousCredentials() if anonymous else Official(self._tokens)
        return credentials, OfficialTransport(self._connections)

    def expire(self, everything: bool = False) -> None:
        """End requests that are past their time, or ``everything`` in flight: their callers get a ServiceError."""
        self._connections.expire(everything)

    def close(self) -> None:
        """Close every idle connection."""
        self._connections.close()

    def _json(
        self, method: str, path: str, body: bytes | None, more: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        answer = self._answered(method, path, body, ANSWER_SECONDS, "gzip", MAX_JSON, more)
        with understood(f"an answer of {len(answer.data)} bytes is not JSON", "damaged"):
            # Only an exponent or a number of hundreds of digits can be more than a float holds.
            finite = _finite if _may_be_huge(answer.data) else None
            found = parsed(answer.data, parse_constant=_finite, parse_float=finite)
        if not isinstance(found, dict):
            raise ServiceError(f"an answer of {len(answer.data)} bytes is no JSON object", kind="damaged", status=200)
        return found

    def _answered(
        self,
        method: str,
        path: str,
        body: bytes | None,
        seconds: float,
        encoding: str,
        most: int,
        more: Mapping[str, str] | None = None,
    ) -> Answer:
        send = partial(self._send, method, path, body, seconds, encoding, most, more or {})
        answer, token = send()
        if answer.status == 401 and token and self._renewed(token):
            answer, _ = send()
        if answer.status != 200:
            raise refusal(answer.status, answer.data, answer.headers.get("Retry-After"))
        return answer

    def _send(
        self,
        method: str,
        path: str,
        body: bytes | None,
        seconds: float,
        encoding: str,
        most: int,
        more: Mapping[str, str],
    ) -> tuple[Answer, str | None]:
        token = None if self.service.anonymous else self._token()
        seconds = max(0.001, min(seconds, ANSWER_SECONDS))
        headers = {"user-agent": f"ee_spark/{__version__}", "accept-encoding": encoding}
        if encoding == "gzip":
            headers["user-agent"] += " (gzip)"  # Google's front ends compress for those who say it here too
        if body is not None:
            headers["content-type"] = "application/json"
        headers |= more
        if self.service.project:
            headers["x-goog-user-project"] = self.service.project
        if token:
            headers["authorization"] = f"Bearer {token}"
        try:
            return self._connections.request(method, self.service.url + path, body, headers, seconds, most), token
        except OversizeError as error:
            raise ServiceError(one_line(error), kind="damaged", status=200) from None
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise _no_answer(error, self.service.url) from None

    def _token(self) -> str:
        with _asking_for_tokens():
            return self._tokens.token()

    def _renewed(self, token: str) -> bool:
        with _asking_for_tokens():
            return self._tokens.renewed(token)


class OfficialTransport:
    """Our connections as the official client wants its transport: like httplib2's, with this much of its interface."""

    def __init__(self, connections: Connections, seconds: float = 60) -> None:
        self._connections, self._seconds = connections, seconds

    def request(
        self,
        uri: str,
        method: str = "GET",
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        redirections: object = None,
        connection_type: object = None,
    ) -> tuple[OfficialResponse, bytes]:
        """Send one request; nothing is followed elsewhere.

        Raises:
            ConnectionError, TimeoutError: which the official client knows as passing.
        """
        try:
            answer = self._connections.request(method, uri, body, headers, self._seconds)
        except urllib3.exceptions.NewConnectionError as error:  # which urllib3 takes for a timeout too
            raise ConnectionError(one_line(error)) from None
        except urllib3.exceptions.TimeoutError as error:
            raise TimeoutError(one_line(error)) from None
        except (urllib3.exceptions.HTTPError, OversizeError, OSError, ValueError) as error:
            raise ConnectionError(one_line(getattr(error, "reason", None) or error)) from None
        return OfficialResponse(answer), answer.data

    def close(self) -> None:
        """Close every idle connection."""
        self._connections.close()


class OfficialResponse(dict[str, str]):
    """An answer's headers by their lower-case names, with ``status`` and ``reason``, as httplib2's are."""

    def __init__(self, answer: Answer) -> None:
        super().__init__({name.lower(): value for name, value in answer.headers.items()})
        self.status, self.reason = answer.status, ""
        self["status"] = str(answer.status)


@contextmanager
def understood(what: str, kind: Kind = "permanent") -> Iterator[None]:
    """Turn whatever goes wrong while an answer is read into ``ServiceError(what)``.

    Of the kind ``permanent``: the answer came whole, so another would say the same. Errors of our own pass.
    """
    try:
        yield
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, MemoryError) as error:
        if isinstance(error, EESparkError):
            raise
        raise ServiceError(f"{what} ({one_line(error, 100)})", kind=kind, status=200) from None


_EXPONENTS = re.compile(rb"e\+?[0-9]{3}"), re.compile(rb"E\+?[0-9]{3}")
_DIGITS = bytes(ord("0") if chr(byte).isdigit() and byte < 128 else ord(" ") for byte in range(256))


def _may_be_huge(data: bytes) -> bool:
    """Return True if a text may hold a number beyond those of a float: an exponent of three digits, or 309 digits.

    Each look begins with a fixed text, which is found in a few hundredths of the time that JSON takes.
    """
    return any(pattern.search(data) for pattern in _EXPONENTS) or b"0" * 309 in data.translate(_DIGITS)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is not a number of JSON")
    return number


@contextmanager
def _asking_for_tokens() -> Iterator[None]:
    try:
        yield
    except google_exceptions.GoogleAuthError as error:
        away = passing(error)
        kind: Kind = "unavailable" if away else "access"
        raise ServiceError(f"could not get a token: {one_line(error)}", kind=kind, status=0 if away else 401) from None


def load_credentials(which: str) -> google_credentials.Credentials:
    """Return google-auth credentials for ``default``, ``anonymous``, ``service-account:PATH`` or ``impersonate:EMAIL``.

    Raises:
        JobError: if there are none, or they would go to somebody else than Google; says how to get them.
        ServiceError: if whoever gives them is away.
    """
    with _asking_for_tokens():
        return _loaded(which, Transport(Connections(1)))


def default_project() -> str | None:
    """Return the project of the environment's credentials, if it has one.

    Raises:
        JobError: if they would go to somebody else than Google.
    """
    try:
        return default_account(Transport(Connections(1)), SCOPES, "earth_engine.project")[1]
    except google_exceptions.GoogleAuthError:
        return None


def _loaded(which: str, transport: Transport) -> google_credentials.Credentials:
    kind, _, rest = which.partition(":")
    key = "earth_engine.credentials"
    try:
        if kind == "anonymous":
            return google_credentials.AnonymousCredentials()
        if kind == "service-account":
            if not os.path.isfile(rest):  # a device has no end
                raise OSError(f"{rest!r} is not a file")
            account = service_account.Credentials.from_service_account_file(rest, scopes=SCOPES)
            check_credentials(account, key)
            return account
        source = default_credentials(transport, SCOPES, key)
        if kind == "impersonate":
            return impersonated_credentials.Credentials(source, rest, list(SCOPES))
        return source
    except (google_exceptions.GoogleAuthError, OSError, ValueError) as error:
        if isinstance(error, google_exceptions.GoogleAuthError) and passing(error):
            raise  # an outage is not the fault of the job
        raise JobError(
            f"{key}: could not load credentials for {which!r} ({one_line(error)}); run "
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
    if (
        isinstance(error, urllib3.exceptions.ProxyError)
        and " 407 " in f"{error} {getattr(error, 'original_error', '')}"
    ):
        message = f"the proxy wants a user and password for {url} (407)"
        return ServiceError(message, kind="access", status=407)
    kind: Kind = "unavailable" if isinstance(error, never) or isinstance(reason, never) else "transient"
    return ServiceError(f"no complete answer from {url}: {type(reason).__name__}: {one_line(reason)}", kind=kind)
