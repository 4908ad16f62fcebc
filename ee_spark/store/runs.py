"""The records of a dataset's runs: what each planned, who drives it, how it ended; and ``_SUCCESS``."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Mapping
from typing import Any

from ee_spark.errors import StoreError
from ee_spark.objects import Store
from ee_spark.objects.names import is_run_id
from ee_spark.planner.plan import Plan
from ee_spark.planner.region import Points, Polygons
from ee_spark.store import planned, points
from ee_spark.store.owner import is_gone, owner
from ee_spark.store.schema import RUNS, SUCCESS


def read_runs(store: Store) -> dict[str, dict[str, Any] | None]:
    """Return the records of all runs by their ids, None for those that cannot be read."""
    runs: dict[str, dict[str, Any] | None] = {}
    for entry in store.list(f"{RUNS}/"):
        run_id = entry.name.removeprefix(f"{RUNS}/").removesuffix(".json")
        if is_run_id(run_id):
            found = store.read(entry.name)
            runs[run_id] = _record(found[0]) if found else None
    return runs


def _record(data: bytes) -> dict[str, Any] | None:
    """Return a run's record, or None where the bytes are not one."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def is_over(store: Store, run_id: str) -> bool:
    """Return True if a run has ended, its driver is known to be gone, or nobody knows of it."""
    found = store.read(f"{RUNS}/{run_id}.json")
    return is_gone(_record(found[0]) if found else None)


def start_run(store: Store, plan: Plan, run_id: str | None) -> str:
    """Record that a run begins, with all that is needed to enumerate its plan again; return the id that it gets."""
    stem = run_id or dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%SZ")
    attempt = uuid.uuid4().hex
    body = {
        "attempt": attempt,
        "owner": owner(),
        "job": plan.config.model_dump(mode="json"),
        "fingerprint": plan.fingerprint,
        "region": _region(store, plan.region),
        "images": plan.images.ids,
        "pairs": planned.pack(plan.pairs),
        "planned": plan.pairs.count,
        "started_at": _now(),
    }
    number = 1
    while True:
        name = stem if number == 1 else f"{stem}-{number}"
        if store.create(f"{RUNS}/{name}.json", _json({"run_id": name, **body, "report": None})):
            return name
        found = store.read(f"{RUNS}/{name}.json")
        if found and (_record(found[0]) or {}).get("attempt") == attempt:  # our own, whose answer was lost
            return name
        number += 1


def read_points(store: Store, region: Mapping[str, Any]) -> Points | None:
    """Return the points of a run's record, if its region is one of points.

    Raises:
        StoreError: if the object that holds them is gone or damaged.
    """
    return points.kept(store, region["points"]) if "points" in region else None


def finish_run(store: Store, run_id: str, report: dict[str, Any]) -> None:
    """Add the report to a run's record."""
    name = f"{RUNS}/{run_id}.json"
    found = store.read(name)
    record = _record(found[0]) if found else None
    if found is None or record is None:
        raise StoreError(f"{store.root}/{name}: the run's own record is {'gone' if found is None else 'damaged'}")
    store.replace(name, _json({**record, "report": report, "ended_at": _now()}), found[1])


def succeed(store: Store, report: dict[str, Any]) -> None:
    """Write ``_SUCCESS``."""
    store.delete(SUCCESS)
    store.create(SUCCESS, _json(report))


def _region(store: Store, region: Polygons | Points) -> dict[str, Any]:
    """Return a region as a record has it; points lie in an object of their own, once for all runs that have them."""
    return {"points": points.keep(store, region)} if isinstance(region, Points) else {"geojson": region.geojson()}


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False, default=str).encode()


def _now() -> str:
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
