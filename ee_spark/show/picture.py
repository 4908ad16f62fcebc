"""A dataset as one picture: a time series as months × years beside its curve, patches as a contact sheet."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from ee_spark.errors import JobError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GREY = "#c9ced6"
INK = "#27303d"
SIDE = 400
"""Pixels of a quick look's longer side at most; larger mosaics are thinned."""
PATCHES = 64
CLEAR = 0.5
"""A date counts for the curve if more than this part of its fetched area is valid."""
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
TRUE_COLOUR = tuple(
    re.compile(pattern, re.I) for pattern in ("(B0?4|red)(_|$)", "(B0?3|green)(_|$)", "(B0?2|blue)(_|$)")
)

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Blocks:
    """Rows of ``pixels`` with what a picture needs of them, and the times of images with masked tiles."""

    table: pa.Table
    bands: tuple[str, ...]
    validity: tuple[str, ...]
    empty: tuple[Any, ...]

    def plane(self, row: int, band: str) -> npt.NDArray[np.float64]:
        """Return one band of one row as (height, width), NaN where it is not valid."""
        shape = self.table["height"][row].as_py(), self.table["width"][row].as_py()
        values: npt.NDArray[np.float64] = self.table[band][row].values.to_numpy().reshape(shape).astype(np.float64)
        flag = next((name for name in self.validity if name in ("valid", f"valid_{band}")), None)
        if flag:
            values[self.table[flag][row].values.to_numpy().reshape(shape) == 0] = np.nan
        return values


def draw(dataset: str, out: str) -> str:
    """Draw the dataset at ``dataset`` into the PNG file ``out`` and say what was drawn.

    Raises:
        JobError: if there is nothing to draw, or no matplotlib to draw with.
    """
    if not out.endswith(".png"):
        raise JobError(f"--out: {out!r} is no picture that can be written; write a name that ends in .png")
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise JobError("report: matplotlib is not installed; pip install 'ee-spark[local]'") from None
    blocks = _read(dataset)
    if "point_id" in blocks.table.column_names:
        figure, what = _contact_sheet(blocks, Figure)
    else:
        figure, what = _time_series(blocks, Figure)
    figure.savefig(out, dpi=110, facecolor="white")
    return f"picture: {out}: {what}"


def _read(dataset: str) -> Blocks:
    try:
        table = ds.dataset(f"{dataset}/pixels", format="parquet").to_table()
    except (OSError, pa.ArrowInvalid) as error:
        raise JobError(f"--dataset: {dataset!r} cannot be opened: {error}") from None
    if not table.num_rows:
        raise JobError(f"--dataset: {dataset!r} has no pixels yet; every tile is empty, failed, or not fetched")
    lists = [field.name for field in table.schema if pa.types.is_list(field.type) and field.name != "transform"]
    validity = tuple(name for name in lists if name == "valid" or name.startswith("valid_"))
    tiles = ds.dataset(f"{dataset}/tiles", format="parquet")
    empty = tiles.to_table(columns=["image_time"], filter=pc.field("status") == "empty")["image_time"].unique()
    bands = tuple(name for name in lists if name not in validity)
    return Blocks(table, bands, validity, tuple(empty.to_pylist()))


