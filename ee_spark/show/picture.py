"""A dataset as one picture: a time series as months × years beside its curve, patches as a contact sheet."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ee_spark.errors import ReadError
from ee_spark.read.canvas import Canvas
from ee_spark.read.dataset import Dataset
from ee_spark.show import colour, quicklook
from ee_spark.show.colour import INK
from ee_spark.show.series import CLEAR, ImageCounter, Month, MonthCounter, Months, lattices, sweep

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

PATCHES = 64
LATTICES = 4
"""Lattices that are drawn at most, the largest ones."""
NAMED = 10
CELL, CURVE = 1.05, 5.2
"""Inches of a month, and of the curve's width."""
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

Floats = npt.NDArray[np.float64]
Ends = tuple[Floats, Floats]


@dataclass(frozen=True)
class Panel:
    """What is drawn of one lattice: the monthly means cut to where any is valid, and the dates of the curve."""

    canvas: Canvas
    band: str
    maps: dict[Month, Floats]
    dates: tuple[Any, ...]
    means: Floats

    @property
    def name(self) -> str:
        """The CRS and the resolution."""
        return named(self.canvas)

    @property
    def years(self) -> list[int]:
        """The years to draw, one row each."""
        return sorted({month[0] if month else 0 for month in self.maps})

    @property
    def columns(self) -> range:
        """The months to draw, one column each; 0 for images without a time."""
        months = {month[1] if month else 0 for month in self.maps}
        return range(min(months), max(months) + 1)

    def mean_by_month(self) -> dict[int, float]:
        """The mean over the dates of each month of the year of what they have on the curve."""
        months = np.array([date.month for date in self.dates])
        return {int(month): float(self.means[months == month].mean()) for month in np.unique(months)}


def draw(dataset: Dataset) -> tuple[bytes, str]:
    """Return the dataset as a PNG, and what it shows in words.

    Raises:
        ReadError: if no pixel is stored yet.
    """
    figure, what = _contact_sheet(dataset) if dataset.points else _time_series(dataset)
    sink = io.BytesIO()
    figure.savefig(sink, format="png", dpi=110, facecolor="white")
    return sink.getvalue(), what


def drawn(dataset: Dataset) -> list[Panel]:
    """Return what is drawn of each lattice, the largest ones first; the first band."""
    band = next(iter(dataset.bands))
    chosen = dataset.select(bands=band)
    canvases = lattices(chosen)[:LATTICES]
    maps = [MonthCounter(chosen, canvas, band) for canvas in canvases]
    images = [ImageCounter(chosen, canvas) for canvas in canvases]
    sweep(chosen, [*maps, *images])
    return [_panel(one.months(), of.table()) for one, of in zip(maps, images, strict=True)]


