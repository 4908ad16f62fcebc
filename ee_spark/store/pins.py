"""The images of a dataset, pinned: the version that each first had, and whether it has changed since.

Loads in an expression carry the pinned version. ``getPixels`` takes none, so its images are looked at again when a run
ends (https://developers.google.com/earth-engine/reference/rest/v1/projects.assets/getPixels).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ee_spark.errors import DamagedError, StoreError
from ee_spark.objects import Store
from ee_spark.planner.columns import TIME
from ee_spark.planner.images import Images, table_schema, timestamps
from ee_spark.planner.wkb import wkb_multipolygon
from ee_spark.status import TileStatus
from ee_spark.store.bounds import MOST_IMAGES, damage, parquet_rows
from ee_spark.store.schema import CALENDAR, IMAGES, TILES, Layout

BARE = ""
"""Properties of an image of which only its tiles are known."""
_CHANGED = table_schema().get_field_index("changed")
_VERSION = table_schema().get_field_index("version")


def publish(store: Store, images: Images, *, fresh: bool = False, repin: bool = False) -> Images:
    """Add images to the dataset's table; return them with the versions that they first had there.

    ``fresh`` forgets the images of a job that was there, ``repin`` takes today's versions and clears the flags.
    """
    while True:
        found = store.read(IMAGES)
        old = _table(store, found[0]) if found and not fresh else table_schema().empty_table()
        today = {name: int(version) for name, version in zip(images.ids, images.version, strict=True)}
        if repin:
            old = _with_versions(old, today)
        known = _versions(old)
        pinned = replace(images, version=np.array([known.get(name, today[name]) for name in images.ids], np.int64))
        bare = set(old.filter(pc.equal(old["properties"], BARE))["image_id"].to_pylist()) & today.keys()
        new = [index for index, name in enumerate(images.ids) if name not in known or name in bare]
        kept = old.filter(pc.invert(pc.is_in(old["image_id"], pa.array(sorted(bare), pa.string()))))
        if not (new or not found or fresh or repin) or _replace(
            store, pa.concat_tables([kept, _rows(pinned, new)]), found[1] if found else None
        ):
            return pinned


def mend(store: Store, layout: Layout) -> int:
    """Name in the table all images of which there are tiles, with the version that each first had; return how many.

    What cannot be read is written anew. Footprints and properties of images that are named so come with the next run.
    """
    while True:
        found = store.read(IMAGES)
        try:
            old = _table(store, found[0]) if found else table_schema().empty_table()
        except DamagedError:
            old = table_schema().empty_table()
        tiles = _of_tiles(store, layout)
        tiles = tiles.filter(pc.invert(pc.is_in(tiles["image_id"], old["image_id"].combine_chunks())))
        count = int(tiles.num_rows)
        rows = pa.table(
            [
                tiles["image_id"],
                tiles["image_time"],
                pa.nulls(count, TIME),
                tiles["version"],
                pa.array([False] * count, pa.bool_()),
                pa.nulls(count, pa.binary()),
                pa.array([BARE] * count, pa.string()),
            ],
            schema=table_schema(),
        )
        if _replace(store, pa.concat_tables([old, rows]), found[1] if found else None):
            return count


def _of_tiles(store: Store, layout: Layout) -> pa.Table:
    """Return id, time and first version of the images of which there are tiles; what cannot be read is left out."""
    names = ["image_id", "image_time", "version", "created_at"]
    found = [layout.tiles.empty_table().select(names)]
    for entry in store.list(f"{TILES}/{layout.prefix}"):
        with suppress(StoreError), damage(entry.name), store.open(entry.name) as file:
            found.append(parquet_rows(file, names).cast(found[0].schema))
    rows = pa.concat_tables(found).sort_by("created_at").group_by("image_id", use_threads=False)
    first = rows.aggregate([("image_time", "first"), ("version", "first")])
    return first.rename_columns([name.removesuffix("_first") for name in first.column_names])


def flag(store: Store, today: Mapping[str, int]) -> list[str]:
    """Flag the images whose version today (microseconds) is not the pinned one; return the ids of all flagged ones."""
    while True:
        found = store.read(IMAGES)
        if found is None:
            return []
        table = _table(store, found[0])
        names, was = table["image_id"].to_pylist(), table["changed"].to_pylist()
        known = _versions(table)
        now = [flagged or today.get(name, known[name]) != known[name] for name, flagged in zip(names, was, strict=True)]
        changed = table.set_column(_CHANGED, table.schema.field(_CHANGED), pa.array(now, pa.bool_()))
        if now == was or _replace(store, changed, found[1]):
            return [name for name, flagged in zip(names, now, strict=True) if flagged]


def named(store: Store) -> set[str]:
    """Return the ids of all images in the table.

    Raises:
        DamagedError: if it is not one.
    """
    found = store.read(IMAGES)
    return set(_table(store, found[0])["image_id"].to_pylist()) if found else set()


def fetched(store: Store, layout: Layout, run_id: str, images: Iterable[str]) -> set[str]:
    """Return those of ``images`` of which a run committed tiles."""
    names = ["image_id", "run_id", "status"]
    wanted, seen = pa.array(sorted(images), pa.string()), set[str]()
    if not len(wanted):
        return seen
    for entry in store.list(f"{TILES}/{layout.prefix}"):
        with damage(f"{store.root}/{entry.name}"), store.open(entry.name) as file:
            table = parquet_rows(file, names)
        mine = pc.and_(pc.equal(table["run_id"], run_id), pc.not_equal(table["status"], TileStatus.FAILED))
        seen |= set(table.filter(pc.and_(mine, pc.is_in(table["image_id"], wanted)))["image_id"].to_pylist())
    return seen


def _table(store: Store, data: bytes) -> pa.Table:
    """Return the table of images that the bytes of the object hold.

    Raises:
        DamagedError: if they are not one.
    """
    with damage(f"{store.root}/{IMAGES}", "is not a table of images", "run ee-spark verify --repair, then run again"):
        table = parquet_rows(pa.BufferReader(data), most=MOST_IMAGES)
        return table.select(table_schema().names).cast(table_schema())
    raise AssertionError("damage raises")


def _replace(store: Store, table: pa.Table, generation: str | None) -> bool:
    sink = pa.BufferOutputStream()
    pq.write_table(table.cast(table_schema().with_metadata(CALENDAR)), sink, compression="zstd")
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
