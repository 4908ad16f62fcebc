"""The records of a dataset's runs: what each planned and asked with, who drives it, how it ended."""

from __future__ import annotations

import datetime as dt
import json
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from ee_spark.errors import DamagedError, StoreError
from ee_spark.job import JobConfig
from ee_spark.limits import MAX_RECORD
from ee_spark.objects import Store
from ee_spark.objects.names import is_run_id
from ee_spark.planner.chunk import Pairs
from ee_spark.planner.plan import Plan
from ee_spark.planner.region import Points, Polygons
from ee_spark.planner.tile import Shape
from ee_spark.store import planned, points
from ee_spark.store.bounds import damage, json_of
from ee_spark.store.content import INLINE, note, noted
from ee_spark.store.graphs import keep_graphs
from ee_spark.store.owner import is_gone, owner
from ee_spark.store.planned import Key
from ee_spark.store.schema import RUNS, Layout
from ee_spark.where import Inline

THREADS = 16
Record = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Planned:
    """What one run planned."""

    pairs: Pairs
    images: list[str]
    points: Points | None
    snap: bool

    def keys(self, index: int, shape: Shape) -> set[Key]:
        """Return the (tile_id, image_id) planned in one chunk of ``pairs``."""
        return planned.keys_of(self.pairs, index, self.images, shape, self.points, snap=self.snap)

    def chunks(self, shape: Shape) -> Iterator[tuple[str, set[Key]]]:
        """Yield each chunk's key and the (tile_id, image_id) planned in it."""
        return planned.chunk_keys(self.pairs, self.images, shape, self.points, snap=self.snap)


def run_ids(store: Store) -> list[str]:
    """Return the ids of all runs; what has another name is not a record of a run."""
    names = (entry.name.removeprefix(f"{RUNS}/").removesuffix(".json") for entry in store.list(f"{RUNS}/"))
    return [name for name in names if is_run_id(name)]


def read_runs(store: Store, ids: Iterable[str] | None = None) -> dict[str, Record | None]:
    """Return the records of all runs, or of some, by their ids, None for those that cannot be read."""
    names = list(run_ids(store) if ids is None else ids)
    with ThreadPoolExecutor(THREADS, "records") as pool:
        found = list(pool.map(lambda run_id: _read(store, run_id), names))
    return {name: one[0] if one else None for name, one in zip(names, found, strict=True)}


def counts(record: Record, layout: Layout) -> bool:
    """Return True if what a run planned is part of the dataset: it is of this life, and was not forgotten."""
    return is_of(record, layout) and not is_forgotten(record)


def is_of(record: Record, layout: Layout) -> bool:
    """Return True if a run is of this life of the dataset, or was, before its record was torn."""
    same = (record.get("fingerprint"), record.get("life", "")) == (layout.fingerprint, layout.frozen.life)
    return same or bool(record.get("torn"))


def is_forgotten(record: Record) -> bool:
    """Return True if somebody said that a run was a mistake."""
    return bool(record.get("forgotten"))


def plan_of(store: Store, record: Record) -> Planned:
    """Return what a run planned.

    Raises:
        StoreError: if the record says none, or an object that holds a part of it is gone or damaged.
    """
    with damage("its record", "says no plan", f"look at {RUNS}"):
        pairs = planned.unpack(store, record["pairs"])
        images = planned.unpack_images(store, record["images"])
        points_of = read_points(store, record["region"])
        planned.check(pairs, len(images), len(points_of.ids) if points_of else None)
        return Planned(pairs, images, points_of, bool(record["job"]["grid"]["snap"]))


def _read(store: Store, run_id: str) -> tuple[Record | None, str] | None:
    """Return a run's record, None where the bytes are not one, and its generation; or None if there is none."""
    name = f"{RUNS}/{run_id}.json"
    try:
        found = store.read(name, MAX_RECORD)
    except DamagedError:  # larger than any that is written
        found = next(((b"", entry.generation) for entry in store.list(name) if entry.name == name), None)
    if found is None:
        return None
    try:
        return json_of(found[0]), found[1]
    except ValueError:
        return None, found[1]


def is_over(store: Store, run_id: str) -> bool:
    """Return True if a run has ended, its driver is known to be gone, or nobody knows of it."""
    found = _read(store, run_id)
    return is_gone(found[0] if found else None)


