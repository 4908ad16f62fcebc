"""Objects on S3 and what speaks its protocol, by boto3; needs the extra ``s3``.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html.
"""

from __future__ import annotations

import base64
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import google_crc32c
from urllib3.exceptions import HTTPError

from ee_spark.connections import proxy_of
from ee_spark.errors import DamagedError, StoreError, missing_extra, one_line
from ee_spark.hosts import endpoint, is_aws
from ee_spark.limits import MAX_ERROR, MAX_JSON, MAX_LISTED, MAX_OBJECT
from ee_spark.objects.names import check, is_temporary
from ee_spark.objects.ranges import TAIL, RangeFile
from ee_spark.objects.store import TEMP, Entry, Settings, check_size

try:
    import boto3
    from boto3.exceptions import Boto3Error
    from botocore import UNSIGNED
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError, ConnectionClosedError
except ImportError:
    raise missing_extra("s3://", "boto3", "s3") from None

ATTEMPTS = 10
"""Tries of one request on transient errors, with botocore's own jittered waits of up to 20 s."""
CONNECTIONS = 32
ANSWER_SECONDS = 60
SLOWEST = 1 << 16
"""Bytes a second: what has arrived gives an answer so much more time."""
STEP = 1 << 20
BODIES = 5
CONFLICTS = 20
EMPTY_PAGES = 20
"""Pages in a row of a list that name nothing new."""
ABSENT = frozenset({"404", "NoSuchKey", "NotFound"})
REFUSED = frozenset({"412", "PreconditionFailed"})
CONFLICT = frozenset({"409", "ConditionalRequestConflict"})


GIVEN = frozenset({"env", "shared-credentials-file", "config-file", "boto-config"})
"""Where boto3 finds keys that a user wrote down. What it knows beside them (a machine's or container's role, SSO, a web
identity, a process) speaks for the machine or the account, and goes to Amazon only
(https://boto3.amazonaws.com/v1/documentation/api/latest/guide/credentials.html)."""


