"""A dataset: what it is, and its pixels as numpy arrays, as much of it as is selected."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ee_spark.boundary import shortened
from ee_spark.errors import EESparkError, ReadError
from ee_spark.planner.images import table_schema
from ee_spark.planner.lattice import Lattice
from ee_spark.read.block import Block, Blocks
from ee_spark.read.rows import (
    LATTICE,
    RowGroup,
    Rows,
    cores,
    forget_open_parts,
    part_names,
    settings_of,
    store_of,
)
from ee_spark.read.selection import Time, box_of, names_of, period
from ee_spark.status import IN_TILES
from ee_spark.store import manifest as manifests
from ee_spark.store.bounds import MOST_IMAGES, damage, parquet_rows
from ee_spark.store.schema import IMAGES, PIXELS, TILES

if TYPE_CHECKING:
    import xarray as xr

    from ee_spark.read.torch import PixelDataset

Names = str | Sequence[str]


@dataclass(frozen=True)
class Dataset(Rows):
    """The tables of one job, opened; a small value that can be pickled.

    Reading it is lazy: row groups that the selection rules out are not read. The parts are those that were there when
    it was opened.
    """

    @property
    def job(self) -> Mapping[str, Any]:
        """The content of job.json, as it stands there."""
        return self.manifest.raw

    @property
    def grid(self) -> Lattice | None:
        """The lattice of all tiles; None where images or zones have one each, which the rows tell."""
        lattice = self.frozen.lattice
        return None if lattice is None or lattice.crs == "utm" else lattice

    @cached_property
    def images(self) -> pa.Table:
        """One row per source image: ids, times, version, footprint (WKB), properties (JSON text)."""
        if not self.parts:
            return table_schema().empty_table()
        found = self.store.read(IMAGES)
        if found is None:
            raise ReadError(f"{self.path}: has no {IMAGES} yet: its first run is still planning")
        kept = replace(self.selection, bbox=None, tiles=None, points=None, crs=None).filter
        with damage(f"{self.path}/{IMAGES}"):
            table = parquet_rows(pa.BufferReader(found[0]), most=MOST_IMAGES)
            return table if kept is None else table.filter(kept)

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many (tile, image) pairs are planned, ok, empty and failed."""
        tiles = self.tiles(["status"])
        with damage(f"{self.path}/{TILES}"):
            counts = {entry["values"]: entry["counts"] for entry in pc.value_counts(tiles["status"]).to_pylist()}
            return {"planned": sum(counts.values()), **{name: counts.get(name, 0) for name in map(str, IN_TILES)}}
        raise AssertionError("damage raises")

    @cached_property
    def empty_reasons(self) -> dict[str, int]:
        """How many of the empty tiles are ``masked``, have ``no_image``, or lie ``outside_clip``."""
        from ee_spark.read.empties import empty_reasons

        return empty_reasons(self)

    def select(
        self,
        *,
        time: Sequence[Time | None] | Time | None = None,
        bbox: Any = None,
        tiles: Names | None = None,
        images: Names | None = None,
        points: Names | None = None,
        crs: str | None = None,
        bands: Names | None = None,
    ) -> Dataset:
        """Return the dataset narrowed down; what is not given stays as it was.

        Args:
            time: ``(start, end)`` in UTC, of which either may be None: ``[start, end)`` of the image's start time; or
                a day. A text, a ``datetime``, ``date``, ``numpy.datetime64`` or ``pandas.Timestamp``.
            bbox: west, south, east, north in degrees, or a geometry in degrees, which stands for the box around it:
                tiles that it touches, by their geometry; west > east crosses the antimeridian. So too in datasets of
                earlier versions, whose boxes are wrong across ±180° and at poles: there the tiles' transforms decide.
            tiles: tile ids.
            images: image ids.
            points: point ids.
            crs: of tiles on several lattices, those in this CRS.
            bands: their names.

        Raises:
            ReadError: for a band that is not there, points where there are none, and what is not a time, box or name.
        """
        given = {"tiles": tiles, "images": images, "points": points, "bands": bands}
        changes: dict[str, Any] = {name: names_of(names, name) for name, names in given.items() if names is not None}
        for band in changes.get("bands", ()):
            if band not in self.bands:
                raise ReadError(f"bands: no band {shortened(band)!r}; the bands are {', '.join(self.bands)}")
        if points is not None and not self.points:
            raise ReadError(f"points: {self.path} has tiles, not points; select by tiles or bbox")
        if time is not None:
            changes["time"] = period(time)
        changes |= {"bbox": box_of(bbox)} if bbox is not None else {}
        changes |= {"crs": names_of(crs, "crs")[0]} if crs is not None else {}
        return replace(self, selection=replace(self.selection, **changes))

    def pieces(self) -> list[RowGroup]:
        """Return :meth:`row_groups`, by the name that earlier versions had for it."""
        return self.row_groups()

    def __iter__(self) -> Iterator[Block]:
        """Yield the selection block by block."""
        return (block for blocks in self.batches() for block in blocks)

    def to_numpy(self, tile: str | None = None, image: str | None = None) -> Blocks:
        """Return the whole selection, or one tile or image of it, stacked: each band as (n, height, width).

        ``keys`` of the result says what the n blocks are; ``valid(band)`` where they are valid.

        Raises:
            ReadError: for a tile or image that has no pixels.
        """
        if tile is not None or image is not None:
            found = self.select(tiles=tile, images=image).to_numpy()
            if not len(found):
                wanted = " of ".join(repr(name) for name in (tile, image) if name is not None)
                raise ReadError(f"{self.path}: no pixels of {wanted}; dataset.tiles() says what became of each pair")
            return found
        groups, names = self.row_groups(), {**self.bands, **dict.fromkeys(self.validity, np.dtype(np.uint8))}
        columns = [*self.key_names, LATTICE]
        with ThreadPoolExecutor(cores()) as pool:
            keys = list(pool.map(lambda group: self.row_group_keys(group, columns), groups))
            starts = np.cumsum([0, *(table.num_rows for table in keys)])
            planes = {name: np.empty((starts[-1], *self.shape), dtype) for name, dtype in names.items()}

            def fill_in(order: int) -> None:
                if keys[order].num_rows:
                    blocks = self.read_row_group(groups[order])
                    part = slice(starts[order], starts[order + 1])
                    for name, plane in {**blocks.planes, **blocks.validity}.items():
                        planes[name][part] = plane

            list(pool.map(fill_in, range(len(groups))))
        with damage(f"{self.path}/{PIXELS}"):
            rows = pa.concat_tables(keys) if keys else self.keys(columns)
        validity = {name: planes.pop(name) for name in self.validity}
        return Blocks(rows, planes, validity, self.rule)

    def to_xarray(self, *, masked: bool = True) -> xr.DataArray:
        """Return the selection as an ``xarray.DataArray``, lazily: see :func:`ee_spark.read.array.to_xarray`."""
        from ee_spark.read.array import to_xarray

        with damage(self.path):
            return to_xarray(self, masked=masked)
        raise AssertionError("damage raises")

    def to_torch(
        self,
        *,
        shuffle: bool = False,
        seed: int = 0,
        columns: Sequence[str] = ("tile_id", "image_id"),
        dtype: str | None = None,
    ) -> PixelDataset:
        """Return the selection as a torch ``IterableDataset``: see :class:`ee_spark.read.torch.PixelDataset`."""
        self.check_decided()
        from ee_spark.read.torch import PixelDataset

        return PixelDataset(self, shuffle=shuffle, seed=seed, columns=columns, dtype=dtype)


