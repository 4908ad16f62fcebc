"""The charts of the report page, each one a self-contained SVG text."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from ee_spark.planner.polygon import joined
from ee_spark.show import colour
from ee_spark.show.colour import GREY, INK, STATUS
from ee_spark.show.curve import Curves
from ee_spark.show.series import Spread

Ring = npt.NDArray[np.float64]
WIDTH = 4.7
MANY = 3000
"""Shapes above which they are drawn as a picture within the chart."""
NAMED = 40
"""Characters of a name of the dataset's."""
_STYLE = {
    "svg.hashsalt": "ee_spark",
    "font.size": 10,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def tile_map(shapes: Sequence[Sequence[Ring]], statuses: Sequence[str], rings: Sequence[npt.ArrayLike]) -> str:
    """Draw tiles by status over the region's outline, in lon and lat; each tile has a ring, or several where it is cut.

    What lies at both sides of ±180° is drawn as one, its longitudes going on beyond 180°.
    """
    figure, axis = _figure(4.2)
    outline = [np.asarray(ring, np.float64)[:, :2] for ring in rings]
    parts, outline = joined([ring for shape in shapes for ring in shape], outline)
    owner = [status for status, shape in zip(statuses, shapes, strict=True) for _ in shape]
    for status, face in STATUS.items():
        mine = [part for part, one in zip(parts, owner, strict=True) if one == status]
        if count := statuses.count(status):
            faces = PolyCollection(mine, facecolor=face, edgecolor="white", linewidth=0.4, alpha=0.85)
            faces.set_rasterized(len(mine) > MANY)
            axis.add_collection(faces)
            axis.plot([], [], "s", color=face, label=f"{count:,} {status}")
    axis.add_collection(LineCollection(outline, colors=INK, linewidths=1.2))
    level = np.concatenate([part[:, 1] for part in parts]) if parts else np.zeros(1)
    axis.autoscale_view()
    axis.set_aspect(1 / max(0.05, math.cos(math.radians(float(np.clip((level.min() + level.max()) / 2, -85, 85))))))
    axis.set_xlabel("longitude")
    axis.set_ylabel("latitude")
    axis.tick_params(labelsize=8)
    axis.locator_params(nbins=5)
    axis.ticklabel_format(useOffset=False)
    if axis.get_xlim()[1] > 180:
        axis.xaxis.set_major_formatter(lambda lon, _: f"{(lon + 180) % 360 - 180:g}")
    figure.legend(*axis.get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False, fontsize=9)
    return _svg(figure)


def pictures(stacks: Sequence[npt.NDArray[np.float64]], titles: Sequence[str]) -> str:
    """Draw arrays (height, width, bands) beside one another, stretched alike; grey where nothing is valid.

    One band has a bar of its colours, with the values that they stand for.
    """
    columns = min(len(stacks), 6 if len(stacks) > 6 else 3 if len(stacks) > 2 else len(stacks))
    lines = math.ceil(len(stacks) / columns)
    shapes: list[Any] = [stack.shape for stack in stacks]
    tall = max(shape[0] / shape[1] for shape in shapes)
    room = 0.3 if any(titles) else 0.05
    scale = 0.5 if stacks[0].shape[-1] == 1 else 0.0
    height = lines * (WIDTH / columns * min(tall, 2.5) + room) + scale
    with rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        axes = figure.subplots(lines, columns, squeeze=False).ravel()
    ends = colour.limits(np.concatenate([stack.reshape(-1, stack.shape[-1]) for stack in stacks]))
    for axis in axes:
        axis.axis("off")
    for axis, stack, title in zip(axes, stacks, titles, strict=False):
        colour.paint(axis, colour.stretched(stack, ends))
        axis.set_title(title[:NAMED], fontsize=8, color=INK)
    if stacks[0].shape[-1] == 1:
        colour.bar(figure, list(axes), ends)
    return _svg(figure)


def time_axis(times: npt.NDArray[np.datetime64], shares: npt.NDArray[np.float64]) -> str:
    """Draw one stem per image at its time, as high as the share of its pixels that are valid (0 to 1)."""
    figure, axis = _figure(2.2)
    axis.vlines(times.astype("datetime64[ms]").astype(object), 0, shares * 100, color=STATUS["ok"], linewidth=1)
    axis.plot(times.astype("datetime64[ms]").astype(object), shares * 100, "o", ms=3, color=STATUS["ok"])
    _dated(axis, times)
    axis.set_ylim(0, 105)
    axis.set_ylabel("% valid")
    return _svg(figure)


def curves(bands: Mapping[str, Curves]) -> str:
    """Draw curves over time, one band below the other: a dot per image, NaN left out; several have a legend."""
    with rc_context(_STYLE):
        figure = Figure(figsize=(2 * WIDTH, 1.3 * len(bands) + 0.5), layout="constrained")
        axes = figure.subplots(len(bands), 1, squeeze=False, sharex=True).ravel()
    for axis, (name, found) in zip(axes, bands.items(), strict=True):
        for label, line, (times, values) in zip(found, colour.of_classes(len(found)), found.values(), strict=True):
            good = np.isfinite(values)
            moments = times[good].astype("datetime64[ms]").astype(object)
            axis.plot(moments, values[good], "o-", ms=3, linewidth=1, color=line, label=label[:NAMED])
        axis.set_ylabel(name[:NAMED], rotation=0, ha="right", va="center", labelpad=10)
        axis.grid(axis="y", color=colour.LINE, lw=0.8)
        axis.tick_params(labelsize=8)
    if len(found) > 1:
        figure.legend(
            *axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=8, frameon=False, fontsize=9
        )
    _dated(axes[-1], np.concatenate([times for times, _ in found.values()]))
    return _svg(figure)


def _dated(axis: Any, times: npt.NDArray[np.datetime64]) -> None:
    """Make an axis of time, which around one moment only is two days long."""
    locator = AutoDateLocator(maxticks=6)
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    if len(np.unique(times)) == 1:
        axis.set_xlim(*(times[:1] + np.array([-1, 1]) * np.timedelta64(1, "D")).astype("datetime64[ms]").astype(object))


def histograms(spreads: Mapping[str, Spread]) -> str:
    """Draw the distribution of each band's valid values."""
    names = [name for name, spread in spreads.items() if spread.count]
    with rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH, 1.15 * len(names) + 0.3), layout="constrained")
        axes = figure.subplots(len(names), 1, squeeze=False).ravel()
    for axis, name in zip(axes, names, strict=True):
        spread = spreads[name]
        axis.stairs(spread.counts, spread.edges, fill=True, color=colour.BARS)
        axis.set_yticks([])
        axis.set_ylabel(name, rotation=0, ha="right", va="center")
        axis.tick_params(labelsize=8)
        if outside := spread.below + spread.above:
            axis.set_title(f"{outside:,} of {spread.count:,} lie outside", loc="right", fontsize=7, color=INK)
    return _svg(figure)


