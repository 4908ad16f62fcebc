"""What a dataset has of a plan before a run of it: read from its ledgers as a run's lanes would, nothing written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import numpy as np

from ee_spark.errors import EESparkError
from ee_spark.objects import Store
from ee_spark.planner.chunk import COLUMNS, Pairs
from ee_spark.planner.plan import Plan
from ee_spark.planner.points import Points
from ee_spark.planner.standing import Standing
from ee_spark.store import account, runs
from ee_spark.store.log import listing, open_logs
from ee_spark.store.planned import keys_of
from ee_spark.store.runs import Planned
from ee_spark.store.schema import PIXELS, TILES, Layout

MOST_READ = 2_000_000
"""Pairs of which the ledgers are read, at some ten thousandths of a second each: of more, so many say how all are."""
NEWEST = 16
"""Runs that are done whose records are looked at for the same plan."""


def standing(
    store: Store,
    layout: Layout,
    plan: Plan,
    *,
    skip_failed: bool = False,
    looked: Callable[[int, int], None] = lambda done, chunks: None,
    most: int = MOST_READ,
) -> Standing:
    """Return what the dataset at ``store`` has of a plan; ``looked`` is told how many of how many chunks were read.

    One listing and no ledger where a run that is done planned just the same; else the ledgers of the plan's chunks,
    those of about ``most`` pairs.

    Raises:
        LedgerError: if a part has none that can be read: a run of the plan would stop there.
    """
    pairs, pack = plan.pairs, plan.pack
    if _is_done(store, layout, plan):
        return Standing(pairs.count, 0, 0, 0, skip_failed)
    counts, keys = pairs.counts, [pairs.key(index) for index in range(len(pairs))]
    parts = listing(store, layout)
    begun = [index for index, key in enumerate(keys) if key in parts[PIXELS] or key in parts[TILES]]
    held = int(counts[begun].sum()) if begun else 0
    some = begun[:: max(1, -(-held // most))]
    found: Counter[str] = Counter()
    images, snap = list(plan.images.ids), plan.config.grid.snap
    for done, (index, log) in enumerate(zip(some, open_logs(store, layout, [keys[i] for i in some]), strict=True), 1):
        planned = keys_of(pairs, index, images, layout.frozen.shape, plan.points, snap=snap)
        committed = log.committed & planned
        failed = (log.failed & planned) - committed
        left = planned - committed - (failed if skip_failed else set())
        of_tile = Counter(tile for tile, _ in left)
        requests = sum(-(-count // pack) for count in of_tile.values())
        found.update(read=len(planned), committed=len(committed), failed=len(failed), requests=requests)
        looked(done, len(some))
    share = held / found["read"] if found["read"] else 1.0
    there, failures, asked = (round(found[name] * share) for name in ("committed", "failed", "requests"))
    untouched = np.isin(np.repeat(np.arange(len(pairs)), np.diff(pairs.edges)), begun, invert=True)
    rest = pairs.where(untouched).requests(pack) if begun else pairs.requests(pack)
    new = pairs.count - there - failures
    return Standing(there, failures, new, asked + rest, skip_failed, len(some) == len(begun))


def _is_done(store: Store, layout: Layout, plan: Plan) -> bool:
    """Return True where a run of which nothing is outstanding, as the account knows, planned the same pairs."""
    waiting = set(account.unmarked(store))
    done = sorted((run_id for run_id in runs.run_ids(store) if run_id not in waiting), reverse=True)[:NEWEST]
    for record in runs.read_runs(store, done).values():
        if record is None or not runs.counts(record, layout) or record.get("planned") != plan.pairs.count:
            continue
        with suppress(EESparkError, ValueError):
            if _is_same(runs.plan_of(store, record), plan):
                return True
    return False


def _is_same(old: Planned, plan: Plan) -> bool:
    """Return True if a run planned the pairs of a plan, of the same images and points."""
    if old.images != list(plan.images.ids) or old.snap != plan.config.grid.snap:
        return False
    return _same_points(old.points, plan.points) and _same_pairs(old.pairs, plan.pairs)


def _same_points(old: Points | None, new: Points | None) -> bool:
    if old is None or new is None:
        return old is new
    return old.ids == new.ids and np.array_equal(old.lon, new.lon) and np.array_equal(old.lat, new.lat)


def _same_pairs(old: Pairs, new: Pairs) -> bool:
    if [one.key for one in old.lattices] != [one.key for one in new.lattices] or len(old.image) != len(new.image):
        return False
    orders = [np.lexsort([getattr(one, name) for name in COLUMNS]) for one in (old, new)]
    return all(np.array_equal(getattr(old, name)[orders[0]], getattr(new, name)[orders[1]]) for name in COLUMNS)