class S3Store:
    """A bucket, or a folder of one; credentials as boto3 finds them, at another endpoint only those given for it."""

    def __init__(self, bucket: str, prefix: str, settings: Settings) -> None:
        self.root = f"s3://{bucket}/{prefix}".rstrip("/")
        self._bucket, self._base = bucket, f"{prefix}/" if prefix else ""
        self._settings = settings
        self._endpoint = endpoint(settings.s3_endpoint, "storage.s3_endpoint") if settings.s3_endpoint else None

    @cached_property
    def url(self) -> str:
        """The URL of its service."""
        return self._endpoint or str(self._s3.meta.endpoint_url)

    def create(self, name: str, data: bytes) -> bool:
        """Publish ``data`` as ``name``; False if the name is taken."""
        return self._put(name, data, {"IfNoneMatch": "*"})

    def replace(self, name: str, data: bytes, generation: str | None) -> bool:
        """Replace ``name`` if it still has ``generation``, which is its ETag."""
        return self._put(name, data, {"IfMatch": generation} if generation else {"IfNoneMatch": "*"})

    def send(self, name: str, path: Path) -> None:
        """Publish a file, which may be larger than memory, in parts that become an object with the last of them."""
        with self._errors(name):
            try:
                self._s3.upload_file(str(path), self._bucket, self._base + check(name))
            except Boto3Error as error:
                raise StoreError(f"{self.root}/{name}: {error}") from None

    def read(self, name: str, most: int = MAX_OBJECT) -> tuple[bytes, str] | None:
        """Return the bytes and generation of ``name``, at most ``most``, or None."""
        with self._errors(name, ABSENT):
            data, answer = self._get(name, most)
            return data, answer["ETag"]
        return None

    def open(self, name: str) -> RangeFile:
        """Open ``name`` for random access to the generation that it has now."""
        with self._errors(name, frozenset({"InvalidRange", "416"})):
            tail, answer = self._get(name, TAIL, Range=f"bytes=-{TAIL}")
            size = int(answer.get("ContentRange", f"/{len(tail)}").rpartition("/")[2])
            if size < len(tail):
                raise ValueError(f"a size of {size}")
            return RangeFile(size, tail, self._fetcher(name, answer["ETag"]))
        return RangeFile(0, b"", lambda start, stop: b"")

    def list(self, prefix: str) -> list[Entry]:
        """Return the objects whose name begins with ``prefix``, sorted by name."""
        found: dict[str, Entry] = {}
        with self._errors(prefix):
            pages = self._s3.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._base + check(prefix, prefix=True)
            )
            empty = 0
            for page in pages:
                before = len(found)
                for item in page.get("Contents", ()):
                    name = item["Key"].removeprefix(self._base)
                    found[name] = Entry(name, int(item["Size"]), item["ETag"])
                empty = 0 if len(found) > before else empty + 1
                if empty > EMPTY_PAGES or len(found) > MAX_LISTED:
                    raise StoreError(
                        f"{self.root}/{prefix}: a list without an end: {len(found):,} objects, and {empty} pages that "
                        "name no other"
                    )
        return sorted(found.values(), key=lambda entry: entry.name)

    def delete(self, name: str) -> None:
        """Remove ``name`` if it is there."""
        with self._errors(name, ABSENT):
            self._s3.delete_object(Bucket=self._bucket, Key=self._base + check(name))

    def clear_temp(self) -> None:
        """Remove the probes of runs that died: nothing else is temporary here."""
        for entry in self.list(f"{TEMP}/"):
            if is_temporary(entry.name.removeprefix(f"{TEMP}/")):
                self.delete(entry.name)

    def _put(self, name: str, data: bytes, condition: dict[str, str]) -> bool:
        """Put an object under a condition, with a checksum that the service verifies.

        A conflict means that another writer is at work on the name at this moment: asked again, its outcome is known.
        """
        crc = base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()
        for _ in range(CONFLICTS):
            with self._errors(name, CONFLICT):
                try:
                    self._s3.put_object(
                        Bucket=self._bucket, Key=self._base + check(name), Body=data, ChecksumCRC32C=crc, **condition
                    )
                except ClientError as error:
                    if _code(error) in REFUSED or ("IfMatch" in condition and _code(error) in ABSENT):
                        return False
                    raise
                return True
            time.sleep(random.uniform(0, 0.5))
        raise StoreError(
            f"{self.root}/{name}: other writers were in the way {CONFLICTS} times; run the same command again, it "
            "resumes"
        )

    def _get(self, name: str, most: int, **options: str) -> tuple[bytes, dict[str, Any]]:
        """Get an object or a part of it, at most ``most`` bytes, all that its length says.

        botocore tries requests again, but not bodies that break off.
        """
        left = BODIES
        while True:
            answer = self._s3.get_object(Bucket=self._bucket, Key=self._base + check(name), **options)
            body, left = answer["Body"], left - 1
            try:
                check_size(int(answer.get("ContentLength", 0)), most)
                parts, size = [], 0
                while part := body.read(STEP):  # its last, empty one compares the length and the checksum
                    parts.append(part)
                    size += len(part)
                    check_size(size, most)
                return b"".join(parts), answer
            except (BotoCoreError, HTTPError):
                if not left:
                    raise
                time.sleep(random.uniform(0, 0.5))
            finally:
                body.close()

    def _fetcher(self, name: str, etag: str) -> Callable[[int, int], bytes]:
        def fetch(start: int, stop: int) -> bytes:
            with self._errors(name):
                data = self._get(name, stop - start, Range=f"bytes={start}-{stop - 1}", IfMatch=etag)[0]
                if len(data) != stop - start:
                    raise ValueError(f"{len(data)} bytes came, asked for were {stop - start}")
                return data
            raise AssertionError  # _errors lets nothing pass here

        return fetch

    @contextmanager
    def _errors(self, name: str, expected: frozenset[str] = frozenset()) -> Iterator[None]:
        """Turn what boto3 raises into a StoreError; what is ``expected`` ends the block and no more."""
        try:
            yield
        except ClientError as error:
            if _code(error) not in expected:
                raise StoreError(f"{self.root}/{name}: {error}") from None
        except (BotoCoreError, HTTPError) as error:
            raise StoreError(f"{self.root}/{name}: {error}") from None
        except DamagedError as error:
            raise DamagedError(f"{self.root}/{name}: {error}") from None
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise StoreError(f"{self.root}/{name}: an answer that cannot be read ({one_line(error, 100)})") from None

    @cached_property
    def _s3(self) -> Any:
        client = self._client()
        client.meta.events.register("before-send.s3", partial(_send, client._endpoint.http_session))
        return client

    def _client(self) -> Any:
        settings, options = self._settings, {}
        if self._endpoint:
            options["proxies"] = _proxies(self._endpoint)
            options["s3"] = {"addressing_style": "path"}
        config = Config(
            retries={"mode": "standard", "max_attempts": ATTEMPTS},
            max_pool_connections=CONNECTIONS,
            signature_version=UNSIGNED if settings.anonymous else None,
            **options,
        )
        where = {"endpoint_url": self._endpoint, "region_name": settings.s3_region, "config": config}
        try:
            if not self._endpoint or is_aws(self._endpoint):
                client = boto3.session.Session().client("s3", **where)
                if is_aws(client.meta.endpoint_url) or settings.anonymous:
                    return client  # else the environment names another endpoint, AWS_ENDPOINT_URL or a profile's
            return self._given().client("s3", **where)
        except (BotoCoreError, ValueError, TypeError, LookupError, OSError) as error:
            raise StoreError(f"{self.root}: boto3 cannot make a client of this configuration ({error})") from None

    def _given(self) -> Any:
        """Return a session of boto3 that knows nothing but what a user wrote down for this endpoint."""
        session = boto3.session.Session()
        resolver = session._session.get_component("credential_provider")
        resolver.providers = [provider for provider in resolver.providers if provider.METHOD in GIVEN]
        if not self._settings.anonymous and session.get_credentials() is None:
            raise StoreError(
                f"{self.root}: no keys were given for {self._endpoint or 'its endpoint'}, and those of this machine go "
                "to amazonaws.com only; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE to a profile "
                "with keys, or storage.anonymous: true"
            )
        return session


