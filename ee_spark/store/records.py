"""What a dataset says of itself: job.json, the images, the runs, and ``_SUCCESS``."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ee_spark.errors import JobError, StoreError
from ee_spark.objects import Store
from ee_spark.planner.frozen import Frozen
from ee_spark.planner.plan import Plan, difference
from ee_spark.planner.region import Points, Polygons
from ee_spark.store import planned
from ee_spark.store.owner import is_gone, owner
from ee_spark.store.part import zero_rows
from ee_spark.store.schema import JOB, PIXELS, RUNS, SUCCESS, TILES, Layout
from ee_spark.version import __version__


def layout_of(plan: Plan) -> Layout:
    """Return the tables' layout of a plan."""
    points = plan.region if isinstance(plan.region, Points) else None
    columns = points.columns.schema if points and points.columns.num_columns else None
    return Layout(plan.fingerprint, plan.frozen, points is not None, columns)


def layout_of_dataset(store: Store, job: dict[str, Any]) -> Layout:
    """Return the layout of the tables that are there; the points' own columns are taken from any part that has them."""
    frozen = Frozen.from_json(job["frozen"])
    bare = Layout(job["fingerprint"], frozen, job["identity"]["region"] == "points")
    if not job["identity"]["region.columns"]:
        return bare
    for entry in store.list(f"{PIXELS}/{bare.prefix}"):
        try:
            with store.open(entry.name) as file:
                schema = pq.read_schema(file)
        except (pa.ArrowException, OSError):
            continue
        own = [schema.field(name) for name in job["identity"]["region.columns"]]
        return replace(bare, point_columns=pa.schema(own))
    raise StoreError(f"{store.root}: no part shows the points' own columns; run the job again, it writes one")


def read_runs(store: Store) -> dict[str, dict[str, Any] | None]:
    """Return the records of all runs by their ids, None for those that cannot be read."""
    runs: dict[str, dict[str, Any] | None] = {}
    for entry in store.list(f"{RUNS}/"):
        found = store.read(entry.name)
        try:
            runs[entry.name.removeprefix(f"{RUNS}/").removesuffix(".json")] = json.loads(found[0]) if found else None
        except ValueError:
            runs[entry.name.removeprefix(f"{RUNS}/").removesuffix(".json")] = None
    return runs


def is_over(store: Store, run_id: str) -> bool:
    """Return True if a run has ended, its driver is known to be gone, or nobody knows of it."""
    found = store.read(f"{RUNS}/{run_id}.json")
    return is_gone(json.loads(found[0]) if found else None)


def read_job(store: Store) -> dict[str, Any] | None:
    """Return job.json, or None where there is no dataset yet."""
    found = store.read(JOB)
    return None if found is None else dict(json.loads(found[0]))


def frozen_job(job: dict[str, Any] | None) -> Frozen | None:
    """Return what the dataset's first plan froze."""
    return Frozen.from_json(job["frozen"]) if job else None


def claim(store: Store, plan: Plan) -> bool:
    """Write job.json for ``plan`` if there is none yet; False if there is.

    Raises:
        JobError: if nothing can be written there.
    """
    try:
        return store.create(JOB, _job_bytes(plan, []))
    except StoreError as error:
        raise JobError(f"output.path: cannot write to {store.root}: {error}") from None


def refuse_other(store: Store, plan: Plan, job: dict[str, Any]) -> None:
    """Refuse to write a plan into a dataset of another job, with what differs."""
    if job["fingerprint"] != plan.fingerprint:
        raise JobError(
            f"output.path: {store.root} holds another job ({difference(plan.identity, job['identity'])}); write to "
            "another path, or set output.overwrite: true to remove it"
        )


def take_over(store: Store, plan: Plan) -> None:
    """Replace another job's job.json, naming the fingerprints it replaces."""
    while True:
        found = store.read(JOB)
        job = json.loads(found[0]) if found else {"fingerprint": plan.fingerprint, "replaced": []}
        replaced = [*job["replaced"], job["fingerprint"]]
        names = [name for name in dict.fromkeys(replaced) if name != plan.fingerprint]
        if store.replace(JOB, _job_bytes(plan, names), found[1] if found else None):
            return


def remove_replaced(store: Store) -> None:
    """Remove what jobs that were overwritten left: their parts and tiles, and what their last lanes still wrote."""
    for fingerprint in (read_job(store) or {"replaced": []})["replaced"]:
        for table in (PIXELS, TILES):
            for entry in store.list(f"{table}/part-{fingerprint[:8]}-"):
                store.delete(entry.name)


def open_tables(store: Store, layout: Layout) -> None:
    """Publish the zero-row parts, so that readers see the full schema before the first tile."""
    store.create(f"{PIXELS}/{layout.schema_part}", zero_rows(layout.pixels, layout))
    store.create(f"{TILES}/{layout.schema_part}", zero_rows(layout.tiles, layout))


def start_run(store: Store, plan: Plan, run_id: str | None) -> str:
    """Record that a run begins, with all that is needed to enumerate its plan again; return the id that it gets."""
    stem = run_id or dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%SZ")
    attempt = uuid.uuid4().hex
    body = {
        "attempt": attempt,
        "owner": owner(),
        "job": plan.config.model_dump(mode="json"),
        "fingerprint": plan.fingerprint,
        "region": _region(plan.region),
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
        if found and json.loads(found[0]).get("attempt") == attempt:  # our own, whose answer was lost
            return name
        number += 1


def read_points(region: dict[str, Any]) -> Points | None:
    """Return the points of a run's record, if its region is one of points."""
    if "points" not in region:
        return None
    columns = dict(region["points"])
    ids, lon, lat = (columns.pop(name) for name in ("id", "lon", "lat"))
    return Points(tuple(ids), np.asarray(lon, np.float64), np.asarray(lat, np.float64), pa.table({}))


def finish_run(store: Store, run_id: str, report: dict[str, Any]) -> None:
    """Add the report to a run's record."""
    name = f"{RUNS}/{run_id}.json"
    found = store.read(name)
    if found is None:
        raise StoreError(f"{store.root}/{name}: the run's own record is gone")
    store.replace(name, _json({**json.loads(found[0]), "report": report, "ended_at": _now()}), found[1])


def succeed(store: Store, report: dict[str, Any]) -> None:
    """Write ``_SUCCESS``."""
    store.delete(SUCCESS)
    store.create(SUCCESS, _json(report))


def _region(region: Polygons | Points) -> dict[str, Any]:
    if not isinstance(region, Points):
        return {"geojson": region.geojson()}
    columns = region.columns.to_pydict() if region.columns.num_columns else {}
    return {"points": {"id": region.ids, "lon": region.lon.tolist(), "lat": region.lat.tolist(), **columns}}


def _job_bytes(plan: Plan, replaced: Iterable[str]) -> bytes:
    return _json(
        {
            "spec": 1,
            "name": plan.config.name,
            "fingerprint": plan.fingerprint,
            "identity": plan.identity,
            "frozen": plan.frozen.to_json(),
            "replaced": list(replaced),
            "software": f"ee_spark {__version__}",
            "created_at": _now(),
        }
    )


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False, default=str).encode()


def _now() -> str:
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