def start_run(store: Store, plan: Plan, run_id: str | None) -> str:
    """Record that a run begins, with all that is needed to enumerate its plan again; return the id that it gets."""
    stem = run_id or dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%SZ")
    attempt = uuid.uuid4().hex
    body = {
        "attempt": attempt,
        "owner": owner(),
        "job": _job(plan.config),
        "fingerprint": plan.fingerprint,
        "life": plan.frozen.life,
        "region": _region(store, plan.region),
        "graphs": keep_graphs(store, plan.graphs),
        "images": planned.pack_images(store, plan.images.ids),
        "pairs": planned.pack(store, plan.pairs),
        "planned": plan.pairs.count,
        "started_at": _now(),
    }
    number = 1
    while True:
        name = stem if number == 1 else f"{stem}-{number}"
        if store.create(f"{RUNS}/{name}.json", _json({"run_id": name, **body, "report": None})):
            return name
        found = _read(store, name)
        if found and (found[0] or {}).get("attempt") == attempt:  # our own, whose answer was lost
            return name
        number += 1


def read_points(store: Store, region: Mapping[str, Any]) -> Points | None:
    """Return the points of a run's record, if its region is one of points.

    Raises:
        StoreError: if the object that holds them is gone or damaged.
    """
    return points.kept(store, region["points"]) if "points" in region else None


def read_region(store: Store, region: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the GeoJSON geometry of a run's record, if its region is not one of points.

    Raises:
        StoreError: if the object that holds it is gone or damaged.
    """
    said = region.get("geojson")
    if not isinstance(said, dict) or "type" in said:
        return said if isinstance(said, dict) else None
    with damage(f"{store.root}/{RUNS}", "a region cannot be read"):
        return json_of(zlib.decompressobj().decompress(noted(store, planned.PLANS, said), MAX_RECORD))


def forget(store: Store, run_id: str, by: str) -> Record:
    """Take a run out of the account, in its record, which may be torn; return what it is now.

    Raises:
        StoreError: if there is no such record.
    """
    name = f"{RUNS}/{run_id}.json"
    while True:
        found = _read(store, run_id)
        if found is None:
            raise StoreError(f"{store.root}/{name}: is gone")
        record = found[0] or {"run_id": run_id, "torn": True}
        if is_forgotten(record):
            return record
        record = {**record, "forgotten": {"at": _now(), "by": by}}
        if store.replace(name, _json(record), found[1]):
            return record


def extend(store: Store, run_id: str, plan: Plan, by_raster: Iterable[str]) -> None:
    """Record that a run plans more than when it began: the images ``by_raster`` without their footprints.

    Raises:
        StoreError: if the record is gone or damaged, or cannot be written.
    """
    more = {
        "pairs": planned.pack(store, plan.pairs),
        "planned": plan.pairs.count,
        "by_raster": sorted(by_raster),
    }
    _change(store, run_id, more)


def finish_run(store: Store, run_id: str, report: dict[str, Any]) -> None:
    """Add the report to a run's record."""
    _change(store, run_id, {"report": report, "ended_at": _now()}, settled="report")


def _change(store: Store, run_id: str, more: dict[str, Any], settled: str | None = None) -> None:
    """Change values of a run's record; where the value of ``settled`` is there it was done, and the answer was lost."""
    name = f"{RUNS}/{run_id}.json"
    while True:  # somebody may take it out of the account meanwhile
        found = _read(store, run_id)
        record = found[0] if found else None
        if found is None or record is None:
            raise StoreError(f"{store.root}/{name}: the run's own record is {'gone' if found is None else 'damaged'}")
        if settled and record.get(settled) == json.loads(_json(more[settled])):
            return
        if store.replace(name, _json({**record, **more}), found[1]):
            return


def _job(config: JobConfig) -> dict[str, Any]:
    """Return the job as a record has it: without where a key or a catalog lies on the machine that ran it."""
    job = config.model_dump(mode="json")
    engine = job["earth_engine"]
    engine["credentials"] = engine["credentials"].partition(":")[0]
    engine["emulator"].pop("catalog", None)
    for key in ("geojson", "points"):
        if isinstance(getattr(config.region, key), Inline):
            job["region"][key] = "given in the job"  # the record has what it holds, beside
    return job


def _region(store: Store, region: Polygons | Points) -> dict[str, Any]:
    """Return a region as a record has it; what is large is kept once for all runs that have it."""
    if isinstance(region, Points):
        return {"points": points.keep(store, region)}
    geometry = region.geojson()
    text = json.dumps(geometry).encode()
    return {"geojson": geometry if len(text) <= INLINE else note(store, planned.PLANS, zlib.compress(text))}


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False, default=str).encode()


def _now() -> str:
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