def _panel(months: Months, images: pa.Table) -> Panel:
    mean = months.mean
    valid = np.any(months.count > 0, axis=0)
    if valid.any():
        rows, columns = np.flatnonzero(valid.any(1)), np.flatnonzero(valid.any(0))
        mean = mean[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    dated = any(month is not None for month in months.months)
    maps = {month: one for month, one in zip(months.months, mean, strict=True) if month or not dated}
    images = images.filter(pc.is_valid(images["image_time"]))
    count, total = (images[f"{months.band}_{what}"].to_numpy() for what in ("count", "sum"))
    clear = count > CLEAR * count.max(initial=0)
    times = images["image_time"].to_pylist()
    dates = tuple(times[index] for index in np.flatnonzero(clear))
    return Panel(months.canvas, months.band, maps, dates, total[clear] / count[clear])


def named(canvas: Canvas) -> str:
    """Return the CRS and the resolution of a lattice."""
    return f"{canvas.crs} at {canvas.transform[0]:g}"


def _time_series(dataset: Dataset) -> tuple[Figure, str]:
    """Return monthly means of the first band as small multiples, one row per year, beside the curve over the months."""
    from matplotlib.figure import Figure

    found = [each for each in drawn(dataset) if each.maps]
    values = np.concatenate([one[np.isfinite(one)] for each in found for one in each.maps.values()] or [np.zeros(0)])
    if not len(values):
        raise _nothing(dataset)
    ends = colour.limits(values[:, None])
    wide = CELL * max(len(each.columns) for each in found)
    tall = [max(3.6, CELL * len(each.years) + 1.5) for each in found]
    figure = Figure(figsize=(wide + CURVE + 1, sum(tall)), layout="constrained")
    parts: Any = figure.subfigures(len(found), 2, width_ratios=[wide, CURVE], height_ratios=tall, squeeze=False)
    for each, (left, right) in zip(found, parts, strict=True):
        _maps(each, left, ends, each.name if len(found) > 1 else "")
        _curve(each, right.subplots())
    return figure, "; ".join(_words(dataset, found))


def _words(dataset: Dataset, found: Sequence[Panel]) -> Iterator[str]:
    for each in found:
        shown = sum(bool(np.isfinite(one).any()) for one in each.maps.values())
        where = f" on {each.name}" if len(found) > 1 else ""
        years = "1 year" if len(each.years) == 1 else f"{len(each.years)} years"
        yield f"{shown} months of {each.band}{where} in {years}, {len(each.dates)} dates on the curve"
    rest = [named(canvas) for canvas in lattices(dataset)[LATTICES:]]
    if rest:
        more = f" and {len(rest) - NAMED} more" if len(rest) > NAMED else ""
        yield f"not drawn: {', '.join(rest[:NAMED])}{more}"
    times = dataset.tiles(["image_id", "image_time"]).group_by(["image_id", "image_time"]).aggregate([])["image_time"]
    if 0 < times.null_count < len(times):
        yield f"not drawn for want of a time: {times.null_count} of {len(times)} images"


def _maps(each: Panel, figure: SubFigure, ends: Ends, where: str) -> None:
    height, width = next(iter(each.maps.values())).shape
    axes = figure.subplots(len(each.years), len(each.columns), squeeze=False)
    for row, year in enumerate(each.years):
        for column, month in enumerate(each.columns):
            axis, key = axes[row, column], (year, month) if month else None
            _bare(axis)
            axis.set_box_aspect(height / width)
            if key in each.maps:
                axis.imshow(
                    each.maps[key],
                    cmap=colour.palette(),
                    vmin=float(ends[0][0]),
                    vmax=float(ends[1][0]),
                    interpolation="nearest",
                )
            if not row:
                axis.set_title(MONTHS[month - 1] if month else "", fontsize=9, color=INK)
            if not column:
                axis.set_ylabel(str(year) if year else "", fontsize=9, color=INK, rotation=0, ha="right", va="center")
    title = f"{each.band}, mean of the valid pixels of each month; masked grey"
    figure.suptitle(f"{where}: {title}" if where else title, fontsize=10, color=INK)
    colour.bar(figure, axes.ravel().tolist(), ends)


def _curve(each: Panel, axis: Axes) -> None:
    """Draw the mean of each date that is clear enough, and the mean of these for each month."""
    places = [date.month + (date.day - 1) / 31 for date in each.dates]
    by_month = each.mean_by_month()
    axis.scatter(places, each.means, s=14, color=colour.DATE, alpha=0.6, linewidths=0, label="one date")
    middles = [month + 0.5 for month in by_month]
    axis.plot(middles, list(by_month.values()), color=colour.MEAN, lw=2, marker="o", ms=4, label="month")
    axis.set_title(f"mean {each.band} of dates more than half clear", fontsize=10, color=INK)
    axis.set_xlim(1, 13)
    axis.set_xticks([month + 0.5 for month in range(1, 13)], [name[0] for name in MONTHS])
    axis.grid(axis="y", color=colour.LINE, lw=0.8)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(colors=INK, labelsize=8)
    axis.legend(frameon=False, fontsize=8)


def _contact_sheet(dataset: Dataset) -> tuple[Figure, str]:
    """Return the first patches of the clearest image, in true colour where the bands allow it."""
    from matplotlib.figure import Figure

    found = quicklook.patches(dataset, PATCHES)
    if found is None:
        raise _nothing(dataset)
    shown = colour.stretched(found.values, colour.limits(found.values))
    columns = math.ceil(math.sqrt(len(shown)))
    lines = math.ceil(len(shown) / columns)
    figure = Figure(figsize=(1.15 * columns, 1.15 * lines + 0.5))
    top = 1 - 0.45 / (1.15 * lines + 0.5)
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=top, wspace=0.03, hspace=0.03)
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for axis in axes:
        _bare(axis)
        axis.set_visible(False)
    for axis, values in zip(axes, shown, strict=False):
        axis.set_visible(True)
        colour.paint(axis, values)
    name, bands = found.image or "the composite", ", ".join(found.bands)
    figure.suptitle(f"{len(shown)} patches of {name}: {bands}", fontsize=10, color=INK)
    return figure, f"{len(shown)} patches of {name} in {' '.join(found.bands)}"


def _nothing(dataset: Dataset) -> ReadError:
    return ReadError(f"{dataset.path}: has no valid pixel yet; every tile is empty, failed, or not fetched")


def _bare(axis: Axes) -> None:
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_facecolor(colour.PAPER)
    for spine in axis.spines.values():
        spine.set_visible(False)
