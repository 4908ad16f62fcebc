"""The charts of the report page, each a self-contained SVG text."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps, rc_context
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from ee_spark.show.quicklook import shown

INK, GREY, LINE = "#27303d", "#c9ced6", "#e3e6ea"
STATUS = {"ok": "#3f8f4f", "empty": "#c9ced6", "failed": "#c8102e", "missing": "#f0b400"}
WIDTH = 4.7
MANY = 3000
"""Shapes above which they are drawn as a picture within the chart."""
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


def tile_map(boxes: npt.NDArray[np.float64], statuses: Sequence[str], rings: Sequence[npt.ArrayLike]) -> str:
    """Draw boxes (n, 4: west, south, east, north) by status over the region's outline, in lon and lat."""
    figure, axis = _figure(4.2)
    west, south, east, north = boxes.T
    corners = np.stack([np.stack([west, east, east, west], 1), np.stack([south, south, north, north], 1)], -1)
    for status, colour in STATUS.items():
        mine = np.array([one == status for one in statuses], np.bool_)
        if mine.any():
            faces = PolyCollection(list(corners[mine]), facecolor=colour, edgecolor="white", linewidth=0.4, alpha=0.85)
            faces.set_rasterized(int(mine.sum()) > MANY)
            axis.add_collection(faces)
            axis.plot([], [], "s", color=colour, label=f"{int(mine.sum()):,} {status}")
    outline = [np.asarray(ring, np.float64)[:, :2] for ring in rings]
    axis.add_collection(LineCollection(outline, colors=INK, linewidths=1.2))
    axis.autoscale_view()
    axis.set_aspect(1 / max(0.05, math.cos(math.radians(float(np.clip((south.min() + north.max()) / 2, -85, 85))))))
    axis.set_xlabel("longitude")
    axis.set_ylabel("latitude")
    axis.tick_params(labelsize=8)
    axis.locator_params(nbins=5)
    axis.ticklabel_format(useOffset=False)
    figure.legend(*axis.get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False, fontsize=9)
    return _svg(figure)


def pictures(stacks: Sequence[npt.NDArray[np.float64]], titles: Sequence[str]) -> str:
    """Draw arrays (height, width, bands) beside one another, stretched alike; grey where nothing is valid."""
    columns = min(len(stacks), 6 if len(stacks) > 6 else 3 if len(stacks) > 2 else len(stacks))
    lines = math.ceil(len(stacks) / columns)
    shapes: list[Any] = [stack.shape for stack in stacks]
    tall = max(shape[0] / shape[1] for shape in shapes)
    room = 0.25 if any(titles) else 0.05
    with rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH, lines * (WIDTH / columns * min(tall, 2.5) + room)), layout="constrained")
        axes = figure.subplots(lines, columns, squeeze=False).ravel()
    flat = np.concatenate([stack.reshape(-1, stack.shape[-1]) for stack in stacks])
    stretched = shown(flat)
    edges = np.cumsum([0, *(shape[0] * shape[1] for shape in shapes)])
    palette = colormaps["viridis"].with_extremes(bad=GREY)
    for axis in axes:
        axis.axis("off")
    for index, (axis, stack, title) in enumerate(zip(axes, stacks, titles, strict=False)):
        values = stretched[edges[index] : edges[index + 1]].reshape(stack.shape)
        if len(values[0, 0]) == 3:
            axis.imshow(np.where(np.isfinite(values), values, 0.79), interpolation="nearest")
        else:
            axis.imshow(values[..., 0], cmap=palette, vmin=0, vmax=1, interpolation="nearest")
        axis.set_title(title, fontsize=8, color=INK)
    return _svg(figure)


def time_axis(times: npt.NDArray[np.datetime64], shares: npt.NDArray[np.float64], what: str) -> str:
    """Draw one stem an image at its time, as high as the share of its pixels that are valid."""
    figure, axis = _figure(2.2)
    axis.vlines(times.astype("datetime64[ms]").astype(object), 0, shares * 100, color=STATUS["ok"], linewidth=1)
    axis.plot(times.astype("datetime64[ms]").astype(object), shares * 100, "o", ms=3, color=STATUS["ok"])
    locator = AutoDateLocator(maxticks=6)
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axis.set_ylim(0, 105)
    axis.set_ylabel(f"% {what}")
    return _svg(figure)


def histograms(values: Mapping[str, npt.NDArray[Any]]) -> str:
    """Draw the distribution of each band's valid values."""
    names = [name for name, found in values.items() if found.size]
    with rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH, 1.15 * len(names) + 0.3), layout="constrained")
        axes = figure.subplots(len(names), 1, squeeze=False).ravel()
    for axis, name in zip(axes, names, strict=True):
        found = values[name].astype(np.float64)
        low, high = np.percentile(found, [0.1, 99.9])
        counts, edges = np.histogram(found, bins=80, range=(low, high if high > low else low + 1))
        axis.stairs(counts, edges, fill=True, color="#4477aa")
        axis.set_yticks([])
        axis.set_ylabel(name, rotation=0, ha="right", va="center")
        axis.tick_params(labelsize=8)
    return _svg(figure)


def rate(runs: Mapping[str, npt.NDArray[np.datetime64]]) -> str:
    """Draw how many tiles were published since each run's first part, one line a run."""
    figure, axis = _figure(2.3)
    for name, moments in list(runs.items())[-6:]:
        moments = np.sort(moments)
        seconds = (moments - moments[0]) / np.timedelta64(1, "s")
        axis.step(seconds, np.arange(1, len(seconds) + 1), where="post", label=name, linewidth=1.4)
    axis.set_xlabel("seconds since a run's first part")
    axis.set_ylabel("tiles published")
    axis.legend(frameon=False, fontsize=8)
    return _svg(figure)


def latency(milliseconds: npt.NDArray[np.float64]) -> str:
    """Draw how long tiles took from first request to pixels, with the median and the 95th percentile."""
    figure, axis = _figure(2.2)
    most = float(np.percentile(milliseconds, 99.5)) or 1.0
    axis.hist(np.minimum(milliseconds, most), bins=60, color="#88aacc")
    for percentile, style in ((50, "-"), (95, "--")):
        at = float(np.percentile(milliseconds, percentile))
        axis.axvline(at, color=INK, linewidth=1, linestyle=style, label=f"p{percentile}: {at:,.0f} ms")
    axis.set_xlabel("ms a tile, with its retries")
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
