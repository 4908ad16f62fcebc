"""Rounds: what is left to do after workers died, and who is suspected of it.

What a dead lane had not begun is simply dealt again. What it had open is suspected: it runs in halves, one after the
other in a single lane, so that the next death points at one half, down to a single tile.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ee_spark.errors import StoreError
from ee_spark.fetch.quota import share
from ee_spark.lane.deal import Share, deal
from ee_spark.lane.notes import Notes, clear
from ee_spark.lane.record import LaneRecord
from ee_spark.lane.tally import Unclosed
from ee_spark.objects import Store
from ee_spark.planner.chunk import Chunk

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Suspect:
    """A chunk that was open when a worker died; ``deaths`` counts those that it cost alone."""

    chunk: Chunk
    deaths: int = 0


class Rounds(NamedTuple):
    """What the rounds of a run came to: its lanes' records, chunks that no lane closed, and why it ended early."""

    records: list[LaneRecord]
    unclosed: list[Unclosed]
    stopped: str | None


def run_rounds(first: list[Share], store: Store, run_lanes: Callable[[list[Share]], str | None]) -> Rounds:
    """Run lanes, and again what was left when workers died, until nothing is left or a round achieves nothing.

    ``run_lanes`` runs them side by side and says why that failed, if it did.
    """
    records: list[LaneRecord] = []
    shares, chunks, suspects, number = first, list[Chunk](), list[Suspect](), 0
    try:
        while True:
            reason = run_lanes(shares)
            notes = [Notes(store, one.brief.notes, one.round, one.index) for one in shares]
            found = [_of(one, note.record()) for one, note in zip(shares, notes, strict=True)]
            records += [record for record in found if record is not None]
            stopped = next((record.stopped for record in records if record.stopped), None)
            noted = [note.left_open() for note in notes]
            begun = shares[0].alone, chunks, suspects
            chunks, new = left_over(shares, found, noted)
            suspects = new if shares[0].alone else [*suspects, *new]
            rest = [*unclosed(shares, found), *(Unclosed(chunk, Counter()) for chunk in chunks)]
            rest += [Unclosed(suspect.chunk, Counter()) for suspect in suspects]
            if stopped or not (chunks or suspects):
                return Rounds(records, rest, stopped)
            idle = not any(noted) and all(record is None for record in found)  # no lane ever ran: Spark itself is gone
            if idle or (shares[0].alone, chunks, suspects) == begun:
                return Rounds(records, rest, f"{reason}; a round of work achieved nothing")
            number += 1
            log.warning("%s; round %d: %d chunks, %d suspects", reason, number + 1, len(chunks), len(suspects))
            shares = next_shares(first, chunks, suspects, number)
    finally:
        try:
            clear(store, first[0].brief.notes)
        except StoreError as error:  # which is not why the run ends; the next run clears them
            log.info("%s", error)


def _of(one: Share, record: LaneRecord | None) -> LaneRecord | None:
    """Return a lane's record, or None where no lane of this share can have written it: then it counts as dead."""
    if record is None:
        return None
    counts = record.ok + record.empty + record.failed + record.skipped + record.missing
    indices = {*record.left, *record.unclosed}
    sound = counts <= sum(chunk.count for chunk in one.chunks) and all(0 <= i < len(one.chunks) for i in indices)
    return record if sound and record.lane == one.index else None


def left_over(
    shares: Sequence[Share], records: Sequence[LaneRecord | None], still_open: Sequence[set[int]]
) -> tuple[list[Chunk], list[Suspect]]:
    """Return what a round left to do: chunks to deal again, and suspects.

    ``records`` are the lanes' (None: it died), ``still_open`` the indices of the chunks that each noted as open.
    """
    chunks: list[Chunk] = []
    suspects: list[Suspect] = []
    for one, record, noted in zip(shares, records, still_open, strict=True):
        suspected = noted if record is None else set(record.left)
        for index, chunk in enumerate(one.chunks):
            if index in suspected:
                suspects += narrowed(Suspect(chunk, one.deaths[index] if one.deaths else 0), alone=one.alone)
            elif record is None and one.alone:
                suspects.append(Suspect(chunk, one.deaths[index]))
            elif record is None:
                chunks.append(chunk)
    return chunks, suspects


def unclosed(shares: Sequence[Share], records: Sequence[LaneRecord | None]) -> list[Unclosed]:
    """Return the chunks that lanes which stopped did not close, with what each made of them."""
    return [
        Unclosed(one.chunks[index], Counter(counts))
        for one, record in zip(shares, records, strict=True)
        if record is not None
        for index, counts in record.unclosed.items()
    ]


def narrowed(suspect: Suspect, *, alone: bool) -> list[Suspect]:
    """Return a suspect's halves; a single pair that was ``alone`` has cost one more worker."""
    if suspect.chunk.count > 1:
        return [Suspect(half) for half in suspect.chunk.halves()]
    return [replace(suspect, deaths=suspect.deaths + alone)]


def next_shares(
    first: Sequence[Share], chunks: Sequence[Chunk], suspects: Sequence[Suspect], number: int
) -> list[Share]:
    """Return what the lanes of round ``number`` get, of what the ``first`` ones shared: for chunks, else suspects."""
    threads, per_second = sum(one.threads for one in first), sum(one.per_second for one in first)
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
