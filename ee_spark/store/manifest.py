"""job.json: which job a dataset belongs to, what its first plan froze, and the layout of its tables that follows."""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ee_spark.boundary import shown
from ee_spark.errors import DamagedError, JobError, ReadError, StoreError
from ee_spark.limits import MAX_RECORD
from ee_spark.objects import Store
from ee_spark.planner.difference import difference
from ee_spark.planner.frozen import LONGEST, Frozen
from ee_spark.planner.plan import Plan
from ee_spark.planner.points import Points
from ee_spark.planner.tile import Shape
from ee_spark.store import exceeded
from ee_spark.store.bounds import damage, json_of
from ee_spark.store.life import prefix_of
from ee_spark.store.part import zero_rows
from ee_spark.store.schema import JOB, PIXELS, RUNS, SUCCESS, TILES, Layout
from ee_spark.version import __version__

SPEC = 1
FIRST_IMAGE = "the first run that does decides bands and types, and writes them"
_LIFE = re.compile(r"[0-9a-f]{8,64}")
"""A fingerprint, or a life's nonce: parts are found, and removed, by its beginning."""


@dataclass(frozen=True)
class Manifest:
    """The content of job.json.

    ``identity`` is what the fingerprint is made of, in keys that a person can compare; ``replaced`` are the lives that
    were overwritten, or the fingerprints of the jobs of those that had no nonce. ``raw`` is the object as it was read,
    with what a later version may have added.
    """

    name: str
    fingerprint: str
    identity: Mapping[str, Any]
    frozen: Frozen
    replaced: tuple[str, ...]
    raw: Mapping[str, Any]

    @property
    def prefix(self) -> str:
        """What the names of all parts of this life begin with, e.g. ``part-1a2b3c4d-``."""
        return prefix_of(self.fingerprint, self.frozen.life)

    @property
    def points(self) -> bool:
        """True where tiles are patches around points."""
        return bool(self.identity.get("region") == "points")

    @property
    def fill(self) -> dict[str, float]:
        """What stands for masked samples in each band, with ``mask: fill``; else empty."""
        value = self.identity.get("pixels.fill")
        if value is None:
            return {}
        names = [band.name for band in self.frozen.bands]
        return {name: value[name] for name in names} if isinstance(value, Mapping) else dict.fromkeys(names, value)

    @property
    def point_columns(self) -> tuple[str, ...]:
        """The names of the points' own columns."""
        return tuple(self.identity.get("region.columns") or ())


def parse(data: bytes, where: str) -> Manifest:
    """Return the manifest that the bytes of a job.json hold; ``where`` is the dataset, for the message.

    Raises:
        DamagedError: if they are not one.
    """
    with damage(
        f"{where}/{JOB}", "cannot be read as a job's manifest", "put back a copy of it, or write to another path"
    ):
        job = json_of(data)
        for key, kind in {"name": str, "fingerprint": str, "identity": dict, "replaced": list, "frozen": dict}.items():
            if not isinstance(job[key], kind):
                raise ValueError(f"its {key} {shown(job[key])} is of another type")
        found = Manifest(
            job["name"][:LONGEST],
            job["fingerprint"],
            job["identity"],
            replace(
                Frozen.from_json(job["frozen"]),
                versions=job.get("versions", True),
                columns=_columns_of(job["identity"]),
            ),
            tuple(job["replaced"]),
            job,
        )
        _check(found)
        return found
    raise AssertionError("damage raises")


def _columns_of(identity: Mapping[str, Any]) -> dict[str, str]:
    """Return the types of the points' own columns, as Arrow prints them."""
    columns = identity.get("region.columns") or {}
    return {str(name): str(kind) for name, kind in columns.items()} if isinstance(columns, Mapping) else {}


def _check(found: Manifest) -> None:
    """Refuse what no job writes: names of lives are parts of paths, fill values stand in pixels."""
    if not isinstance(found.frozen.versions, bool | None):
        raise ValueError(f"its versions {shown(found.frozen.versions)} is neither true, false nor null")
    for life in (found.fingerprint, *found.replaced):
        if not isinstance(life, str) or not _LIFE.fullmatch(life):
            raise ValueError(f"{shown(life)} is neither a fingerprint nor a life")
    fill = found.identity.get("pixels.fill")
    if isinstance(fill, Mapping) and not {band.name for band in found.frozen.bands} <= fill.keys():
        raise ValueError("its fill has no value for some band")
    for value in found.fill.values():
        sound = (isinstance(value, int) and abs(value) < 2**64) or (isinstance(value, float) and math.isfinite(value))
        if isinstance(value, bool) or not sound:
            raise ValueError(f"its fill {shown(value)} is not a number")
    columns = found.identity.get("region.columns") or {}
    if not isinstance(columns, Mapping | list) or not all(isinstance(name, str) for name in columns):
        raise ValueError("its points' columns have no names")


def read(store: Store) -> Manifest | None:
    """Return the dataset's manifest, or None where there is no dataset yet.

    Raises:
        DamagedError: if it holds no job.
        StoreError: if it cannot be read.
    """
    found = store.read(JOB, MAX_RECORD)
    return None if found is None else parse(found[0], store.root)