def _time_series(blocks: Blocks, new_figure: type[Figure]) -> tuple[Figure, str]:
    """Return monthly means of the first band as small multiples, one row a year, beside the curve over the months."""
    band, table = blocks.bands[0], blocks.table
    times = table["image_time"].to_pylist()
    months = sorted({(time.year, time.month) for time in (*times, *blocks.empty) if time}) or [(0, 0)]
    mosaics = _cropped({month: _mosaic(blocks, band, rows) for month, rows in _by_month(times).items()})
    masked = {(time.year, time.month) for time in blocks.empty if time} - mosaics.keys()
    box = next(height / width for height, width in (mosaic.shape for mosaic in mosaics.values()))
    values = np.concatenate([mosaic[np.isfinite(mosaic)] for mosaic in mosaics.values()])
    low, high = np.percentile(values, [2, 98]) if values.size else (0.0, 1.0)
    years = sorted({year for year, _ in months})
    first, last = min(month for _, month in months), max(month for _, month in months)
    columns = last - first + 1
    figure = new_figure(figsize=(1.05 * columns + 6.2, max(3.6, 1.05 * len(years) + 1.5)), layout="constrained")
    parts: Any = figure.subfigures(1, 2, width_ratios=[1.05 * columns, 5.2])
    left, right = parts
    axes = np.atleast_2d(left.subplots(len(years), columns, squeeze=False))
    image: Any = None
    for row, year in enumerate(years):
        for column in range(columns):
            axis, month = axes[row, column], first + column
            _bare(axis)
            axis.set_box_aspect(box)
            if (year, month) in mosaics:
                image = axis.imshow(mosaics[year, month], cmap=_colours(), vmin=low, vmax=high, interpolation="nearest")
            elif (year, month) in masked:
                axis.set_facecolor(GREY)
            if not row:
                axis.set_title(MONTHS[month - 1] if month else "", fontsize=9, color=INK)
            if not column:
                axis.set_ylabel(str(year) if year else "", fontsize=9, color=INK, rotation=0, ha="right", va="center")
    left.suptitle(f"{band}, mean of the valid pixels of each month; masked grey", fontsize=10, color=INK)
    bar = left.colorbar(image, ax=axes.ravel().tolist(), orientation="horizontal", fraction=0.035, pad=0.02, aspect=50)
    bar.outline.set_visible(False)
    dates = _curve(blocks, band, right.subplots())
    return figure, f"{len(mosaics)} months of {band} in {len(years)} years, {dates} dates on the curve"


def _curve(blocks: Blocks, band: str, axis: Axes) -> int:
    """Draw the mean of each date that is clear enough, and the mean of these for each month; return how many dates."""
    table = blocks.table
    sums: dict[str, list[float]] = {}
    when: dict[str, Any] = {}
    dates = zip(table["image_id"].to_pylist(), table["image_time"].to_pylist(), strict=True)
    for row, (image, time) in enumerate(dates):
        if time is None:
            continue
        plane = blocks.plane(row, band)
        entry = sums.setdefault(image, [0.0, 0.0])
        entry[0] += float(np.nansum(plane))
        entry[1] += float(np.isfinite(plane).sum())
        when[image] = time
    area = max((count for _, count in sums.values()), default=0.0)  # the clearest date shows how large the area is
    clear = {image: total / count for image, (total, count) in sums.items() if count > CLEAR * area}
    months = np.array([when[image].month + (when[image].day - 1) / 31 for image in clear])
    values = np.array(list(clear.values()))
    by_month = {int(month): values[months.astype(int) == month].mean() for month in np.unique(months.astype(int))}
    axis.scatter(months, values, s=14, color="#7a9e5f", alpha=0.6, linewidths=0, label="one date")
    axis.plot(
        [m + 0.5 for m in by_month], list(by_month.values()), color="#2f6b2f", lw=2, marker="o", ms=4, label="month"
    )
    axis.set_title(f"mean {band} of dates more than half clear", fontsize=10, color=INK)
    axis.set_xlim(1, 13)
    axis.set_xticks([month + 0.5 for month in range(1, 13)], [name[0] for name in MONTHS])
    axis.grid(axis="y", color="#e3e6ea", lw=0.8)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(colors=INK, labelsize=8)
    axis.legend(frameon=False, fontsize=8)
    return len(clear)


