"""Rounds: what is left to do after workers died, and who is suspected of it.

What a dead lane had not begun is simply dealt again. What it had open is suspected: it runs in halves, one after the
other in a single lane, so that the next death points at one half, down to a single tile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ee_spark.fetch.quota import share
from ee_spark.lane.lane import Lane, deal
from ee_spark.plan.chunk import Chunk


@dataclass(frozen=True)
class Suspect:
    """A chunk that was open when a worker died; ``deaths`` counts those that it cost alone."""

    chunk: Chunk
    deaths: int = 0


def left_over(
    lanes: Sequence[Lane], records: Sequence[Mapping[str, Any] | None], still_open: Sequence[set[int]]
) -> tuple[list[Chunk], list[Suspect]]:
    """Return what a round left to do: chunks to deal again, and suspects.

    ``records`` are the lanes' (None: it died), ``still_open`` the indices of the chunks that each noted as open.
    """
    chunks: list[Chunk] = []
    suspects: list[Suspect] = []
    for lane, record, noted in zip(lanes, records, still_open, strict=True):
        suspected = noted if record is None else set(record["left"])
        for index, chunk in enumerate(lane.chunks):
            if index in suspected:
                suspects += narrowed(Suspect(chunk, lane.deaths[index] if lane.deaths else 0), alone=lane.alone)
            elif record is None and lane.alone:
                suspects.append(Suspect(chunk, lane.deaths[index]))
            elif record is None:
                chunks.append(chunk)
    return chunks, suspects


def narrowed(suspect: Suspect, *, alone: bool) -> list[Suspect]:
    """Return a suspect's halves; a single pair that was ``alone`` has cost one more worker."""
    if suspect.chunk.count > 1:
        return [Suspect(half) for half in suspect.chunk.halves()]
    return [replace(suspect, deaths=suspect.deaths + alone)]


def next_lanes(first: Sequence[Lane], chunks: Sequence[Chunk], suspects: Sequence[Suspect], number: int) -> list[Lane]:
    """Return the lanes of round ``number``, which share what the ``first`` ones shared: for chunks, else suspects."""
    threads, per_second = sum(lane.threads for lane in first), sum(lane.per_second for lane in first)
    if not chunks:
        return [
            replace(
                first[0],
                chunks=tuple(suspect.chunk for suspect in suspects),
                deaths=tuple(suspect.deaths for suspect in suspects),
                threads=threads,
                per_second=per_second,
                round=number,
                alone=True,
            )
        ]
    count = min(len(first), len(chunks))
    dealt = deal([chunk.count for chunk in chunks], count)
    return [
        replace(
            first[index],
            chunks=tuple(chunks[i] for i in dealt[index]),
            threads=max(1, share(threads, count, index)),
            per_second=per_second / count,
            round=number,
        )
        for index in range(count)
    ]
