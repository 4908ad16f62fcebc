"""Bytes that records need, once for all that have the same: within the record where they are few, else beside it.

``<folder>/<16 hex digits of the SHA-256>.arrow`` is created once, whoever comes first, and never changed.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from typing import Any

from ee_spark.errors import StoreError
from ee_spark.objects import Store

INLINE = 4_000
"""Bytes that a record holds itself: an object of their own would cost more than they do."""
_NAME = re.compile(r"[0-9a-f]{16}\.arrow")


def keep(store: Store, folder: str, data: bytes) -> str:
    """Keep ``data`` in ``folder``, unless it is there; return the name that it has there."""
    file = f"{hashlib.sha256(data).hexdigest()[:16]}.arrow"
    if not store.list(f"{folder}/{file}"):
        store.create(f"{folder}/{file}", data)
    return file


def kept(store: Store, folder: str, file: object) -> bytes:
    """Return what :func:`keep` was given; ``file`` is as a record says it.

    Raises:
        StoreError: if it is gone or damaged.
    """
    name = f"{folder}/{file}"
    found = store.read(name) if isinstance(file, str) and _NAME.fullmatch(file) else None
    if found is None:
        raise StoreError(f"{store.root}/{name}: is missing")
    if hashlib.sha256(found[0]).hexdigest()[:16] != str(file)[:16]:
        raise StoreError(f"{store.root}/{name}: is damaged: its content has another name")
    return found[0]


def note(store: Store, folder: str, data: bytes) -> dict[str, str]:
    """Return what a record says of ``data``: all of it, or the name of the object that has it."""
    if len(data) <= INLINE:
        return {"data": base64.b64encode(data).decode()}
    return {"file": keep(store, folder, data)}


def noted(store: Store, folder: str, said: Mapping[str, Any]) -> bytes:
    """Return what :func:`note` was given.

    Raises:
        StoreError: if it is gone or damaged.
        ValueError: if that is not what a record says.
    """
    if isinstance(said.get("data"), str):
        return base64.b64decode(said["data"], validate=True)
    return kept(store, folder, said.get("file"))
