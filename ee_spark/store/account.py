"""The account: is every planned tile of all runs committed; ``_SUCCESS`` stands only while that is so.

A mark ``_ee_spark/done/<run id>`` says that nothing which a run planned is outstanding. Parts are never taken away but
by a repair, which takes the marks away too, so a run that has its mark is looked at no more: what this costs does not
grow with the runs that there were.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from ee_spark.errors import EESparkError, StoreError
from ee_spark.limits import MAX_RECORD
from ee_spark.objects import Store
from ee_spark.status import Status
from ee_spark.store import runs
from ee_spark.store.bounds import json_of
from ee_spark.store.life import JOB, goes_on
from ee_spark.store.log import open_logs
from ee_spark.store.runs import THREADS, Planned
from ee_spark.store.schema import SUCCESS, Layout

DONE = "_ee_spark/done"

log = logging.getLogger(__name__)


def settle(store: Store, layout: Layout, report: Mapping[str, Any]) -> bool:
    """Write ``_SUCCESS``, the report of a run that is complete, if every planned tile of all runs is committed.

    Returns whether it stands there now.
    """
    if store.read(JOB) is None:  # a day without images, before the first that has some: there is no dataset yet
        _write(store, report)
        return _stands(store, report, store.read(JOB) is None)
    while not outstanding(store, layout):
        _write(store, report)
        if unmarked(store):  # a run that began meanwhile; if that has ended too, it is looked at again
            store.delete(SUCCESS)
        else:
            return _stands(store, report, goes_on(store, layout.fingerprint, layout.frozen.life))
    return False


def settle_without(store: Store, layout: Layout) -> bool:
    """Write ``_SUCCESS`` after a run was taken out of the account, by the newest of the others that is complete."""
    found = [record for record in runs.read_runs(store).values() if record and runs.counts(record, layout)]
    reports = [record.get("report") for record in sorted(found, key=lambda record: str(record.get("started_at")))]
    whole = [report for report in reports if isinstance(report, dict) and report.get("status") == Status.COMPLETE]
    return bool(whole) and settle(store, layout, whole[-1])


def reopen(store: Store) -> None:
    """Take ``_SUCCESS`` and every mark away: what was committed may be so no more."""
    store.delete(SUCCESS)
    for entry in store.list(f"{DONE}/"):
        store.delete(entry.name)


def mark(store: Store, run_id: str) -> None:
    """Note that nothing which a run planned is outstanding."""
    store.create(f"{DONE}/{run_id}", b"")


def unmarked(store: Store) -> list[str]:
    """Return the ids of the runs that have no mark."""
    marks = {entry.name.removeprefix(f"{DONE}/") for entry in store.list(f"{DONE}/")}
    return [run_id for run_id in runs.run_ids(store) if run_id not in marks]


def outstanding(store: Store, layout: Layout) -> list[str]:
    """Return the ids of the runs of which a planned tile is not committed, or nobody knows; mark the others.

    Where the life of ``layout`` is over all are left to the life that goes on: its runs are none of this one's.
    """
    waiting: dict[str, Planned] = {}
    lost: list[str] = []
    done: list[str] = []
    for run_id, record in runs.read_runs(store, unmarked(store)).items():
        try:
            if record is None:
                raise ValueError("it is not valid JSON")
            if not runs.counts(record, layout) or record.get("planned") == 0:
                done.append(run_id)
            else:
                waiting[run_id] = runs.plan_of(store, record)
        except (EESparkError, ValueError) as error:
            log.warning(
                "%s: the plan of run %s cannot be read (%s): no _SUCCESS; take it out: ee-spark verify --dataset %s "
                "--forget %s",
                *(store.root, run_id, error, store.root, run_id),
            )
            lost.append(run_id)
    if not goes_on(store, layout.fingerprint, layout.frozen.life):  # looked at after the records were read
        return [*lost, *waiting, *done, "the life that goes on"]
    try:
        lacking = _lacking(store, layout, waiting)
    except StoreError as error:
        log.warning("%s; no _SUCCESS", error)
        lacking = set(waiting)
    done += waiting.keys() - lacking
    with ThreadPoolExecutor(THREADS, "marks") as pool:
        list(pool.map(lambda run_id: mark(store, run_id), done))
    return [*lost, *lacking]


def _lacking(store: Store, layout: Layout, plans: Mapping[str, Planned]) -> set[str]:
    """Return which of the runs planned a tile that is committed in no part; each is followed up to its first one."""
    lacking: set[str] = set()
    places: dict[str, list[tuple[str, int]]] = {}
    for run_id, plan in plans.items():
        for index in range(len(plan.pairs)):
            places.setdefault(plan.pairs.key(index), []).append((run_id, index))

    def wanted() -> Iterator[str]:
        return (chunk for chunk, runs_in in places.items() if any(run_id not in lacking for run_id, _ in runs_in))

    for chunk_log in open_logs(store, layout, wanted(), tiles=False):
        committed = chunk_log.committed
        for run_id, index in places[chunk_log.chunk]:
            if run_id not in lacking and not plans[run_id].keys(index, layout.frozen.shape) <= committed:
                lacking.add(run_id)
    return lacking


def _write(store: Store, report: Mapping[str, Any]) -> None:
    data = json.dumps(report, indent=1, ensure_ascii=False, default=str).encode()
    while not store.replace(SUCCESS, data, found[1] if (found := store.read(SUCCESS, MAX_RECORD)) else None):
        pass  # another run wrote its own meanwhile


def _stands(store: Store, report: Mapping[str, Any], rightly: bool) -> bool:
    """Remove ``_SUCCESS`` of a job that was overwritten meanwhile, unless it is another run's by now."""
    found = None if rightly else store.read(SUCCESS, MAX_RECORD)
    if found is not None and _run_of(found[0]) == report["run_id"]:
        store.delete(SUCCESS)
    return rightly


def _run_of(success: bytes) -> object:
    with suppress(ValueError):
        return json_of(success).get("run_id")
    return None
