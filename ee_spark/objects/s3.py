"""Objects on S3 and what speaks its protocol, by boto3; needs the extra ``s3``.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html.
"""

from __future__ import annotations

import base64
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import google_crc32c
from urllib3.exceptions import HTTPError

from ee_spark.connections import proxy_of
from ee_spark.errors import StoreError, missing_extra
from ee_spark.hosts import endpoint, is_aws
from ee_spark.objects.names import check, is_temporary
from ee_spark.objects.ranges import TAIL, RangeFile
from ee_spark.objects.store import TEMP, Entry, Settings

try:
    import boto3
    from boto3.exceptions import Boto3Error
    from botocore import UNSIGNED
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:
    raise missing_extra("s3://", "boto3", "s3") from None

ATTEMPTS = 10
"""Tries of one request on transient errors, with botocore's own jittered waits of up to 20 s."""
CONNECTIONS = 32
BODIES = 5
CONFLICTS = 20
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

    def read(self, name: str) -> tuple[bytes, str] | None:
        """Return the bytes and generation of ``name``, or None."""
        with self._errors(name, ABSENT):
            data, answer = self._get(name)
            return data, answer["ETag"]
        return None

    def open(self, name: str) -> RangeFile:
        """Open ``name`` for random access to the generation that it has now."""
        with self._errors(name, frozenset({"InvalidRange", "416"})):
            tail, answer = self._get(name, Range=f"bytes=-{TAIL}")
            size = int(answer.get("ContentRange", f"/{len(tail)}").rpartition("/")[2])
            return RangeFile(size, tail, self._fetcher(name, answer["ETag"]))
        return RangeFile(0, b"", lambda start, stop: b"")

    def list(self, prefix: str) -> list[Entry]:
        """Return the objects whose name begins with ``prefix``, sorted by name."""
        with self._errors(prefix):
            pages = self._s3.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._base + check(prefix, prefix=True)
            )
            items = [item for page in pages for item in page.get("Contents", ())]
        found = [Entry(item["Key"].removeprefix(self._base), int(item["Size"]), item["ETag"]) for item in items]
        return sorted(found, key=lambda entry: entry.name)

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

    def _get(self, name: str, **options: str) -> tuple[bytes, dict[str, Any]]:
        """Get an object or a part of it; botocore tries requests again, but not bodies that break off."""
        for _ in range(BODIES - 1):
            answer = self._s3.get_object(Bucket=self._bucket, Key=self._base + check(name), **options)
            try:
                return answer["Body"].read(), answer
            except (BotoCoreError, HTTPError):
                time.sleep(random.uniform(0, 0.5))
        answer = self._s3.get_object(Bucket=self._bucket, Key=self._base + check(name), **options)
        return answer["Body"].read(), answer

    def _fetcher(self, name: str, etag: str) -> Callable[[int, int], bytes]:
        def fetch(start: int, stop: int) -> bytes:
            with self._errors(name):
                return self._get(name, Range=f"bytes={start}-{stop - 1}", IfMatch=etag)[0]
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

    @cached_property
    def _s3(self) -> Any:
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


def _proxies(url: str) -> dict[str, str]:
    """Return the proxy for ``url`` as botocore wants it: with its user and password in it, which it does not show."""
    proxy = proxy_of(url)
    return {} if proxy is None else {url.partition(":")[0].lower(): proxy.full_url}


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
