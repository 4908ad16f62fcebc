"""How a plan becomes lanes: chunks dealt evenly, the quota shared, the largest chunks cut where a lane would lag."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from ee_spark.config import storage_of
from ee_spark.fetch.quota import share
from ee_spark.lane.lane import Brief, Lane, Stored
from ee_spark.lane.notes import Notes
from ee_spark.lane.slice import Slice, encode, slice_of
from ee_spark.logs import Logs
from ee_spark.objects import Store
from ee_spark.planner.chunk import Chunk
from ee_spark.planner.crs import Ints
from ee_spark.planner.inside import outside_clip
from ee_spark.planner.plan import Plan
from ee_spark.store import manifest

UNEVEN = 1.05
INLINE_BYTES = 1_000_000
"""The largest slice that travels within its lane."""


@dataclass(frozen=True, eq=False)
class Share:
    """What the driver deals to one lane of a round: ``chunks`` of the run's ``whole`` plan, and of its quota.

    The rest is as in :class:`Lane`, which :meth:`lane` makes of it.
    """

    index: int
    brief: Brief
    whole: Slice
    chunks: tuple[Chunk, ...]
    threads: int
    per_second: float
    round: int = 0
    alone: bool = False
    deaths: tuple[int, ...] = ()

    def lane(self, store: Store | None, inline: int = INLINE_BYTES) -> Lane:
        """Return the lane that travels to a worker.

        A slice of more than ``inline`` bytes is written to ``store``, among the notes of the run; without a store it
        travels whatever its size.
        """
        own = self.whole.cut(self.chunks)
        data = encode(own)
        return Lane(
            index=self.index,
            brief=self.brief,
            slice=data if store is None or len(data) <= inline else self._stored(store, data),
            chunks=len(own.chunks),
            pairs=own.count,
            threads=self.threads,
            per_second=self.per_second,
            round=self.round,
            alone=self.alone,
            deaths=self.deaths,
        )

    def _stored(self, store: Store, data: bytes) -> Stored:
        name = f"{Notes(store, self.brief.notes, self.round, self.index).stem}.arrow"
        store.create(name, data)
        return Stored(name, hashlib.sha256(data).hexdigest())


def make_shares(
    plan: Plan,
    versions: Ints,
    run_id: str,
    slots: int,
    *,
    skip_failed: bool = False,
    progress: tuple[str, int] | None = None,
    logs: Logs | None = None,
    nonce: str | None = None,
) -> list[Share]:
    """Cut a plan for as many lanes as share the quota, with chunks dealt so that all end at about the same time.

    ``versions`` are the images' to ask for, ``slots`` how many tasks can run at once. ``nonce`` is as in
    :class:`Brief`, and drawn where none is given.
    """
    engine, config = plan.config.earth_engine, plan.config
    whole = slice_of(plan, versions)
    count = max(1, min(engine.most_lanes(slots), plan.pairs.count))
    chunks, dealt = even(list(whole.chunks), count, by_image=len(whole.graphs) > 1)
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
        nonce=secrets.token_hex(8) if nonce is None else nonce,
        outside=outside_clip(plan),
    )
    return [
        Share(
            index=lane,
            brief=brief,
            whole=whole,
            chunks=tuple(chunks[i] for i in dealt[lane]),
            threads=max(1, share(engine.concurrent_requests, count, lane)),
            per_second=engine.requests_per_minute / 60 / count,
        )
        for lane in range(count)
    ]


def even(chunks: list[Chunk], lanes: int, *, by_image: bool) -> tuple[list[Chunk], list[list[int]]]:
    """Deal chunks to lanes, halving the largest while the lanes would end more than 5 % apart.

    ``by_image``: where that costs no evenness, chunks of the same images go to the same lane, else those that lie near
    each other.
    """
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
    counts = [chunk.count for chunk in chunks]
    place = [int(chunk.image.min()) if by_image else index for index, chunk in enumerate(chunks)]
    return chunks, gathered(counts, deal(counts, lanes), place)


def deal(counts: Sequence[int], lanes: int) -> list[list[int]]:
    """Return for each lane the indices of its chunks: largest first, each to the lane that has the least so far."""
    loads, dealt = [0] * lanes, [[] for _ in range(lanes)]  # type: tuple[list[int], list[list[int]]]
    for index in sorted(range(len(counts)), key=lambda i: (-counts[i], i)):
        lane = loads.index(min(loads))
        dealt[lane].append(index)
        loads[lane] += counts[index]
    return [sorted(indices) for indices in dealt]


def gathered(counts: Sequence[int], dealt: Sequence[Sequence[int]], place: Sequence[int]) -> list[list[int]]:
    """Return lanes of the same loads, where chunks of one size that are near by ``place`` are one lane's.

    Such chunks share images with their graphs, or points, which then travel once.
    """
    waiting: dict[int, list[int]] = {}
    for index in sorted(range(len(counts)), key=lambda i: (place[i], i), reverse=True):
        waiting.setdefault(counts[index], []).append(index)
    return [sorted(waiting[counts[index]].pop() for index in indices) for indices in dealt]
