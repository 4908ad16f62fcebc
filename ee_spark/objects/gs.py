"""Objects on Google Cloud Storage, by its JSON API: one request publishes one whole object, or nothing.

Sources: https://cloud.google.com/storage/docs/json_api/v1/objects and, for what may be tried again,
https://cloud.google.com/storage/docs/retry-strategy.
"""

from __future__ import annotations

import base64
import json
import os
import random
import time
import uuid
from contextlib import nullcontext
from functools import cached_property, partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import google_crc32c
from google.auth import exceptions as google_exceptions

from ee_spark.connections import Answer, Connections, HTTPError, OversizeError
from ee_spark.errors import DamagedError, EESparkError, StoreError, one_line
from ee_spark.hosts import endpoint, is_google
from ee_spark.json_answers import pages, parsed
from ee_spark.limits import MAX_ERROR, MAX_JSON, MAX_OBJECT
from ee_spark.objects.names import check, is_temporary
from ee_spark.objects.ranges import TAIL, RangeFile
from ee_spark.objects.store import TEMP, Entry, Settings
from ee_spark.tokens import Tokens, default_credentials

ENDPOINT = "https://storage.googleapis.com"
EMULATOR = "STORAGE_EMULATOR_HOST"  # Google's own clients know an emulator by this environment variable
SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
AGAIN = frozenset({408, 429, 500, 502, 503, 504})
SECONDS = 120.0
"""How long one request is tried again; a wait is drawn from 0 to 0.25 s, doubled each time up to 8 s."""
FIRST_WAIT, LONGEST_WAIT = 0.25, 8.0
ANSWER_SECONDS = 60
SLOWEST = 1 << 20
"""Bytes a second: what is sent, and what may be answered, gives one request so much more time."""
CONNECTIONS = 32


