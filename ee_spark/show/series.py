"""The numbers behind the page and the pictures: of each image, of each month, of each band, and images as mosaics.

All of them are read row group by row group, so that memory does not grow with the dataset, and all hold to the same
rules: margins are cut; a sample counts if the dataset says that it is valid and it is a finite number; with ``mask:
none`` every sample counts as valid. Where tiles overlap (UTM zones, patches), what lies in two of them counts twice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ee_spark.planner.columns import TIME
from ee_spark.planner.window import Window
from ee_spark.read.block import Blocks
from ee_spark.read.canvas import PLACE, Canvas, canvases
from ee_spark.read.clip import clipped, pixels_inside
from ee_spark.read.dataset import Dataset
from ee_spark.show.colour import shown_bands
from ee_spark.show.thin import Thinned, thinned
from ee_spark.status import TileStatus

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Month = tuple[int, int] | None
"""Year and month, in UTC; None for images without a time."""

SIDE = 200
"""Pixels of a monthly map's longer side at most: a month takes 0.6 MB per lattice."""
BINS = 80
CLEAR = 0.5
"""A date is on a curve if it has more than this part of the valid pixels of the clearest date of its lattice."""
SAMPLED = 8
"""Row groups that decide where the bins of a histogram lie; what is counted in them is every value."""
_SAMPLE = 200_000
_RANGE = (0.1, 99.9)
"""The percentiles between which the bins lie."""
_KEYS = ["image_id", "image_time"]


@dataclass(frozen=True)
class Spread:
    """The valid values of one band.

    ``pixels`` are the samples that were read, valid or not; ``count`` of them are valid, ``total`` is the sum of these,
    ``low`` and ``high`` the least and the greatest (NaN where none is valid). ``counts[i]`` of them lie in
    ``[edges[i], edges[i + 1])``, the last bin with its upper edge; ``below`` and ``above`` lie outside.
    """

    pixels: int
    count: int
    total: float
    low: float
    high: float
    edges: Floats
    counts: Ints
    below: int
    above: int

    @property
    def mean(self) -> float:
        """The mean of the valid values; NaN where there are none."""
        return self.total / self.count if self.count else math.nan