def _contact_sheet(blocks: Blocks, new_figure: type[Figure]) -> tuple[Figure, str]:
    """Return the first patches of the first image, in true colour where the bands allow it."""
    table = blocks.table
    first = pc.min(table["image_id"])
    rows = np.flatnonzero(pc.equal(table["image_id"], first).to_numpy())
    rows = rows[np.argsort(np.array(table["point_id"].take(pa.array(rows)).to_pylist()))][:PATCHES]
    found = [next((band for band in blocks.bands if colour.match(band)), None) for colour in TRUE_COLOUR]
    bands = [band for band in found if band] if all(found) else [blocks.bands[0]]
    stacks = [np.stack([blocks.plane(int(row), band) for band in bands], -1) for row in rows]
    low, high = np.nanpercentile(np.stack(stacks).reshape(-1, len(bands)), [1, 99], axis=0)
    columns = math.ceil(math.sqrt(len(rows)))
    lines = math.ceil(len(rows) / columns)
    figure = new_figure(figsize=(1.15 * columns, 1.15 * lines + 0.5))
    top = 1 - 0.45 / (1.15 * lines + 0.5)
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=top, wspace=0.03, hspace=0.03)
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for axis in axes:
        _bare(axis)
        axis.set_visible(False)
    for axis, stack in zip(axes, stacks, strict=False):
        axis.set_visible(True)
        shown = np.clip((stack - low) / np.maximum(high - low, 1e-12), 0, 1)
        if len(bands) == 3:
            axis.imshow(np.where(np.isfinite(shown), shown, 0.8), interpolation="nearest")
        else:
            axis.imshow(shown[..., 0], cmap=_colours(), vmin=0, vmax=1, interpolation="nearest")
    name = first.as_py() or "the composite"
    figure.suptitle(f"{len(rows)} patches of {name}: {', '.join(bands)}", fontsize=10, color=INK)
    return figure, f"{len(rows)} patches in {' '.join(bands)}"


def _by_month(times: list[Any]) -> dict[tuple[int, int], list[int]]:
    found: dict[tuple[int, int], list[int]] = {}
    for row, time in enumerate(times):
        found.setdefault((time.year, time.month) if time else (0, 0), []).append(row)
    return found


def _mosaic(blocks: Blocks, band: str, rows: list[int]) -> Array:
    """Return the mean of rows' valid pixels on one raster over the whole dataset, thinned to a quick look."""
    table = blocks.table
    transforms = table["transform"].combine_chunks().flatten().to_numpy().reshape(-1, 6)
    widths, heights = table["width"].to_numpy(), table["height"].to_numpy()
    scale_x, scale_y = transforms[0, 0], transforms[0, 4]
    lefts, tops = transforms[:, 2] / scale_x, transforms[:, 5] / scale_y
    left, top = lefts.min(), tops.min()
    wide, high = (lefts + widths).max() - left, (tops + heights).max() - top
    thin = max(1, math.ceil(max(wide, high) / SIDE))
    shape = math.ceil(high / thin) + 1, math.ceil(wide / thin) + 1
    total, count = np.zeros(shape), np.zeros(shape)
    for row in rows:
        plane = blocks.plane(row, band)[::thin, ::thin]
        at = round((tops[row] - top) / thin), round((lefts[row] - left) / thin)
        part = tuple(slice(start, start + size) for start, size in zip(at, plane.shape, strict=True))
        total[part] += np.nan_to_num(plane)
        count[part] += np.isfinite(plane)
    with np.errstate(invalid="ignore"):
        mean = total / count
    trimmed = mean[: math.ceil(high / thin), : math.ceil(wide / thin)]
    return np.asarray(trimmed)


def _cropped(mosaics: dict[tuple[int, int], Array]) -> dict[tuple[int, int], Array]:
    """Return the mosaics cut to the box in which any of them has a valid pixel."""
    valid = np.any([np.isfinite(mosaic) for mosaic in mosaics.values()], axis=0)
    if not valid.any():
        return mosaics
    rows, columns = np.flatnonzero(valid.any(1)), np.flatnonzero(valid.any(0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return {month: mosaic[box] for month, mosaic in mosaics.items()}


def _colours() -> Any:
    from matplotlib import colormaps

    colours = colormaps["YlGn"].copy()
    colours.set_bad(GREY)
    return colours


def _bare(axis: Axes) -> None:
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_facecolor("#f4f5f7")
    for spine in axis.spines.values():
        spine.set_visible(False)
