"""The images of a dataset, pinned: the version that each first had, and whether it has changed since.

Loads in an expression carry the pinned version. ``getPixels`` takes none, so its images are looked at again when a run
ends (https://developers.google.com/earth-engine/reference/rest/v1/projects.assets/getPixels).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ee_spark.objects import Store
from ee_spark.planner.images import Images, table_schema, timestamps
from ee_spark.planner.wkb import wkb_multipolygon
from ee_spark.status import TileStatus
from ee_spark.store.schema import IMAGES, TILES, Layout

_CHANGED = table_schema().get_field_index("changed")
_VERSION = table_schema().get_field_index("version")


def publish(store: Store, images: Images, *, fresh: bool = False, repin: bool = False) -> Images:
    """Add images to the dataset's table; return them with the versions that they first had there.

    ``fresh`` forgets the images of a job that was there, ``repin`` takes today's versions and clears the flags.
    """
    while True:
        found = store.read(IMAGES)
        old = pq.read_table(pa.BufferReader(found[0])) if found and not fresh else table_schema().empty_table()
        today = {name: int(version) for name, version in zip(images.ids, images.version, strict=True)}
        if repin:
            old = _with_versions(old, today)
        known = _versions(old)
        new = [index for index, name in enumerate(images.ids) if name not in known]
        if not (new or not found or fresh or repin) or _replace(
            store, pa.concat_tables([old, _rows(images, new)]), found[1] if found else None
        ):
            version = [known.get(name, today[name]) for name in images.ids]
            return replace(images, version=np.array(version, np.int64))


def flag(store: Store, today: Mapping[str, int]) -> list[str]:
    """Flag the images whose version today (microseconds) is not the pinned one; return the ids of all flagged ones."""
    while True:
        found = store.read(IMAGES)
        if found is None:
            return []
        table = pq.read_table(pa.BufferReader(found[0]))
        names, was = table["image_id"].to_pylist(), table["changed"].to_pylist()
        known = _versions(table)
        now = [flagged or today.get(name, known[name]) != known[name] for name, flagged in zip(names, was, strict=True)]
        changed = table.set_column(_CHANGED, table.schema.field(_CHANGED), pa.array(now, pa.bool_()))
        if now == was or _replace(store, changed, found[1]):
            return [name for name, flagged in zip(names, now, strict=True) if flagged]


def fetched(store: Store, layout: Layout, run_id: str, images: Iterable[str]) -> set[str]:
    """Return those of ``images`` of which a run committed tiles."""
    wanted, seen = pa.array(sorted(images), pa.string()), set[str]()
    if not len(wanted):
        return seen
    for entry in store.list(f"{TILES}/{layout.prefix}"):
        with store.open(entry.name) as file:
            table = pq.read_table(file, columns=["image_id", "run_id", "status"])
        mine = pc.and_(pc.equal(table["run_id"], run_id), pc.not_equal(table["status"], TileStatus.FAILED))
        seen |= set(table.filter(pc.and_(mine, pc.is_in(table["image_id"], wanted)))["image_id"].to_pylist())
    return seen


def _replace(store: Store, table: pa.Table, generation: str | None) -> bool:
    sink = pa.BufferOutputStream()
    pq.write_table(table.cast(table_schema()), sink, compression="zstd")
    return store.replace(IMAGES, sink.getvalue().to_pybytes(), generation)


def _versions(table: pa.Table) -> dict[str, int]:
    versions = table["version"].cast(pa.int64()).to_pylist()
    return {
        name: -1 if version is None else version
        for name, version in zip(table["image_id"].to_pylist(), versions, strict=True)
    }


def _with_versions(table: pa.Table, today: Mapping[str, int]) -> pa.Table:
    """Return the table with today's versions where they are known, and no image flagged."""
    versions = [today.get(name, version) for name, version in _versions(table).items()]
    column = timestamps(versions)
    table = table.set_column(_VERSION, table.schema.field(_VERSION), column)
    return table.set_column(_CHANGED, table.schema.field(_CHANGED), pa.array([False] * table.num_rows))


def _rows(images: Images, index: list[int]) -> pa.Table:
    return pa.table(
        [
            pa.array([images.ids[i] for i in index], pa.string()),
            *(timestamps([int(values[i]) for i in index]) for values in (images.time, images.end, images.version)),
            pa.array([False] * len(index)),
            pa.array([_footprint(images, i) for i in index], pa.binary()),
            pa.array([images.properties[i] for i in index], pa.string()),
        ],
        schema=table_schema(),
    )


def _footprint(images: Images, index: int) -> bytes | None:
    """Return an image's footprint as a WKB MultiPolygon."""
    polygons = images.footprints[index]
    return None if polygons is None else wkb_multipolygon(polygons)
