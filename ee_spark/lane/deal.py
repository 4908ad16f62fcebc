"""How a plan becomes lanes: chunks dealt evenly, the quota shared, the largest chunks cut where a lane would lag."""

from __future__ import annotations

from collections.abc import Sequence

from ee_spark.config import storage_of
from ee_spark.fetch.quota import share
from ee_spark.lane.lane import Brief, Lane
from ee_spark.logs import Logs
from ee_spark.planner.chunk import Chunk
from ee_spark.planner.crs import Ints
from ee_spark.planner.plan import Plan
from ee_spark.store import manifest

LEAST_SHARE = 8
"""Requests in flight that a lane should have at least: fewer, larger lanes use a small quota better."""
UNEVEN = 1.05


def make_lanes(
    plan: Plan,
    versions: Ints,
    run_id: str,
    slots: int,
    *,
    skip_failed: bool = False,
    progress: tuple[str, int] | None = None,
    logs: Logs | None = None,
) -> list[Lane]:
    """Cut a plan into lanes: as many as share the quota, with chunks dealt so that all end at about the same time.

    ``versions`` are the images' to ask for, ``slots`` how many tasks can run at once.
    """
    engine, config = plan.config.earth_engine, plan.config
    chunks = [plan.pairs.chunk(index) for index in range(len(plan.pairs))]
    count = max(1, min(slots, max(1, engine.concurrent_requests // LEAST_SHARE), plan.pairs.count))
    chunks, dealt = even(chunks, count)
    brief = Brief(
        run_id=run_id,
        path=config.output.path,
        storage=storage_of(config),
        service=plan.service,
        recipe=plan.recipe,
        layout=manifest.layout_of(plan),
        retry=config.retry,
        part_size=config.output.part_size,
        snap=config.grid.snap,
        skip_failed=skip_failed,
        progress=progress,
        pack=plan.pack,
        logs=logs,
    )
    return [
        Lane(
            index=lane,
            brief=brief,
            chunks=tuple(chunks[i] for i in dealt[lane]),
            image_ids=plan.images.ids,
            image_times=tuple(plan.images.time.tolist()),
            image_versions=tuple(versions.tolist() if config.source.pin else [-1] * len(plan.images)),
            graphs=plan.graphs,
            points=plan.points,
            threads=max(1, share(engine.concurrent_requests, count, lane)),
            per_second=engine.requests_per_minute / 60 / count,
        )
        for lane in range(count)
    ]


def even(chunks: list[Chunk], lanes: int) -> tuple[list[Chunk], list[list[int]]]:
    """Deal chunks to lanes, halving the largest while the lanes would end more than 5 % apart."""
    for _ in range(8 * lanes):
        dealt = deal([chunk.count for chunk in chunks], lanes)
        loads = [sum(chunks[i].count for i in indices) for indices in dealt]
        if max(loads) <= UNEVEN * sum(loads) / lanes:
            break
        heaviest = dealt[loads.index(max(loads))]
        largest = max(heaviest, key=lambda index: chunks[index].count)
        if chunks[largest].count < 2:
            break
        chunks = [*chunks[:largest], *chunks[largest].halves(), *chunks[largest + 1 :]]
    return chunks, deal([chunk.count for chunk in chunks], lanes)


def deal(counts: Sequence[int], lanes: int) -> list[list[int]]:
    """Return for each lane the indices of its chunks: largest first, each to the lane that has the least so far."""
    loads, dealt = [0] * lanes, [[] for _ in range(lanes)]  # type: tuple[list[int], list[list[int]]]
    for index in sorted(range(len(counts)), key=lambda i: (-counts[i], i)):
        lane = loads.index(min(loads))
        dealt[lane].append(index)
        loads[lane] += counts[index]
    return [sorted(indices) for indices in dealt]