class _Body:
    """The body of an answer as it arrives: of at most ``most`` bytes, and not without end, however slowly it drips."""

    def __init__(self, raw: Any, url: str, most: int) -> None:
        self._raw, self._url, self._most = raw, url.partition("?")[0], most
        self._since, self._taken = time.monotonic(), 0

    def read(self, amount: int | None = None) -> bytes:
        """Return what has arrived, at most ``amount`` bytes; or all that will."""
        if amount is None:
            return b"".join(self.stream())
        part: bytes = self._raw.read1(amount)
        self._taken += len(part)
        check_size(self._taken, self._most)
        seconds = time.monotonic() - self._since
        if part and seconds > ANSWER_SECONDS + self._taken / SLOWEST:
            raise StoreError(
                f"{self._url}: the answer did not end: {self._taken:,} bytes in {seconds:.0f} s; run the same command "
                "again, it resumes"
            )
        return part

    def stream(self) -> Iterator[bytes]:
        """Yield all of it, step by step."""
        try:
            while part := self.read(STEP):
                yield part
        finally:
            self.close()

    def close(self) -> None:
        """Give the connection back, or up where something is left in it."""
        self._raw.close()


def _send(session: Any, request: Any, **_: object) -> Any:
    """Send a request as botocore does, but take no more of its answer than is wanted."""
    streamed, request.stream_output = request.stream_output, True
    answer = session.send(request)
    most = MAX_ERROR if answer.status_code >= 300 else MAX_OBJECT if streamed else MAX_JSON
    answer.raw = _Body(answer.raw, request.url, most)
    if not streamed:
        try:
            _ = answer.content  # now, where botocore tries again what breaks off
        except HTTPError as error:
            raise ConnectionClosedError(error=error, request=request, endpoint_url=request.url) from error
    return answer


def _proxies(url: str) -> dict[str, str]:
    """Return the proxy for ``url`` as botocore wants it: with its user and password in it, which it does not show."""
    proxy = proxy_of(url)
    return {} if proxy is None else {url.partition(":")[0].lower(): proxy.full_url}


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