def open_dataset(path: str | os.PathLike[str], storage: Mapping[str, Any] | None = None) -> Dataset:
    """Open the dataset that a job wrote to ``path`` (a plain path, ``file://``, ``gs://`` or ``s3://``).

    ``storage`` is as in a job file, e.g. ``{"anonymous": True}``. It can be opened at any moment, mid-run too, and
    shows the parts that were there then. One none of whose runs has found an image yet is empty, and has no bands.

    Raises:
        ReadError: if there is none, or it cannot be reached.
    """
    settings = settings_of(storage)
    name = os.fspath(path).rstrip("/")
    forget_open_parts()
    try:
        store = store_of(name, settings)
        job = manifests.read(store)
        parts = part_names(store, PIXELS, job) if job else ()
        undecided = not job and manifests.is_undecided(store)
    except EESparkError as error:
        raise ReadError(f"{name}: cannot be opened: {error}") from None
    if undecided:
        return Dataset(name, settings, manifests.undecided(store), ())
    if not job:
        raise ReadError(
            f"{name!r} is not a dataset: it has no _ee_spark/job.json; write the output.path of a job that ran"
        )
    if not parts:
        raise ReadError(f"{name!r} has no tables yet: its first run is still planning, or was refused")
    return Dataset(name, settings, job, parts)
