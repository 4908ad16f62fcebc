"""What a chunk's planned pairs have become: counted by the lane that ends it, or by the driver where none did."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import NamedTuple

import pyarrow.compute as pc

from ee_spark.errors import StoreError
from ee_spark.lane.deal import Share
from ee_spark.objects import Store, is_full
from ee_spark.planner.chunk import Chunk
from ee_spark.status import TileStatus
from ee_spark.store.log import ChunkLog, Key, open_logs
from ee_spark.store.part import failed_table

log = logging.getLogger(__name__)


class Unclosed(NamedTuple):
    """A chunk that no lane closed, and what its lane says has become of its pairs."""

    chunk: Chunk
    counts: Counter[str]


def tally(
    chunk: ChunkLog, planned: AbstractSet[Key], run_id: str, mine: Mapping[Key, str] | None = None
) -> Counter[str]:
    """Count what the planned pairs of a folded chunk are: ok and empty if this run did them, skipped, failed.

    ``mine`` are those that the caller itself committed. Pairs that are nothing yet are not counted.
    """
    committed, ours = chunk.committed & planned, dict(mine or {})
    if len(committed) > len(ours):
        ours |= _done_by(chunk, run_id)
    counts = Counter(ours.get(key, TileStatus.SKIPPED) for key in committed)
    counts[TileStatus.FAILED] = len((chunk.failed & planned) - committed)
    return counts


def count_unclosed(share: Share, store: Store, left: Iterable[Unclosed]) -> Counter[str]:
    """Fold every chunk that no lane closed, where it is behind its parts, and count what its planned pairs are.

    ``share`` is any of the run's. Where the store cannot be read or written, what the lanes say stands.
    """
    parts: dict[str, list[Chunk]] = {}
    said: Counter[str] = Counter()
    for chunk, counts in left:
        parts.setdefault(chunk.key, []).append(chunk)
        said.update(counts)
    brief, counted = share.brief, Counter[str]()
    shape, snap = brief.layout.frozen.shape, brief.snap
    nothing = failed_table([], brief.layout, brief.run_id)
    try:
        for chunk_log, chunks in zip(open_logs(store, brief.layout, list(parts)), parts.values(), strict=True):
            if chunk_log.ledgers or chunk_log.folded is not None:
                chunk_log.fold(nothing)
                for chunk in chunks:
                    planned = set(share.whole.keys(chunk, shape, snap=snap))
                    counted.update(tally(chunk_log, planned, brief.run_id))
    except StoreError as error:
        level = logging.INFO if is_full(error) else logging.WARNING  # a full disk has been told
        log.log(level, "%s; the counts of the chunks that were open are the lanes' own", error)
        return said
    return counted


def _done_by(chunk: ChunkLog, run_id: str) -> dict[Key, str]:
    """Return what a run's lanes, dead ones too, committed in a chunk."""
    found: dict[Key, str] = {}
    for entry in chunk.ledgers.values():
        table = entry.committed.filter(pc.equal(entry.committed["run_id"], run_id))
        names = (table[name].to_pylist() for name in ("tile_id", "image_id", "status"))
        found.update({(tile, image): status for tile, image, status in zip(*names, strict=True)})
    return found
