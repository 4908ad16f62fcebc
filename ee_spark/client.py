"""Earth Engine over HTTP: credentials, and one call that gives bytes, JSON or one typed error.

A worker needs no ``ee.Initialize``: it posts JSON through one pooled urllib3 connection set. Sources: the REST
reference (https://developers.google.com/earth-engine/reference/rest) and, for what an answer means, the public error
catalogue of the service's users.
"""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlencode, urlsplit

import urllib3
from google.auth import credentials as google_credentials
from google.auth import default as google_default
from google.auth import exceptions as google_exceptions
from google.auth import impersonated_credentials
from google.auth.transport.urllib3 import Request as GoogleRequest
from google.oauth2 import service_account

from ee_spark import __version__
from ee_spark.errors import JobError, Kind, ServiceError

HIGH_VOLUME = "https://earthengine-highvolume.googleapis.com"
STANDARD = "https://earthengine.googleapis.com"
SCOPES = ("https://www.googleapis.com/auth/earthengine", "https://www.googleapis.com/auth/cloud-platform")
CONNECT_SECONDS = 10
ANSWER_SECONDS = 330  # the service ends an interactive request after five minutes
RESTRICTED = "parallelism_restricted=true"

# Text decides before status: most requests that are too big come back as 400.
_TEXTS: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    (
        "too_big",
        re.compile(r"Total request size|Pixel grid dimensions|User memory limit|Computation timed out", re.I),
    ),
    ("daily", re.compile(r"daily_eecu|quota.*\b(daily|per day)|\b(daily|per day)\b.*quota", re.I)),
    (
        "overload",
        re.compile(r"Too many concurrent aggregations|capacity exceeded|Too Many Requests|Quota exceeded", re.I),
    ),
)


@dataclass(frozen=True)
class Service:
    """Which Earth Engine, as whom, and for whose quota: small, picklable, and without any secret."""

    url: str
    project: str
    credentials: str = "default"
    tag: str | None = None

    @property
    def anonymous(self) -> bool:
        """True where no token is sent: by choice, or because the host is not Google's."""
        return self.credentials == "anonymous" or not is_google(self.url)


@dataclass(frozen=True)
class Reply:
    """One good answer: its bytes, whether it said that the project is in restricted mode."""

    body: bytes
    restricted: bool = False


def is_google(url: str) -> bool:
    """Return True if tokens may go to ``url``: https and a host of googleapis.com."""
    parts = urlsplit(url)
    return parts.scheme == "https" and (parts.hostname or "").endswith(".googleapis.com")


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
    """One pooled connection set to a service, for any number of threads. Make one per process, after any fork."""

    def __init__(self, service: Service, connections: int = 40) -> None:
        self.service = service
        timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=ANSWER_SECONDS)
        self._pool = urllib3.PoolManager(maxsize=connections, block=False, retries=False, timeout=timeout)
        self._token_lock = threading.Lock()

    def get(self, path: str, **query: str | int | None) -> Any:
        """GET ``path`` (from ``projects/`` on) and return its JSON.

        Raises:
            ServiceError: for anything but a whole, good answer.
        """
        text = urlencode({key: value for key, value in query.items() if value is not None})
        reply = self.call("GET", f"/v1/{path}?{text}" if text else f"/v1/{path}")
        return _json(reply.body)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """POST ``body`` as JSON to ``path`` and return the JSON of the answer."""
        return _json(self.call("POST", f"/v1/{path}", json.dumps(body).encode()).body)

    def call(self, method: str, path: str, body: bytes | None = None, seconds: float = ANSWER_SECONDS) -> Reply:
        """Send one request and return its answer's bytes; never tries twice.

        Raises:
            ServiceError: with the kind of failure, the HTTP status (0 without an answer) and the service's message.
        """
        seconds = max(0.001, min(seconds, ANSWER_SECONDS))
        timeout = urllib3.Timeout(connect=min(CONNECT_SECONDS, seconds), read=seconds)
        try:
            answer = self._pool.request(
                method, self.service.url + path, body=body, headers=self._headers(body is not None), timeout=timeout
            )
        except urllib3.exceptions.HTTPError as error:
            raise ServiceError(_transport(error), kind="transient") from None
        if answer.status == 200:
            status = answer.headers.get("x-earth-engine-quota-status", "")
            return Reply(answer.data, RESTRICTED in status)
        raise refusal(answer.status, answer.data, answer.headers.get("Retry-After"))

    def _headers(self, has_body: bool) -> dict[str, str]:
        headers = {"user-agent": f"ee_spark/{__version__} (gzip)", "accept-encoding": "gzip"}
        if has_body:
            headers["content-type"] = "application/json"
        if self.service.project:
            headers["x-goog-user-project"] = self.service.project
        if not self.service.anonymous:
            headers["authorization"] = f"Bearer {self._token()}"
        return headers

    def _token(self) -> str:
        with self._token_lock:  # one refresh for all threads
            if not self._credentials.valid:
                try:
                    self._credentials.refresh(GoogleRequest(self._pool))
                except google_exceptions.GoogleAuthError as error:
                    raise ServiceError(f"cannot get a token: {error}", kind="access", status=401) from None
            return str(self._credentials.token)

    @cached_property
    def _credentials(self) -> google_credentials.Credentials:
        return load_credentials(self.service.credentials)


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
            return service_account.Credentials.from_service_account_file(rest, scopes=SCOPES)
        source, _ = google_default(scopes=SCOPES)
        if kind == "impersonate":
            return impersonated_credentials.Credentials(source, rest, list(SCOPES))
        return source
    except (google_exceptions.GoogleAuthError, OSError, ValueError) as error:
        raise JobError(
            f"earth_engine.credentials: {which!r} gives no credentials ({_first_line(error)}); run "
            "'gcloud auth application-default login', or write service-account:PATH or anonymous"
        ) from None


def refusal(status: int, body: bytes, retry_after: str | None = None) -> ServiceError:
    """Return the typed error of a refused request: classified once, by the message's text and then by the status."""
    message = _message(status, body)
    kind = classify(status, message)
    wait = float(retry_after) if retry_after and retry_after.isdigit() else None
    return ServiceError(message, kind=kind, status=status, wait=wait)


def classify(status: int, message: str) -> Kind:
    """Return what to do about an answer with this HTTP status and message."""
    if status in (401, 403):
        return "access"
    for kind, pattern in _TEXTS:
        if pattern.search(message):
            return kind
    if status == 429:
        return "overload"
    if status >= 500 or status == 408:
        return "transient"
    return "permanent"


def _message(status: int, body: bytes) -> str:
    try:
        error = json.loads(body)["error"]
        return _first_line(error["message"] if isinstance(error, dict) else error)
    except (ValueError, KeyError, TypeError):
        return f"HTTP {status} without a message"


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        raise ServiceError(f"an answer of {len(body)} bytes is not JSON", kind="damaged", status=200) from None


def _transport(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    return f"no whole answer: {type(reason).__name__}: {_first_line(reason)}"


def _first_line(thing: object) -> str:
    return " ".join(str(thing).split())[:500]
