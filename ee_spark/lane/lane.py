"""A lane as a small value: its slice of the plan, or where that lies, and its share of the quota."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from ee_spark.client import Service
from ee_spark.errors import StoreError
from ee_spark.job import Retry
from ee_spark.lane.slice import Slice, decode
from ee_spark.logs import Logs
from ee_spark.objects import Settings, Store
from ee_spark.objects.names import run_folder
from ee_spark.planner.request import Recipe
from ee_spark.store.schema import Layout


@dataclass(frozen=True)
class Brief:
    """What all lanes of a run share.

    ``pack`` is how many images of one tile go into one request; without ``logs`` a worker's logging is left alone.
    ``outside`` are the tiles without a pixel in the job's clip, None where they are too many to be named.
    ``nonce`` is a part of where the run's notes lie that nobody can know before the run has begun.
    """

    run_id: str
    path: str
    storage: Settings
    service: Service
    recipe: Recipe
    layout: Layout
    retry: Retry
    part_size: int
    snap: bool
    skip_failed: bool
    progress: tuple[str, int] | None
    pack: int = 1
    logs: Logs | None = None
    nonce: str = ""
    outside: frozenset[str] | None = frozenset()

    @property
    def notes(self) -> str:
        """The name of the folder of the run's notes."""
        return run_folder(self.run_id, self.nonce)


@dataclass(frozen=True)
class Stored:
    """A slice that is an object beside the dataset: its name, and the SHA-256 (hex) that its bytes must have."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Lane:
    """One lane of a round, as it travels to its worker: its slice, and its part of the quota.

    ``chunks`` and ``pairs`` say how many its slice has. ``alone``: each chunk is begun when the one before has ended,
    so that a worker's death is its own; ``deaths`` are then how many workers each has cost so far. ``round`` counts
    from 0.
    """

    index: int
    brief: Brief
    slice: bytes | Stored
    chunks: int
    pairs: int
    threads: int
    per_second: float
    round: int = 0
    alone: bool = False
    deaths: tuple[int, ...] = ()

    def open(self, store: Store | None) -> Slice:
        """Return the lane's slice; ``store`` is where the dataset lies, if there is one.

        Raises:
            StoreError: if it is gone, or its bytes are not those that the driver wrote.
        """
        if isinstance(self.slice, bytes):
            return decode(self.slice)
        assert store is not None
        found = store.read(self.slice.name)
        if found is None:
            raise StoreError(f"{store.root}/{self.slice.name}: the lane's slice is gone; run the job again")
        if hashlib.sha256(found[0]).hexdigest() != self.slice.sha256:
            raise StoreError(
                f"{store.root}/{self.slice.name}: the lane's slice is not what the driver wrote; find out who else "
                "writes there, then run the job again"
            )
        return decode(found[0])