def rate(runs: Mapping[str, npt.NDArray[np.datetime64]]) -> str:
    """Draw how many tiles were published since each run's first part, one line per run."""
    figure, axis = _figure(2.3)
    for name, moments in list(runs.items())[-6:]:
        moments = np.sort(moments)
        seconds = (moments - moments[0]) / np.timedelta64(1, "s")
        axis.step(seconds, np.arange(1, len(seconds) + 1), where="post", label=name[:NAMED], linewidth=1.4)
    axis.set_xlabel("seconds since a run's first part")
    axis.set_ylabel("tiles published")
    axis.legend(frameon=False, fontsize=8)
    return _svg(figure)


def latency(milliseconds: npt.NDArray[np.float64]) -> str:
    """Draw how long tiles took from first request to pixels, with the median and the 95th percentile."""
    figure, axis = _figure(2.2)
    most = float(np.percentile(milliseconds, 99.5)) or 1.0
    axis.hist(np.minimum(milliseconds, most), bins=60, color=colour.BARS, alpha=0.7)
    for percentile, style in ((50, "-"), (95, "--")):
        at = float(np.percentile(milliseconds, percentile))
        axis.axvline(at, color=INK, linewidth=1, linestyle=style, label=f"p{percentile}: {at:,.0f} ms")
    axis.set_xlabel("ms per tile, with its retries")
    axis.set_yticks([])
    axis.legend(frameon=False, fontsize=8)
    return _svg(figure)


def _figure(height: float) -> tuple[Figure, Any]:
    with rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        return figure, figure.subplots()


def _svg(figure: Figure) -> str:
    sink = io.StringIO()
    with rc_context(_STYLE):
        figure.savefig(sink, format="svg", dpi=150, metadata={"Date": None, "Creator": None})
    return sink.getvalue()