def required(store: Store) -> Manifest:
    """Return the dataset's manifest.

    Raises:
        ReadError: if there is no dataset, or no run of it has found an image yet.
        DamagedError, StoreError: as :func:`read` does.
    """
    found = read(store)
    if found is not None:
        return found
    if is_undecided(store):
        raise ReadError(f"{store.root!r} has no tables yet: no run of it has found an image; {FIRST_IMAGE}")
    raise ReadError(f"{store.root!r} is not a dataset: it has no {JOB}; write the output.path of a job that ran")


def is_undecided(store: Store) -> bool:
    """Return True where runs left records, and no table: none found an image, so that nothing is decided."""
    return bool(store.list(f"{RUNS}/")) and not store.list(f"{PIXELS}/") and not store.list(f"{TILES}/")


def undecided(store: Store) -> Manifest:
    """Return what stands for the manifest of a dataset none of whose runs has found an image: no bands, no rows."""
    frozen = Frozen("computePixels", (), "none", Shape(1, 1), None, "", 1, 1)
    return Manifest(store.root.rpartition("/")[2], "", {}, frozen, (), {})


def claim(store: Store, plan: Plan) -> bool:
    """Write job.json for ``plan`` if there is none yet; False if there is.

    Raises:
        JobError: if nothing can be written there.
    """
    try:
        return store.create(JOB, encoded(plan, []))
    except StoreError as error:
        raise JobError(f"output.path: cannot write to {store.root}: {error}") from None


def refuse_other(store: Store, plan: Plan, manifest: Manifest) -> None:
    """Refuse to write a plan into a dataset of another job, with what differs."""
    if manifest.fingerprint != plan.fingerprint:
        raise JobError(
            f"output.path: {store.root} holds another job ({difference(plan.identity, dict(manifest.identity))}); "
            "write to another path, or set output.overwrite: true to remove it"
        )


def take_over(store: Store, plan: Plan) -> bool:
    """Replace another job's job.json, naming the lives it replaces: a new life begins.

    False if another driver has done so for the same job meanwhile: its life goes on.
    """
    while True:
        found = store.read(JOB, MAX_RECORD)
        old = parse(found[0], store.root) if found else None
        if old and old.fingerprint == plan.fingerprint:
            return old.frozen.life == plan.frozen.life  # also where the answer to our replace was lost
        replaced = [*old.replaced, old.frozen.life or old.fingerprint] if old else []
        mine = prefix_of(plan.fingerprint, plan.frozen.life)
        names = [name for name in dict.fromkeys(replaced) if prefix_of(name, "") != mine]
        store.delete(SUCCESS)
        if store.replace(JOB, encoded(plan, names), found[1] if found else None):
            return True


def remove_replaced(store: Store) -> None:
    """Remove what lives that were overwritten left: their parts and tiles, and what their last lanes still wrote.

    A life that is over never comes back, so nothing that is written from now on is removed.
    """
    manifest = read(store)
    for life in manifest.replaced if manifest else ():
        for table in (PIXELS, TILES):
            for entry in store.list(f"{table}/{prefix_of(life, '')}"):
                store.delete(entry.name)
    exceeded.forget(store, manifest.replaced if manifest else ())


def open_tables(store: Store, layout: Layout) -> None:
    """Publish the zero-row parts, so that readers see the full schema before the first tile."""
    store.create(f"{PIXELS}/{layout.schema_part}", zero_rows(layout.pixels, layout))
    store.create(f"{TILES}/{layout.schema_part}", zero_rows(layout.tiles, layout))


def layout_of(plan: Plan) -> Layout:
    """Return the tables' layout of a plan."""
    points = plan.region if isinstance(plan.region, Points) else None
    columns = points.columns.schema if points and points.columns.num_columns else None
    return Layout(plan.fingerprint, plan.frozen, points is not None, columns, plan.fill)


def layout_of_dataset(store: Store, manifest: Manifest) -> Layout:
    """Return the layout of the tables that are there; the points' own columns are taken from any part that has them.

    Raises:
        StoreError: if no part shows them.
    """
    bare = Layout(manifest.fingerprint, manifest.frozen, manifest.points, fill=manifest.fill)
    if not manifest.point_columns:
        return bare
    for entry in store.list(f"{PIXELS}/{bare.prefix}"):
        with suppress(DamagedError), damage(entry.name), store.open(entry.name) as file:
            schema = pq.read_schema(file)
            return replace(bare, point_columns=pa.schema([schema.field(name) for name in manifest.point_columns]))
    raise StoreError(f"{store.root}: no part shows the points' own columns; run the same command again, it writes one")


def encoded(plan: Plan, replaced: Iterable[str]) -> bytes:
    """Return job.json for a plan, as JSON in UTF-8."""
    value = {
        "spec": SPEC,
        "name": plan.config.name,
        "fingerprint": plan.fingerprint,
        "identity": plan.identity,
        "versions": plan.frozen.versions,
        "frozen": plan.frozen.to_json(),
        "replaced": list(replaced),
        "software": f"ee_spark {__version__}",
        "created_at": dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    return json.dumps(value, indent=1, ensure_ascii=False, default=str).encode()
