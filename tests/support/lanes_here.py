"""Lanes of a run, one after the other in this process: the whole program without Spark."""

from __future__ import annotations

from dataclasses import dataclass

from ee_spark.lane import work
from ee_spark.lane.deal import Share


@dataclass(frozen=True)
class Here:
    """What :class:`ee_spark.lane.engine.Engine` asks for; ``lanes`` is how many a run is dealt for."""

    lanes: int = 2
    host: str = "127.0.0.1"

    def slots(self) -> int:
        return self.lanes

    def held(self, shares: list[Share]) -> list[Share]:
        return shares

    def run(self, shares: list[Share]) -> str | None:
        for share in shares:
            work(share.lane(None))
        return None
