"""What runs lanes side by side: Spark's partitions, or whatever else starts processes. It is all that differs."""

from __future__ import annotations

from typing import Protocol

from ee_spark.lane.deal import Share


class Engine(Protocol):
    """A place where lanes run."""

    @property
    def host(self) -> str:
        """The driver's address as lanes reach it."""

    def slots(self) -> int:
        """Return how many lanes can run at once.

        Raises:
            JobError: if that is not known, and the job has to say it.
        """

    def held(self, shares: list[Share]) -> list[Share]:
        """Return the shares with which the job keeps to its quota, whatever the engine does with its lanes."""

    def run(self, shares: list[Share]) -> str | None:
        """Run every lane to its end, side by side; return why that failed, if it did: lanes may have died.

        Raises:
            StoreError: if a slice that is too large to travel with its lane cannot be written.
        """
