"""Images whose pixels reach beyond their footprint: noted in the dataset as soon as a tile shows it.

``_ee_spark/exceeded/<8 digits of the life>-<16 of the image id's SHA-256>`` holds the id. It is there before the tile
that shows it is committed, so that nobody who finds the tile committed, after a crash say, can miss it: whoever reads
it plans the image by its raster alone.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from ee_spark.limits import LONGEST_ID
from ee_spark.objects import Store
from ee_spark.store.life import prefix_of

EXCEEDED = "_ee_spark/exceeded"
_NAME = re.compile(r"[0-9a-f]{8}-[0-9a-f]{16}")


def note(store: Store, fingerprint: str, life: str, image_id: str) -> None:
    """Note an image, unless it is noted; ``fingerprint`` and ``life`` are the dataset's.

    Raises:
        StoreError: if the dataset cannot be written: the tile that shows it must not be committed then.
    """
    digest = hashlib.sha256(image_id.encode()).hexdigest()[:16]
    store.create(f"{_stem(fingerprint, life)}{digest}", image_id.encode())


def noted(store: Store, fingerprint: str, life: str) -> frozenset[str]:
    """Return the ids of the images that are noted in a life of the dataset.

    Raises:
        StoreError: if they cannot be read.
    """
    stem = _stem(fingerprint, life)
    names = [entry.name for entry in store.list(stem) if _NAME.fullmatch(entry.name.rpartition("/")[2])]
    found = (store.read(name, LONGEST_ID) for name in names)
    return frozenset(data[0].decode(errors="replace") for data in found if data is not None)


def forget(store: Store, lives: Iterable[str]) -> None:
    """Remove the notes of lives that are over."""
    for life in lives:
        for entry in store.list(_stem(life, "")):
            store.delete(entry.name)


def _stem(fingerprint: str, life: str) -> str:
    return f"{EXCEEDED}/{prefix_of(fingerprint, life).removeprefix('part-')}"