@dataclass(frozen=True)
class Months:
    """One band's sums and counts of each month, on one lattice.

    ``total`` and ``count`` are (months, height, width): of the valid samples of the month's images. The rasters show
    every ``step``-th row and column of the canvas; ``window`` says where they lie. ``months`` are in order, those
    without one valid sample too, that of images without a time last.
    """

    canvas: Canvas
    band: str
    months: tuple[Month, ...]
    total: Floats
    count: Ints
    window: Window
    step: int

    @property
    def mean(self) -> Floats:
        """The mean of the valid samples of each month as (months, height, width), NaN where there are none."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.total / self.count)


@dataclass(frozen=True)
class Mosaic:
    """One image on one lattice.

    ``values`` is (height, width, bands), NaN where a band is not valid or nothing was fetched: every ``step``-th row
    and column of the canvas of the image's planned tiles. ``window`` says where it lies.
    """

    values: Floats
    bands: tuple[str, ...]
    window: Window
    step: int


@dataclass(frozen=True)
class Reading:
    """How much of the dataset numbers are made of: all of its row groups, or ``read`` of them, spread evenly."""

    read: int
    row_groups: int

    @property
    def whole(self) -> bool:
        """True where every row group was read."""
        return self.read == self.row_groups


class Counter(Protocol):
    """What :func:`sweep` shows the blocks to."""

    def add(self, cores: Blocks) -> None:
        """Count the blocks of one row group, which have no margins."""


def by_image(dataset: Dataset) -> pa.Table:
    """Return one row per image that has tiles, by time and then by id.

    Columns: ``image_id``, ``image_time``; ``planned``, ``ok`` and ``empty``: how many pixels the cores of its tiles
    have, of all that are planned and of those that are ok or empty, without those outside the dataset's clip;
    ``stored``: of those whose pixels were read;
    ``valid``: how many of these are valid in every band; and for each band ``<band>_count`` and ``<band>_sum``
    (float64): of the band's valid samples.
    """
    images = ImageCounter(dataset)
    sweep(dataset, [images])
    return images.table()


def by_month(dataset: Dataset, band: str | None = None, side: int | None = SIDE) -> list[Months]:
    """Return a band's monthly sums and counts, one value per lattice, the largest lattice first.

    ``band`` is the first one where none is given. Canvases with more than ``side`` pixels in a row or column are
    thinned; None thins none.

    Raises:
        ReadError: where no tiles are selected.
    """
    name = band or next(iter(dataset.bands))
    counters = [MonthCounter(dataset, canvas, name, side) for canvas in lattices(dataset)]
    sweep(dataset.select(bands=name), counters)
    return [counter.months() for counter in counters]


def by_band(dataset: Dataset, bins: int = BINS) -> dict[str, Spread]:
    """Return the number, sum, extremes and histogram of each band's valid values, every one of them counted.

    Integers that differ by few have a bin each; no bin of integers is wider than another.
    """
    spreads = SpreadCounter(dataset, bins)
    sweep(dataset, [spreads])
    return spreads.spreads()


def mosaics(dataset: Dataset, image: str, bands: Sequence[str] | None = None, side: int | None = None) -> list[Mosaic]:
    """Return an image as one mosaic per lattice that it has tiles on, the largest first.

    ``bands`` are those that are shown in colour where none are given. Where tiles of one lattice overlap, the later one
    is seen.

    Raises:
        ReadError: where the image has no planned tiles.
    """
    names = tuple(bands or shown_bands(list(dataset.bands)))
    chosen = dataset.select(images=image, bands=names)
    painters = [_Painter(thinned(canvas, side), names) for canvas in lattices(chosen)]
    sweep(chosen, painters)
    return [painter.mosaic() for painter in painters]


def lattices(dataset: Dataset) -> list[Canvas]:
    """Return the canvases of a dataset's lattices, the largest first; of a clipped one what the clip touches."""
    found = [clipped(dataset, canvas) for canvas in canvases(dataset)]
    return sorted(found, key=lambda canvas: -canvas.width * canvas.height)


def sweep(dataset: Dataset, counters: Sequence[Counter], most: int | None = None) -> Reading:
    """Show every block of the selection to all of ``counters``, without its margins; return how much was read.

    With more than ``most`` row groups, only about so many are read, spread evenly over the table.
    """
    every = dataset.pieces()
    step = 1 if most is None else max(1, math.ceil(len(every) / most))
    for blocks in dataset.read(every[::step]):
        cores = blocks.cores()
        for counter in counters:
            counter.add(cores)
    return Reading(len(every[::step]), len(every))


class ImageCounter:
    """Counts what :func:`by_image` says; on one lattice only, where one is given."""

    def __init__(self, dataset: Dataset, canvas: Canvas | None = None) -> None:
        self._dataset, self._canvas = dataset, canvas
        numbers = {
            **dict.fromkeys(("planned", "ok", "empty", "stored", "valid"), pa.int64()),
            **{f"{band}_count": pa.int64() for band in dataset.bands},
            **{f"{band}_sum": pa.float64() for band in dataset.bands},
        }
        self._schema = pa.schema([("image_id", pa.string()), ("image_time", TIME), *numbers.items()])
        self._found: list[pa.Table] = []

    def add(self, cores: Blocks) -> None:
        """Count the blocks of one row group."""
        held = None if self._canvas is None else self._canvas.holds(cores.keys)
        if held is not None and not held.any():
            return
        good = {band: counted(cores, band) for band in cores.bands}
        valid = _per_block(np.logical_and.reduce(list(good.values())))
        table = pa.table(
            {
                **{name: cores.keys[name] for name in _KEYS},
                "stored": np.maximum(pixels_inside(self._dataset, cores.keys), valid),  # the service keeps halves too
                "valid": valid,
                **{f"{band}_count": _per_block(mask) for band, mask in good.items()},
                **{
                    f"{band}_sum": np.sum(cores[band], axis=(1, 2), dtype=np.float64, where=mask)
                    for band, mask in good.items()
                },
            }
        )
        self._found.append(_summed(table if held is None else table.filter(pa.array(held))))

    def table(self) -> pa.Table:
        """Return what was counted, as :func:`by_image` says."""
        tiles = self._dataset.tiles([*PLACE, *_KEYS, "status"])
        if self._canvas is not None:
            tiles = tiles.filter(pa.array(self._canvas.holds(tiles)))
        pixels = pixels_inside(self._dataset, tiles)
        statuses = {str(status): pixels * _is(tiles, status) for status in (TileStatus.OK, TileStatus.EMPTY)}
        planned = _summed(pa.table({**{name: tiles[name] for name in _KEYS}, "planned": pixels, **statuses}))
        found = _summed(
            pa.concat_tables([self._schema.empty_table(), planned, *self._found], promote_options="default")
        )
        for name in ("planned", "ok"):  # a run that goes on may have stored what `tiles` does not know yet
            most = pc.max_element_wise(found[name], found["stored"])
            found = found.set_column(found.column_names.index(name), name, most)
        return found.select(self._schema.names).sort_by([("image_time", "ascending"), ("image_id", "ascending")])


