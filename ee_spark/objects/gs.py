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
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import google_crc32c
import urllib3
from google.auth import default as google_default
from google.auth import exceptions as google_exceptions
from google.auth.transport.urllib3 import AuthorizedHttp

from ee_spark.errors import StoreError
from ee_spark.hosts import is_google
from ee_spark.objects.names import check, is_temporary
from ee_spark.objects.ranges import TAIL, RangeFile
from ee_spark.objects.store import TEMP, Entry, Settings

ENDPOINT = "https://storage.googleapis.com"
EMULATOR = "STORAGE_EMULATOR_HOST"  # Google's own clients know an emulator by this environment variable
SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
AGAIN = frozenset({408, 429, 500, 502, 503, 504})
SECONDS = 120.0
"""How long one request is tried again; a wait is drawn from 0 to 0.25 s, doubled each time up to 8 s."""
FIRST_WAIT, LONGEST_WAIT = 0.25, 8.0
TIMEOUT = urllib3.Timeout(connect=10, read=60)
CONNECTIONS = 32


class GsStore:
    """A bucket, or a folder of one. Tokens go to googleapis.com by https only; another endpoint is asked as nobody."""

    def __init__(self, bucket: str, prefix: str, settings: Settings) -> None:
        self.root = f"gs://{bucket}/{prefix}".rstrip("/")
        self._base = f"{prefix}/" if prefix else ""
        url = (settings.gs_endpoint or os.environ.get(EMULATOR) or ENDPOINT).rstrip("/")
        self._url = url if "://" in url else f"http://{url}"
        self._objects = f"/storage/v1/b/{bucket}/o"
        self._anonymous = settings.anonymous or not is_google(self._url)

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

    def read(self, name: str) -> tuple[bytes, str] | None:
        """Return the bytes and generation of ``name``, or None."""
        answer = self._call("GET", self._object(name, alt="media"), good=(200, 404))
        if answer.status == 404:
            return None
        self._check(name, answer)
        return answer.data, answer.headers["x-goog-generation"]

    def open(self, name: str) -> RangeFile:
        """Open ``name`` for random access to the generation that it has now."""
        headers = {"range": f"bytes=-{TAIL}"}
        answer = self._call("GET", self._object(name, alt="media"), headers=headers, good=(200, 206, 404, 416))
        if answer.status == 404:
            raise StoreError(f"{self.root}/{name}: it does not exist")
        if answer.status == 416:
            return RangeFile(0, b"", lambda start, stop: b"")
        generation = answer.headers["x-goog-generation"]
        size = int(answer.headers.get("content-range", f"/{len(answer.data)}").rpartition("/")[2])

        def fetch(start: int, stop: int) -> bytes:
            part = {"range": f"bytes={start}-{stop - 1}"}
            found = self._call("GET", self._object(name, alt="media", generation=generation), headers=part, good=(206,))
            return bytes(found.data)

        return RangeFile(size, answer.data, fetch)

    def list(self, prefix: str) -> list[Entry]:
        """Return the objects whose name begins with ``prefix``, sorted by name."""
        found: list[Entry] = []
        token = ""
        while True:
            query = {
                "prefix": self._base + check(prefix, prefix=True),
                "fields": "items(name,size,generation),nextPageToken",
            }
            if token:
                query["pageToken"] = token
            page = json.loads(self._call("GET", f"{self._objects}?{urlencode(query)}").data)
            for item in page.get("items", ()):
                found.append(Entry(item["name"].removeprefix(self._base), int(item["size"]), item["generation"]))
            token = page.get("nextPageToken", "")
            if not token:
                return sorted(found, key=lambda entry: entry.name)

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
        return bool(self._call("POST", f"/upload{self._objects}?{query}", body, headers, good=(200, 412)).status == 200)

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
    ) -> Any:
        """Send one request, again while it may yet succeed, and return an answer with one of the ``good`` statuses."""
        until, wait = time.monotonic() + SECONDS, FIRST_WAIT
        while True:
            try:
                with body.open("rb") if isinstance(body, Path) else nullcontext(body) as content:
                    answer = self._http.urlopen(
                        method,
                        self._url + path,
                        body=content,
                        headers=dict(headers or {}),
                        timeout=TIMEOUT,
                        retries=False,
                    )
                if answer.status in good:
                    return answer
                problem = f"HTTP {answer.status}: {_message(answer.data)}"
                again = answer.status in AGAIN
            except (urllib3.exceptions.HTTPError, google_exceptions.TransportError) as error:
                problem, again = f"no answer ({error})", True
            except google_exceptions.GoogleAuthError as error:
                raise StoreError(f"{self.root}: could not load credentials for Cloud Storage ({error})") from None
            if not again or time.monotonic() + wait > until:
                name = path.partition("?")[0].rpartition("/")[2]
                raise StoreError(f"{self.root}: {method} of {name!r} failed with {problem}")
            time.sleep(random.uniform(0, wait))
            wait = min(2 * wait, LONGEST_WAIT)

    def _check(self, name: str, answer: Any) -> None:
        """Compare what arrived with the checksum that the service keeps of it."""
        for item in answer.headers.get("x-goog-hash", "").split(","):
            kind, _, value = item.strip().partition("=")
            if kind == "crc32c" and base64.b64decode(value) != google_crc32c.value(answer.data).to_bytes(4, "big"):
                raise StoreError(f"{self.root}/{name}: what arrived does not match its crc32c {value}")

    @cached_property
    def _http(self) -> Any:
        pool = urllib3.PoolManager(maxsize=CONNECTIONS)
        if self._anonymous:
            return pool
        try:
            credentials, _ = google_default(scopes=[SCOPE])
        except google_exceptions.GoogleAuthError as error:
            raise StoreError(
                f"{self.root}: could not load credentials for Cloud Storage ({error}); run 'gcloud auth "
                "application-default login', or set storage.anonymous: true for a public bucket"
            ) from None
        return AuthorizedHttp(credentials, http=pool)


def _message(data: bytes) -> str:
    """Return the service's own words, shortened."""
    try:
        return str(json.loads(data)["error"]["message"])[:300]
    except (ValueError, KeyError, TypeError):
        return data[:300].decode(errors="replace").strip()
