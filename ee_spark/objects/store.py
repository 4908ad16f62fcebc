"""What ee_spark asks of a place that holds objects, and how such places are reached."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ee_spark.errors import DamagedError
from ee_spark.limits import MAX_OBJECT

OWN = "_ee_spark"
TEMP = f"{OWN}/tmp"


@dataclass(frozen=True)
class Entry:
    """One object of a store: its name under the root, its size in bytes, and the generation that names its content."""

    name: str
    size: int
    generation: str


@dataclass(frozen=True)
class Settings:
    """How gs:// and s3:// are reached: other endpoints than the clouds' own, a region, and whether as nobody."""

    gs_endpoint: str | None = None
    s3_endpoint: str | None = None
    s3_region: str | None = None
    anonymous: bool = False


class Store(Protocol):
    """A place for objects. Each publish is one atomic step: an object is there whole, or not at all.

    Names are relative to ``root``, with ``/``; what could be anything else (``..``, an empty part, control characters)
    is refused (:mod:`ee_spark.objects.names`). All methods raise :class:`~ee_spark.errors.StoreError` on failure, after
    they have tried again what may pass. Where the answer to a publish was lost and it was tried again, False can also
    mean that the first try got through: who must know compares what is there.
    """

    root: str

    def create(self, name: str, data: bytes) -> bool:
        """Publish ``data`` as ``name`` in one atomic step; False if the name is taken, and nothing has changed."""

    def replace(self, name: str, data: bytes, generation: str | None) -> bool:
        """Replace ``name`` if it still has ``generation`` (None: if it is absent); False if it has not."""

    def send(self, name: str, path: Path) -> None:
        """Publish the file at ``path`` as ``name`` in one atomic step and in little memory, whatever had the name."""

    def read(self, name: str, most: int = MAX_OBJECT) -> tuple[bytes, str] | None:
        """Return the bytes of ``name`` and the generation they belong to, or None if there is no such object.

        More than ``most`` bytes are not read: that is a :class:`~ee_spark.errors.DamagedError`.
        """

    def open(self, name: str) -> Any:
        """Open ``name`` as a binary file for random access; all that is read is of one generation."""

    def list(self, prefix: str) -> list[Entry]:
        """Return all objects whose name begins with ``prefix``, in folders below it too, sorted by name."""

    def delete(self, name: str) -> None:
        """Remove ``name``; it is not an error if it is gone."""

    def clear_temp(self) -> None:
        """Remove what writers that died left behind; a living writer whose temporary is gone writes it again."""


def check_size(size: int, most: int) -> None:
    """Refuse to read an object of ``size`` bytes or more, where at most ``most`` are read.

    Raises:
        DamagedError: so.
    """
    if size > most:
        raise DamagedError(f"it has {size:,} bytes or more, and at most {most:,} are read; find out who wrote it")