class MonthCounter:
    """Counts what :func:`by_month` says of one band on one lattice."""

    def __init__(self, dataset: Dataset, canvas: Canvas, band: str, side: int | None = SIDE) -> None:
        self._thinned, self._band = thinned(canvas, side), band
        self._canvas, self._dataset = canvas, dataset
        self._found: dict[Month, tuple[Floats, Ints]] = {}

    def add(self, cores: Blocks) -> None:
        """Count the blocks of one row group."""
        places = list(self._thinned.places(cores))
        if not places:
            return
        months, good = _months(cores.keys), counted(cores, self._band)
        for index, inside, outside in places:
            if months[index] not in self._found:
                shape = self._thinned.shape
                self._found[months[index]] = np.zeros(shape), np.zeros(shape, np.int64)
            total, count = self._found[months[index]]
            kept = good[index][inside]
            total[outside] += np.where(kept, cores[self._band][index][inside], 0)
            count[outside] += kept

    def months(self) -> Months:
        """Return what was counted."""
        tiles = self._dataset.tiles([*PLACE, *_KEYS, "status"])
        tiles = tiles.filter(pa.array(self._canvas.holds(tiles) & _is(tiles, TileStatus.EMPTY)))
        every = {*_months(tiles.group_by(_KEYS).aggregate([])), *self._found}
        order = sorted(every, key=lambda month: (month is None, month or (0, 0)))
        shape = self._thinned.shape
        nothing = np.zeros(shape), np.zeros(shape, np.int64)
        found = [self._found.get(month, nothing) for month in order]
        return Months(
            self._canvas,
            self._band,
            tuple(order),
            np.stack([total for total, _ in found]) if found else np.zeros((0, *shape)),
            np.stack([count for _, count in found]) if found else np.zeros((0, *shape), np.int64),
            self._thinned.window,
            self._thinned.step,
        )


class SpreadCounter:
    """Counts what :func:`by_band` says."""

    def __init__(self, dataset: Dataset, bins: int = BINS) -> None:
        self._edges = _edges(dataset, bins)
        self._pixels = 0
        self._counts = {band: np.zeros(len(edges) + 1, np.int64) for band, edges in self._edges.items()}
        self._totals = dict.fromkeys(self._edges, 0.0)
        self._ends = dict.fromkeys(self._edges, (math.inf, -math.inf))

    def add(self, cores: Blocks) -> None:
        """Count the blocks of one row group."""
        self._pixels += next(iter(cores.planes.values())).size
        for band, edges in self._edges.items():
            values = cores[band][counted(cores, band)]
            if not len(values):
                continue
            low, high = self._ends[band]
            self._ends[band] = min(low, float(values.min())), max(high, float(values.max()))
            self._totals[band] += float(values.sum(dtype=np.float64))
            inside, _ = np.histogram(values, len(edges) - 1, (edges[0], edges[-1]))
            below = np.count_nonzero(values < edges[0])
            self._counts[band] += np.array([below, *inside, len(values) - below - inside.sum()])

    def spreads(self) -> dict[str, Spread]:
        """Return what was counted."""
        found = {}
        for band, edges in self._edges.items():
            counts, count = self._counts[band], int(self._counts[band].sum())
            low, high = self._ends[band] if count else (math.nan, math.nan)
            total = self._totals[band]
            found[band] = Spread(
                self._pixels, count, total, low, high, edges, counts[1:-1], int(counts[0]), int(counts[-1])
            )
        return found