class GsStore:
    """A bucket, or a folder of one. Tokens go to googleapis.com by https only; another endpoint is asked as nobody."""

    def __init__(self, bucket: str, prefix: str, settings: Settings) -> None:
        self.root = f"gs://{bucket}/{prefix}".rstrip("/")
        self._base = f"{prefix}/" if prefix else ""
        self.url = _endpoint(settings)
        self._objects = f"/storage/v1/b/{bucket}/o"
        self._anonymous = settings.anonymous or not is_google(self.url)

    def create(self, name: str, data: bytes) -> bool:
        """Publish ``data`` as ``name``; False if the name is taken."""
        return self._upload(name, data, "0")

    def replace(self, name: str, data: bytes, generation: str | None) -> bool:
        """Replace ``name`` if it still has ``generation``."""
        return self._upload(name, data, generation or "0")

    def send(self, name: str, path: Path) -> None:
        """Publish a file, which may be larger than memory: an upload that breaks off leaves nothing."""
        query = urlencode({"uploadType": "media", "name": self._base + check(name), "fields": "generation"})
        headers = {"content-type": "application/octet-stream", "content-length": str(path.stat().st_size)}
        self._call("POST", f"/upload{self._objects}?{query}", path, headers)

    def read(self, name: str, most: int = MAX_OBJECT) -> tuple[bytes, str] | None:
        """Return the bytes and generation of ``name``, at most ``most``, or None."""
        answer = self._call("GET", self._object(name, alt="media"), good=(200, 404), most=most)
        if answer.status == 404:
            return None
        self._check(name, answer)
        return answer.data, self._generation(name, answer)

    def open(self, name: str) -> RangeFile:
        """Open ``name`` for random access to the generation that it has now."""
        headers = {"range": f"bytes=-{TAIL}"}
        path = self._object(name, alt="media")
        answer = self._call("GET", path, headers=headers, good=(200, 206, 404, 416), most=TAIL)
        if answer.status == 404:
            raise StoreError(f"{self.root}/{name}: it does not exist")
        if answer.status == 416:
            return RangeFile(0, b"", lambda start, stop: b"")
        generation = self._generation(name, answer)
        length = answer.headers.get("content-range", f"/{len(answer.data)}").rpartition("/")[2]
        if not (length.isascii() and length.isdigit() and len(length) < 19 and int(length) >= len(answer.data)):
            raise StoreError(f"{self.root}/{name}: the store says that its size is {length[:40]!r}")
        size = int(length)

        def fetch(start: int, stop: int) -> bytes:
            part = {"range": f"bytes={start}-{stop - 1}"}
            path = self._object(name, alt="media", generation=generation)
            found = self._call("GET", path, headers=part, good=(206,), most=stop - start)
            if len(found.data) != stop - start:
                raise StoreError(f"{self.root}/{name}: {len(found.data)} bytes came, asked for were {stop - start}")
            return found.data

        return RangeFile(size, answer.data, fetch)

    def list(self, prefix: str) -> list[Entry]:
        """Return the objects whose name begins with ``prefix``, sorted by name."""
        found: list[Entry] = []
        try:
            for items in pages(partial(self._page, check(prefix, prefix=True)), "items"):
                for item in items:
                    name, generation = item["name"].removeprefix(self._base), str(item["generation"])
                    found.append(Entry(name, int(item["size"]), generation))
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            if isinstance(error, EESparkError):
                raise
            raise StoreError(f"{self.root}/{prefix}: a list that cannot be read ({one_line(error, 100)})") from None
        return sorted(found, key=lambda entry: entry.name)

    def _page(self, prefix: str, token: str | None) -> dict[str, Any]:
        query = {"prefix": self._base + prefix, "fields": "items(name,size,generation),nextPageToken"}
        if token:
            query["pageToken"] = token
        page: dict[str, Any] = parsed(self._call("GET", f"{self._objects}?{urlencode(query)}", most=MAX_JSON).data)
        return page

    def delete(self, name: str) -> None:
        """Remove ``name`` if it is there."""
        self._call("DELETE", self._object(name), good=(200, 204, 404))

    def clear_temp(self) -> None:
        """Remove the probes of runs that died: nothing else is temporary here."""
        for entry in self.list(f"{TEMP}/"):
            if is_temporary(entry.name.removeprefix(f"{TEMP}/")):
                self.delete(entry.name)

    def _upload(self, name: str, data: bytes, generation: str) -> bool:
        """Send one multipart request with a precondition and a checksum that the service verifies."""
        crc = base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()
        head = {"name": self._base + check(name), "crc32c": crc, "contentType": "application/octet-stream"}
        mark = uuid.uuid4().hex
        body = b"".join(
            [
                f"--{mark}\r\ncontent-type: application/json; charset=UTF-8\r\n\r\n{json.dumps(head)}\r\n".encode(),
                f"--{mark}\r\ncontent-type: application/octet-stream\r\n\r\n".encode(),
                data,
                f"\r\n--{mark}--\r\n".encode(),
            ]
        )
        query = urlencode({"uploadType": "multipart", "ifGenerationMatch": generation, "fields": "generation"})
        headers = {"content-type": f"multipart/related; boundary={mark}"}
        return self._call("POST", f"/upload{self._objects}?{query}", body, headers, good=(200, 412)).status == 200

    def _object(self, name: str, **query: str) -> str:
        path = f"{self._objects}/{quote(self._base + check(name), safe='')}"
        return f"{path}?{urlencode(query)}" if query else path

    def _call(
        self,
        method: str,
        path: str,
        body: bytes | Path | None = None,
        headers: dict[str, str] | None = None,
        good: tuple[int, ...] = (200,),
        most: int = MAX_ERROR,
    ) -> Answer:
        """Send one request, again while it may yet succeed, and return an answer with one of the ``good`` statuses."""
        until, wait = time.monotonic() + SECONDS, FIRST_WAIT
        name = path.partition("?")[0].rpartition("/")[2]
        while True:
            try:
                answer = self._send(method, path, body, headers or {}, most)
                if answer.status in good:
                    return answer
                problem = f"HTTP {answer.status}: {_message(answer.data)}"
                again = answer.status in AGAIN
            except (HTTPError, OSError, google_exceptions.TransportError) as error:
                problem, again = f"no answer ({one_line(error)})", True
            except OversizeError as error:
                raise DamagedError(f"{self.root}: {method} of {name!r}: {error}") from None
            except google_exceptions.GoogleAuthError as error:
                raise StoreError(
                    f"{self.root}: could not load credentials for Cloud Storage ({one_line(error)}); run 'gcloud auth "
                    "application-default login', or set storage.anonymous: true for a public bucket"
                ) from None
            if not again or time.monotonic() + wait > until:
                raise StoreError(f"{self.root}: {method} of {name!r} failed with {problem}")
            time.sleep(random.uniform(0, wait))
            wait = min(2 * wait, LONGEST_WAIT)

    def _send(self, method: str, path: str, body: bytes | Path | None, headers: dict[str, str], most: int) -> Answer:
        """Send one request, and once more where its token had run out."""
        size = body.stat().st_size if isinstance(body, Path) else len(body or b"")
        seconds = ANSWER_SECONDS + (size + most) / SLOWEST
        while True:
            token = None if self._anonymous else self._tokens.token()
            sent = {**headers, "authorization": f"Bearer {token}"} if token else headers
            with body.open("rb") if isinstance(body, Path) else nullcontext(body) as content:
                answer = self._connections.request(method, self.url + path, content, sent, seconds, most)
            if answer.status != 401 or not token or not self._tokens.renewed(token):
                return answer

    @cached_property
    def _connections(self) -> Connections:
        return Connections(CONNECTIONS)

    @cached_property
    def _tokens(self) -> Tokens:
        return Tokens(partial(default_credentials, scopes=(SCOPE,), key=self.root), self._connections)

    def _generation(self, name: str, answer: Answer) -> str:
        generation = answer.headers.get("x-goog-generation")
        if not generation:
            raise StoreError(f"{self.root}/{name}: the store does not say which generation it is")
        return generation

    def _check(self, name: str, answer: Answer) -> None:
        """Compare what arrived with the checksum that the service keeps of it."""
        for item in answer.headers.get("x-goog-hash", "").split(","):
            kind, _, value = item.strip().partition("=")
            wanted = base64.b64encode(google_crc32c.value(answer.data).to_bytes(4, "big")).decode()
            if kind == "crc32c" and value != wanted:
                raise StoreError(f"{self.root}/{name}: what arrived does not match its crc32c {value[:40]}")


def _endpoint(settings: Settings) -> str:
    """Return the URL of the store: of the settings, of the environment, or Google's own."""
    if settings.gs_endpoint is not None:
        return endpoint(settings.gs_endpoint, "storage.gs_endpoint")
    url = os.environ.get(EMULATOR)
    return endpoint(url if "://" in url else f"http://{url}", EMULATOR) if url else ENDPOINT


def _message(data: bytes) -> str:
    """Return the service's own words, shortened."""
    try:
        return one_line(json.loads(data)["error"]["message"], 300)
    except (ValueError, LookupError, TypeError, RecursionError):
        return one_line(data[:300].decode(errors="replace"), 300)
