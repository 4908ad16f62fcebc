"""A lane as a value: its chunks, the images and points that they index, and its share of the quota."""

from __future__ import annotations

from dataclasses import dataclass

from ee_spark.client import Service
from ee_spark.job import Retry
from ee_spark.logs import Logs
from ee_spark.objects import Settings
from ee_spark.planner.chunk import Chunk
from ee_spark.planner.region import Points
from ee_spark.planner.request import Recipe
from ee_spark.store.schema import Layout


@dataclass(frozen=True)
class Brief:
    """What all lanes of a run share.

    ``pack`` is how many images of one tile go into one request; without ``logs`` a worker's logging is left alone.
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


@dataclass(frozen=True)
class Lane:
    """One lane of a round.

    ``alone``: each chunk is begun when the one before has ended, so that a worker's death is its own; ``deaths`` are
    then how many workers each has cost so far. ``round`` counts from 0.
    """

    index: int
    brief: Brief
    chunks: tuple[Chunk, ...]
    image_ids: tuple[str, ...]
    image_times: tuple[int, ...]
    image_versions: tuple[int, ...]
    graphs: tuple[str, ...]
    points: Points | None
    threads: int
    per_second: float
    round: int = 0
    alone: bool = False
    deaths: tuple[int, ...] = ()