class _Painter:
    """Puts the blocks of one image in their places on one lattice."""

    def __init__(self, on: Thinned, bands: tuple[str, ...]) -> None:
        self._thinned, self._bands = on, bands
        self._values = np.full((*on.shape, len(bands)), np.nan)

    def add(self, cores: Blocks) -> None:
        stack: Floats | None = None
        for index, inside, outside in self._thinned.places(cores):
            stack = np.moveaxis(cores.stack(self._bands), 1, -1) if stack is None else stack
            self._values[outside] = stack[index][inside]

    def mosaic(self) -> Mosaic:
        return Mosaic(self._values, self._bands, self._thinned.window, self._thinned.step)


def counted(blocks: Blocks, band: str) -> Mask:
    """Return which samples of a band count, as (n, height, width): valid ones that are finite numbers."""
    values, valid = blocks[band], blocks.valid(band)
    if values.dtype.kind == "f":
        finite = np.isfinite(values)
        return finite if valid is None else finite & valid
    return np.ones(values.shape, np.bool_) if valid is None else valid


def _summed(table: pa.Table) -> pa.Table:
    """Return one row per image: the sums of all other columns."""
    names = [name for name in table.column_names if name not in _KEYS]
    found = table.group_by(_KEYS, use_threads=False).aggregate([(name, "sum") for name in names])
    sums = {name: found[f"{name}_sum"] for name in names}
    return pa.table(
        {
            **{name: found[name] for name in _KEYS},
            **{name: pc.fill_null(values, pa.scalar(0, values.type)) for name, values in sums.items()},
        }
    )


def _per_block(mask: Mask) -> Ints:
    return np.asarray(np.count_nonzero(mask, axis=(1, 2)), np.int64)


def _months(keys: pa.Table) -> list[Month]:
    times = keys["image_time"].to_pylist()
    return [None if time is None else (time.year, time.month) for time in times]


def _is(tiles: pa.Table, status: str) -> Mask:
    return np.asarray(pc.equal(tiles["status"], status).to_numpy(zero_copy_only=False), np.bool_)


def _edges(dataset: Dataset, bins: int) -> dict[str, Floats]:
    """Return the edges of each band's bins, which hold most values of a few row groups."""
    every = dataset.pieces()
    found: dict[str, list[npt.NDArray[Any]]] = {band: [] for band in dataset.bands}
    for blocks in dataset.read(every[:: max(1, math.ceil(len(every) / SAMPLED))]):
        cores = blocks.cores()
        for band, parts in found.items():
            values = cores[band][counted(cores, band)]
            parts.append(values[:: max(1, len(values) // _SAMPLE)])
    edges: dict[str, Floats] = {}
    for band, dtype in dataset.bands.items():
        values = np.concatenate(found[band]) if found[band] else np.zeros(0, dtype)
        low, high = (float(end) for end in np.percentile(values, _RANGE)) if len(values) else (0.0, 1.0)
        if dtype.kind == "f":
            edges[band] = np.linspace(low, high if high > low else low + 1, bins + 1)
        else:
            low, high = math.floor(low), math.ceil(high)
            width = max(1, math.ceil((high - low + 1) / bins))
            steps = np.arange(math.ceil((high - low + 1) / width) + 1)
            edges[band] = np.asarray(low - 0.5 + width * steps, np.float64)
    return edges
