"""Rounds: what is left to do after workers died, and who is suspected of it.

What a dead lane had not begun is simply dealt again. What it had open is suspected: it runs in halves, one after the
other in a single lane, so that the next death points at one half, down to a single tile.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ee_spark.fetch.quota import share
from ee_spark.lane.deal import deal
from ee_spark.lane.lane import Lane
from ee_spark.lane.notes import Notes, clear
from ee_spark.lane.tally import Open
from ee_spark.objects import Store
from ee_spark.planner.chunk import Chunk

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Suspect:
    """A chunk that was open when a worker died; ``deaths`` counts those that it cost alone."""

    chunk: Chunk
    deaths: int = 0


def run_rounds(
    first: list[Lane], store: Store, run_lanes: Callable[[list[Lane]], str | None]
) -> tuple[list[dict[str, Any]], list[Open], str | None]:
    """Run lanes, and again what was left when workers died, until nothing is left or a round achieves nothing.

    ``run_lanes`` runs them side by side and says why that failed, if it did. Returns the lanes' records; and where the
    run ended before its end, the chunks that no lane closed, and why.
    """
    records: list[dict[str, Any]] = []
    lanes, chunks, suspects, number = first, list[Chunk](), list[Suspect](), 0
    try:
        while True:
            reason = run_lanes(lanes)
            notes = [Notes(store, lane.brief.run_id, lane.round, lane.index) for lane in lanes]
            found = [note.record() for note in notes]
            records += [record for record in found if record is not None]
            stopped = next((record["stopped"] for record in records if record["stopped"]), None)
            noted = [note.left_open() for note in notes]
            begun = lanes[0].alone, chunks, suspects
            chunks, new = left_over(lanes, found, noted)
            suspects = new if lanes[0].alone else [*suspects, *new]
            rest = [*unclosed(lanes, found), *((chunk, Counter()) for chunk in chunks)]
            rest += [(suspect.chunk, Counter()) for suspect in suspects]
            if stopped or not (chunks or suspects):
                return records, rest, stopped
            idle = not any(noted) and all(record is None for record in found)  # no lane ever ran: Spark itself is gone
            if idle or (lanes[0].alone, chunks, suspects) == begun:
                return records, rest, f"{reason}; a round of work achieved nothing"
            number += 1
            log.warning("%s; round %d: %d chunks, %d suspects", reason, number + 1, len(chunks), len(suspects))
            lanes = next_lanes(first, chunks, suspects, number)
    finally:
        clear(store, first[0].brief.run_id)


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


def unclosed(lanes: Sequence[Lane], records: Sequence[Mapping[str, Any] | None]) -> list[Open]:
    """Return the chunks that lanes which stopped did not close, with what each made of them."""
    return [
        (lane.chunks[int(index)], Counter(counts))
        for lane, record in zip(lanes, records, strict=True)
        for index, counts in (record or {"unclosed": {}})["unclosed"].items()
    ]


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
