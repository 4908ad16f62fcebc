"""A dataset: what it is, and its pixels as numpy arrays, as much of it as one asks for."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from ee_spark.errors import EESparkError, JobError, StoreError
from ee_spark.objects import Settings, Store, open_store
from ee_spark.planner.frozen import Frozen
from ee_spark.planner.lattice import Lattice
from ee_spark.read.block import Block, Blocks, blocks_of
from ee_spark.read.selection import Selection, Time, period
from ee_spark.store import manifest as manifests
from ee_spark.store.manifest import Manifest
from ee_spark.store.schema import IMAGES, PIXELS, TILES

if TYPE_CHECKING:
    from ee_spark.read.torch import PixelDataset

WIDE = ("crs_wkt", "geometry")
"""Columns that no block needs: long, and told by the others."""
OPEN_PARTS = 64
READ_AHEAD = 4
STATUSES = ("ok", "empty", "failed")

Names = str | Sequence[str]


@dataclass(frozen=True)
class Piece:
    """One row group of one part: what is read at once."""

    part: str
    group: int
    rows: int


@dataclass(frozen=True)
class Dataset:
    """The tables of one job, opened; a small value that can be pickled.

    Reading it is lazy: row groups that the selection rules out are not read. The parts are those that were there when
    it was opened.
    """

    path: str
    settings: Settings
    manifest: Manifest = field(repr=False)
    parts: tuple[str, ...] = field(repr=False)
    selection: Selection = field(default_factory=Selection)

    @property
    def job(self) -> Mapping[str, Any]:
        """The content of job.json, as it stands there."""
        return self.manifest.raw

    @property
    def store(self) -> Store:
        """The place where it lies."""
        return _store(self.path, self.settings)

    @cached_property
    def frozen(self) -> Frozen:
        """What the job's first plan decided."""
        return self.manifest.frozen

    @cached_property
    def bands(self) -> dict[str, np.dtype[Any]]:
        """The bands and their numpy types, in the job's order."""
        wanted = self.selection.bands
        types = {band.name: np.dtype(band.dtype) for band in self.frozen.bands}
        return {name: types[name] for name in wanted} if wanted else types

    @cached_property
    def validity(self) -> tuple[str, ...]:
        """The validity columns of the bands: ``valid``, or ``valid_<band>`` each, or none."""
        return tuple(name for name in self.frozen.validity if name == "valid" or name[6:] in self.bands)

    @cached_property
    def fill(self) -> dict[str, float]:
        """The value that masked samples hold, with ``mask: fill``; else empty."""
        return {name: value for name, value in self.manifest.fill.items() if name in self.bands}

    @property
    def grid(self) -> Lattice | None:
        """The lattice of all tiles; None where images or zones have one each, which the rows tell."""
        lattice = self.frozen.lattice
        return None if lattice is None or lattice.crs == "utm" else lattice

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of every stored block, margins included."""
        width, height = self.frozen.shape.stored
        return height, width

    @property
    def points(self) -> bool:
        """True where tiles are patches around points."""
        return self.manifest.points

    @cached_property
    def images(self) -> pa.Table:
        """One row per source image: ids, times, version, footprint (WKB), properties (JSON text)."""
        found = self.store.read(IMAGES)
        if found is None:
            raise JobError(f"{self.path}: has no {IMAGES} yet: its first run is still planning")
        table = pq.read_table(pa.BufferReader(found[0]))
        kept = replace(self.selection, bbox=None, tiles=None, points=None, crs=None).filter
        return table if kept is None else table.filter(kept)

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many (tile, image) pairs are planned, ok, empty and failed."""
        found = pc.value_counts(self.tiles(["status"])["status"]).to_pylist()
        counts = {entry["values"]: entry["counts"] for entry in found}
        return {"planned": sum(counts.values()), **{name: counts.get(name, 0) for name in STATUSES}}

    def tiles(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return rows of ``tiles``: what became of each planned (tile, image) of the selection."""
        names = _names(self.store, TILES, self.manifest)
        columns = None if columns is None else list(columns)
        fragments = [_fragment(self.path, self.settings, name) for name in names]
        try:
            found = [fragment.to_table(columns=columns, filter=self.selection.filter) for fragment in fragments]
        except (OSError, pa.ArrowException) as error:
            raise StoreError(f"{self.path}/{TILES}: cannot be read: {error}") from None
        return pa.concat_tables(found, promote_options="permissive")

    def select(
        self,
        *,
        time: tuple[Time | None, Time | None] | Time | None = None,
        bbox: tuple[float, float, float, float] | None = None,
        tiles: Names | None = None,
        images: Names | None = None,
        points: Names | None = None,
        crs: str | None = None,
        bands: Names | None = None,
    ) -> Dataset:
        """Return the dataset narrowed down; what is not given stays as it was.

        Args:
            time: ``(start, end)`` in UTC, of which either may be None: ``[start, end)`` of the image's start time; or
                a day.
            bbox: west, south, east, north in degrees: tiles whose box it touches; west > east crosses the antimeridian.
            tiles: tile ids.
            images: image ids.
            points: point ids.
            crs: of tiles on several lattices, those in this CRS.
            bands: their names.

        Raises:
            JobError: for a band that is not there, or points where there are none.
        """
        given = {"tiles": tiles, "images": images, "points": points, "bands": bands}
        changes: dict[str, Any] = {name: _tuple(names) for name, names in given.items() if names is not None}
        for band in changes.get("bands", ()):
            if band not in self.bands:
                raise JobError(f"bands: no band {band!r}; the bands are {', '.join(self.bands)}")
        if points is not None and not self.points:
            raise JobError(f"points: {self.path} has tiles, not points; select by tiles or bbox")
        if time is not None:
            changes["time"] = period(time)
        changes |= {"bbox": bbox} if bbox else {}
        changes |= {"crs": crs} if crs else {}
        return replace(self, selection=replace(self.selection, **changes))

    def pieces(self) -> list[Piece]:
        """Return the row groups that may hold rows of the selection, by their statistics, in the order of the table."""
        with ThreadPoolExecutor(min(32, max(1, len(self.parts)))) as pool:
            return [piece for found in pool.map(self._pieces_of, self.parts) for piece in found]

    def batches(self) -> Iterator[Blocks]:
        """Yield the selection by row groups, in the order of the table; no more than five of ≤ 32 MiB are in memory."""
        return self.read(piece for part in self.parts for piece in self._pieces_of(part))

    def read(self, pieces: Iterator[Piece] | Sequence[Piece]) -> Iterator[Blocks]:
        """Yield the selection's blocks of each of ``pieces``; the next ones are read while one is used.

        As many as there are processors, at most four: a column of a row group is decoded by one of them.
        """
        ahead: deque[Future[Blocks]] = deque()
        most = min(READ_AHEAD, _cores())
        with ThreadPoolExecutor(most) as pool:
            for piece in pieces:
                ahead.append(pool.submit(self.read_piece, piece))
                if len(ahead) > most and len(blocks := ahead.popleft().result()):
                    yield blocks
            while ahead:
                if len(blocks := ahead.popleft().result()):
                    yield blocks

    def __iter__(self) -> Iterator[Block]:
        """Yield the selection block by block."""
        return (block for blocks in self.batches() for block in blocks)

    def read_piece(self, piece: Piece) -> Blocks:
        """Return the selection's blocks of one row group."""
        table = self._table(piece, [*self.key_names, *self.bands, *self.validity])
        return blocks_of(table, self.shape, tuple(self.bands), self.validity, self.fill)

    def piece_keys(self, piece: Piece, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the selection's rows of one row group without their pixels."""
        return self._table(piece, columns or self.key_names)

    def keys(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the rows of the selection without their pixels."""
        names = list(columns or self.key_names)
        with ThreadPoolExecutor(_cores()) as pool:
            found = list(pool.map(lambda piece: self._table(piece, names), self.pieces()))
        return pa.concat_tables(found) if found else self._schema.empty_table().select(names)

    def to_numpy(self, tile: str | None = None, image: str | None = None) -> Blocks:
        """Return the whole selection, or one tile or image of it, stacked: each band as (n, height, width).

        ``keys`` of the result says what the n blocks are; ``valid(band)`` where they are valid.

        Raises:
            JobError: for a tile or image that has no pixels.
        """
        if tile is not None or image is not None:
            found = self.select(tiles=tile, images=image).to_numpy()
            if not len(found):
                wanted = " of ".join(repr(name) for name in (tile, image) if name is not None)
                raise JobError(f"{self.path}: no pixels of {wanted}; dataset.tiles() says what became of each pair")
            return found
        pieces, names = self.pieces(), {**self.bands, **dict.fromkeys(self.validity, np.dtype(np.uint8))}
        with ThreadPoolExecutor(_cores()) as pool:
            keys = list(pool.map(lambda piece: self._table(piece, self.key_names), pieces))
            starts = np.cumsum([0, *(table.num_rows for table in keys)])
            planes = {name: np.empty((starts[-1], *self.shape), dtype) for name, dtype in names.items()}

            def fill_in(order: int) -> None:
                if keys[order].num_rows:
                    blocks = self.read_piece(pieces[order])
                    part = slice(starts[order], starts[order + 1])
                    for name, plane in {**blocks.planes, **blocks.validity}.items():
                        planes[name][part] = plane

            list(pool.map(fill_in, range(len(pieces))))
        rows = pa.concat_tables(keys) if keys else self._schema.empty_table().select(self.key_names)
        validity = {name: planes.pop(name) for name in self.validity}
        return Blocks(rows, planes, validity, self.fill)

    def to_xarray(self, *, masked: bool = True) -> Any:
        """Return the selection as an ``xarray.DataArray``, lazily: see :func:`ee_spark.read.array.to_xarray`."""
        from ee_spark.read.array import to_xarray

        return to_xarray(self, masked=masked)

    def to_torch(self, **options: Any) -> PixelDataset:
        """Return the selection as a torch ``IterableDataset``: see :class:`ee_spark.read.torch.PixelDataset`."""
        try:
            from ee_spark.read.torch import PixelDataset
        except ImportError:
            raise JobError("to_torch: torch is not installed; pip install 'ee-spark[torch]'") from None
        return PixelDataset(self, **options)

    @cached_property
    def _schema(self) -> pa.Schema:
        return _fragment(self.path, self.settings, self.parts[0]).physical_schema

    @cached_property
    def key_names(self) -> list[str]:
        """The columns of ``pixels`` that say what a block is."""
        planes = {*(band.name for band in self.frozen.bands), *self.frozen.validity}
        return [name for name in self._schema.names if name not in planes and name not in WIDE]

    def _pieces_of(self, part: str) -> list[Piece]:
        try:
            fragment = _fragment(self.path, self.settings, part)
            found = fragment.split_by_row_group(self.selection.filter)
            groups = [item.row_groups[0] for item in found]
            return [Piece(part, group.id, group.num_rows) for group in groups if group.num_rows]
        except (OSError, pa.ArrowException) as error:
            raise StoreError(f"{self.path}/{part}: cannot be read: {error}") from None

    def _table(self, piece: Piece, columns: Sequence[str]) -> pa.Table:
        try:
            fragment = _fragment(self.path, self.settings, piece.part).subset(row_group_ids=[piece.group])
            return fragment.to_table(columns=list(columns), filter=self.selection.filter)
        except (OSError, pa.ArrowException) as error:
            raise StoreError(f"{self.path}/{piece.part}: cannot be read: {error}") from None


def open_dataset(path: str | os.PathLike[str], storage: Mapping[str, Any] | None = None) -> Dataset:
    """Open the dataset that a job wrote to ``path`` (a plain path, ``file://``, ``gs://`` or ``s3://``).

    ``storage`` is as in a job file, e.g. ``{"anonymous": True}``. It can be opened at any moment, mid-run too, and
    shows the parts that were there then.

    Raises:
        JobError: if there is none, or it cannot be reached.
    """
    try:
        settings = Settings(**(storage or {}))
    except TypeError as error:
        raise JobError(f"storage: {str(error).partition(' ')[2]}; write gs_endpoint, s3_endpoint, s3_region") from None
    name = os.fspath(path).rstrip("/")
    store = _store(name, settings)
    try:
        job = manifests.read(store)
        parts = _names(store, PIXELS, job) if job else ()
    except EESparkError as error:
        raise JobError(f"{name}: cannot be opened: {error}") from None
    if not job:
        raise JobError(f"{name!r} is no dataset: it has no _ee_spark/job.json; write the output.path of a job that ran")
    if not parts:
        raise JobError(f"{name!r} has no tables yet: its first run is still planning, or was refused")
    return Dataset(name, settings, job, parts)


@lru_cache(maxsize=32)
def _store(path: str, settings: Settings) -> Store:
    return open_store(path, settings)


@lru_cache(maxsize=OPEN_PARTS)
def _fragment(path: str, settings: Settings, name: str) -> Any:
    """Return an open part, its footer read once; each read of it has a reader of its own, so threads may share it."""
    return ds.ParquetFileFormat().make_fragment(_store(path, settings).open(name))


def _names(store: Store, table: str, job: Manifest) -> tuple[str, ...]:
    prefix = f"{table}/part-{job.fingerprint[:8]}-"
    return tuple(entry.name for entry in store.list(prefix) if entry.name.endswith(".parquet"))


def _tuple(names: Names) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _cores() -> int:
    return max(1, len(os.sched_getaffinity(0)))
