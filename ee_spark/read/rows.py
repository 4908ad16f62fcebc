"""The rows of a dataset that are wanted: in which row groups they may lie, and how these are read, before their use."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from ee_spark.errors import DamagedError, ReadError
from ee_spark.objects import Settings, Store, open_store
from ee_spark.planner.chunk import lattice_key
from ee_spark.planner.frozen import Frozen
from ee_spark.planner.validity import Validity
from ee_spark.read.block import Blocks, blocks_of
from ee_spark.read.selection import Selection
from ee_spark.store.bounds import check_group, check_table, damage
from ee_spark.store.georeference import GEOREFERENCE, touches
from ee_spark.store.manifest import FIRST_IMAGE, Manifest
from ee_spark.store.schema import PIXELS, TILES, Layout, is_covered, parse_part

LATTICE = "lattice.key"
"""A column that no table stores: the key of the lattice on which a row's tile lies, as its part's name has it.

No column of the tables can have this name.
"""
WIDE = ("crs_wkt", "geometry")
"""Columns that no block needs: long, and told by the others."""
OPEN_PARTS = 64
READ_AHEAD = 4


@dataclass(frozen=True)
class RowGroup:
    """One row group of one part: what is read at once."""

    part: str
    group: int
    rows: int


@dataclass(frozen=True)
class Rows:
    """The rows of one job's tables that a selection keeps; a small value that can be pickled.

    Row groups that the selection rules out are not read. ``parts`` are those of ``pixels`` that were there when the
    dataset was opened.
    """

    path: str
    settings: Settings
    manifest: Manifest = field(repr=False)
    parts: tuple[str, ...] = field(repr=False)
    selection: Selection = field(default_factory=Selection)

    @property
    def store(self) -> Store:
        """The place where they lie."""
        return store_of(self.path, self.settings)

    @property
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
    def rule(self) -> Validity:
        """Which samples of the bands are valid."""
        return Validity(self.frozen.mask, tuple(self.bands), self.manifest.fill).select(tuple(self.bands))

    @property
    def validity(self) -> tuple[str, ...]:
        """The validity columns of the bands: ``valid``, or ``valid_<band>`` each, or none."""
        return self.rule.columns

    @property
    def fill(self) -> dict[str, float]:
        """The value that masked samples hold, with ``mask: fill``; else empty."""
        return dict(self.rule.fill)

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
    def key_names(self) -> list[str]:
        """The columns of ``pixels`` that say what a block is."""
        planes = {*(band.name for band in self.frozen.bands), *self.frozen.validity}
        return [name for name in self._schema.names if name not in planes and name not in WIDE]

    def check_decided(self) -> None:
        """Refuse a dataset none of whose runs has found an image: it has no bands that could be shown or written.

        Raises:
            ReadError: so.
        """
        if not self.parts:
            raise ReadError(f"{self.path}: no run of it has found an image yet, so that it has no bands; {FIRST_IMAGE}")

    def with_bands(self, bands: Sequence[str]) -> Self:
        """Return the same rows with only these of their bands."""
        return replace(self, selection=replace(self.selection, bands=tuple(bands)))

    def on_lattice(self, key: str) -> Self:
        """Return the rows whose tiles lie on one lattice; parts of others are not opened."""
        return replace(self, selection=replace(self.selection, lattice=key))

    def tiles(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return rows of ``tiles``: what became of each planned (tile, image) of the selection."""
        if not self.parts:
            nothing = Layout("", self.frozen).tiles.empty_table()
            return nothing if columns is None else self._with_lattice(nothing, columns)
        names = self._wanted(part_names(self.store, TILES, self.manifest))
        if not names:
            raise DamagedError(f"{self.path}/{TILES}: has no part of this job; ee-spark verify says what is wrong")
        with damage(f"{self.path}/{TILES}"):
            fragments = [_opened(self.path, self.settings, name) for name in names]
            for fragment in fragments:
                check_table(fragment.metadata, columns)
            found = [self._filtered(fragment, name, columns) for fragment, name in zip(fragments, names, strict=True)]
            return pa.concat_tables(found, promote_options="permissive")

    def keys(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the rows of the selection without their pixels; :data:`LATTICE` is a column where it is asked for."""
        names = list(columns or self.key_names)
        with ThreadPoolExecutor(cores()) as pool:
            found = list(pool.map(lambda group: self.row_group_keys(group, names), self.row_groups()))
        with damage(f"{self.path}/{PIXELS}"):
            return pa.concat_tables(found) if found else self._no_rows(names)

    def planned(self, columns: Sequence[str]) -> pa.Table:
        """Return the selection's planned tiles, with those that are in ``pixels`` but not yet in ``tiles``.

        A tile that is in both comes twice.
        """
        tables = [self.tiles(columns), self.keys(columns)]
        with damage(self.path):
            return pa.concat_tables(tables, promote_options="permissive")

    def row_groups(self) -> list[RowGroup]:
        """Return the row groups that may hold rows of the selection, by their statistics, in the order of the table."""
        parts = self._wanted(self.parts)
        with ThreadPoolExecutor(min(32, max(1, len(parts)))) as pool:
            return [group for found in pool.map(self._row_groups_of, parts) for group in found]

    def batches(self) -> Iterator[Blocks]:
        """Yield the selection by row groups, in the order of the table; no more than five of ≤ 32 MiB are in memory."""
        return self.read(group for part in self._wanted(self.parts) for group in self._row_groups_of(part))

    def read(self, groups: Iterable[RowGroup]) -> Iterator[Blocks]:
        """Yield the selection's blocks of each of ``groups``; the next ones are read while one is used.

        As many as there are processors, at most four: a column of a row group is decoded by one of them.
        """
        ahead: deque[Future[Blocks]] = deque()
        most = min(READ_AHEAD, cores())
        with ThreadPoolExecutor(most) as pool:
            for group in groups:
                ahead.append(pool.submit(self.read_row_group, group))
                if len(ahead) > most and len(blocks := ahead.popleft().result()):
                    yield blocks
            while ahead:
                if len(blocks := ahead.popleft().result()):
                    yield blocks

    def read_row_group(self, group: RowGroup) -> Blocks:
        """Return the selection's blocks of one row group."""
        table = self.row_group_keys(group, [*self.key_names, LATTICE, *self.bands, *self.validity])
        with damage(f"{self.path}/{group.part}"):
            return blocks_of(table, self.shape, self.rule)

    def row_group_keys(self, group: RowGroup, columns: Sequence[str]) -> pa.Table:
        """Return these columns of the selection's rows of one row group."""
        with damage(f"{self.path}/{group.part}"):
            whole = _fragment(self.path, self.settings, group.part)
            check_group(whole.metadata.row_group(group.group), self.frozen)
            return self._filtered(whole.subset(row_group_ids=[group.group]), group.part, columns)

    @cached_property
    def _schema(self) -> pa.Schema:
        if not self.parts:  # no run has found an image yet
            return Layout("", self.frozen).pixels
        with damage(f"{self.path}/{self.parts[0]}"):
            return _fragment(self.path, self.settings, self.parts[0]).physical_schema

    def _no_rows(self, columns: Sequence[str]) -> pa.Table:
        return self._with_lattice(self._schema.empty_table(), columns)

    @staticmethod
    def _with_lattice(nothing: pa.Table, columns: Sequence[str]) -> pa.Table:
        return nothing.append_column(LATTICE, pa.array([], pa.string())).select(list(columns))

    def _wanted(self, names: Sequence[str]) -> list[str]:
        """Return those of the parts that may hold rows on the lattice that is wanted, and the one without rows."""
        lattice = self.selection.lattice
        return [name for name in names if lattice is None or _lattice_of(name) in ("", lattice)]

    def _filtered(self, fragment: Any, part: str, columns: Sequence[str] | None) -> pa.Table:
        """Return the selection's rows of a part or of a row group of it."""
        wanted = self.selection.bbox
        stored = None if columns is None else [name for name in columns if name != LATTICE]
        more = [name for name in GEOREFERENCE if wanted and stored is not None and name not in stored]
        covered = is_covered(fragment.metadata.metadata)
        names = None if stored is None else [*stored, *more]
        table = fragment.to_table(columns=names, filter=self.selection.filter_by(boxes=covered))
        if wanted and table.num_rows:
            table = table.filter(pa.array(touches(table, wanted, covered=covered)))
        if more:
            table = table.select(stored)
        if columns is None or LATTICE not in columns:
            return table
        key = pa.repeat(pa.scalar(_lattice_of(part), pa.string()), table.num_rows)
        return table.append_column(LATTICE, key).select(list(columns))

    def _row_groups_of(self, part: str) -> list[RowGroup]:
        with damage(f"{self.path}/{part}"):
            fragment = _fragment(self.path, self.settings, part)
            covered = is_covered(fragment.metadata.metadata)
            found = fragment.split_by_row_group(self.selection.filter_by(boxes=covered))
            groups = [item.row_groups[0] for item in found]
            rows = [RowGroup(part, group.id, group.num_rows) for group in groups if group.num_rows]
            if covered or self.selection.bbox is None:
                return rows
            return [group for group in rows if self.row_group_keys(group, ["tile_id"]).num_rows]


def part_names(store: Store, table: str, job: Manifest) -> tuple[str, ...]:
    """Return the names of the parts of one of a job's tables that are there now."""
    return tuple(entry.name for entry in store.list(f"{table}/{job.prefix}") if entry.name.endswith(".parquet"))


def images_by_time(rows: pa.Table) -> pa.Table:
    """Return the distinct images of rows of the tables, ``image_id`` and ``image_time``, by time and then by id."""
    found = rows.group_by(["image_id", "image_time"]).aggregate([])
    return found.sort_by([("image_time", "ascending"), ("image_id", "ascending")])


def settings_of(storage: Mapping[str, Any] | None) -> Settings:
    """Return how stores are reached, as a job file's ``storage`` says it.

    Raises:
        ReadError: for a key that it does not have.
    """
    try:
        return Settings(**(storage or {}))
    except TypeError as error:
        raise ReadError(f"storage: {str(error).partition(' ')[2]}; write gs_endpoint, s3_endpoint, s3_region") from None


@lru_cache(maxsize=32)
def store_of(path: str, settings: Settings) -> Store:
    """Return the store at ``path``, which its readers share."""
    return open_store(path, settings)


def cores() -> int:
    """Return how many processors this process may use."""
    return max(1, len(os.sched_getaffinity(0)))


def _opened(path: str, settings: Settings, name: str) -> Any:
    """Return a file of the tables, open; each read of it has a reader of its own, so threads may share it."""
    return ds.ParquetFileFormat().make_fragment(store_of(path, settings).open(name))


_fragment = lru_cache(maxsize=OPEN_PARTS)(_opened)
"""The same for parts of ``pixels``, which only a repair replaces: their footers are read once."""


def forget_open_parts() -> None:
    """Close the parts that are held open: a dataset that is opened anew shows what is there now."""
    _fragment.cache_clear()


def _lattice_of(part: str) -> str:
    name = parse_part(part)
    return lattice_key(name.chunk) if name else ""
