"""Small pictures of a dataset: the mosaic of an image thinned to a few hundred pixels, and its best patches."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ee_spark.read.block import Blocks
from ee_spark.read.canvas import Canvas, canvases
from ee_spark.read.dataset import Dataset

Floats = npt.NDArray[np.float64]
SIDE = 420
"""Pixels of a mosaic's longer side at most."""
_COLOURS = tuple(re.compile(text, re.I) for text in ("(B0?4|red)(_|$)", "(B0?3|green)(_|$)", "(B0?2|blue)(_|$)"))


def colours(bands: Sequence[str]) -> tuple[str, ...]:
    """Return the bands to show: red, green and blue where their names say so, else the first."""
    found = [next((band for band in bands if pattern.match(band)), None) for pattern in _COLOURS]
    return tuple(band for band in found if band) if all(found) else (bands[0],)


def mosaic(dataset: Dataset, image: str, side: int = SIDE) -> Floats:
    """Return an image as (height, width, bands), NaN where nothing is valid; every n-th pixel of large ones."""
    bands = colours(list(dataset.bands))
    chosen = dataset.select(images=image, bands=bands)
    canvas = max(canvases(chosen), key=lambda one: one.width * one.height)
    thin = max(1, math.ceil(max(canvas.width, canvas.height) / side))
    out = np.full((math.ceil(canvas.height / thin), math.ceil(canvas.width / thin), len(bands)), np.nan)
    for blocks in chosen.batches():
        _paste(out, blocks.cores(), canvas, thin)
    return out


def _paste(out: Floats, blocks: Blocks, canvas: Canvas, thin: int) -> None:
    """Put every ``thin``-th row and column of the canvas, counted from its corner, in its place."""
    rows, columns = canvas.places(blocks.keys)
    stack = np.moveaxis(blocks.stack(), 1, -1)
    for index in np.flatnonzero(canvas.holds(blocks.keys)).tolist():
        row, column = int(rows[index]), int(columns[index])
        part = stack[index, -row % thin :: thin, -column % thin :: thin]
        if part.size:
            top, left = math.ceil(row / thin), math.ceil(column / thin)
            out[top : top + part.shape[0], left : left + part.shape[1]] = part


def patches(dataset: Dataset, count: int) -> Floats:
    """Return up to ``count`` patches as (n, height, width, bands)."""
    bands, found = colours(list(dataset.bands)), []
    for blocks in dataset.select(bands=bands).batches():
        found.append(np.moveaxis(blocks.stack(), 1, -1)[:count])
        if sum(map(len, found)) >= count:
            break
    return np.concatenate(found)[:count]


def shown(stack: Floats) -> Floats:
    """Return values stretched to 0..1 between their 2nd and 98th percentiles, band by band; NaN stays."""
    flat = stack.reshape(-1, stack.shape[-1])
    flat = flat[np.isfinite(flat).all(1)]
    if not len(flat):
        return stack
    low, high = np.percentile(flat, [2, 98], axis=0)
    return np.asarray(np.clip((stack - low) / np.maximum(high - low, 1e-12), 0, 1))


def samples(dataset: Dataset, pieces: int = 8) -> dict[str, Floats]:
    """Return valid values of each band from row groups spread evenly over the selection, for a histogram."""
    every = dataset.pieces()
    step = max(1, math.ceil(len(every) / pieces))
    found: dict[str, list[Floats]] = {band: [] for band in dataset.bands}
    for blocks in dataset.read(every[::step]):
        for band in dataset.bands:
            values, valid = blocks.cores()[band], blocks.cores().valid(band)
            kept = values.ravel() if valid is None else values[valid]
            found[band].append(kept[np.isfinite(kept)] if kept.dtype.kind == "f" else kept)
    return {band: np.concatenate(parts) if parts else np.zeros(0) for band, parts in found.items()}


def best_images(tiles: pa.Table, count: int) -> list[str]:
    """Return the images with the most valid pixels (most ok tiles, where masks are not known), in order of time."""
    rows = tiles.select(["image_id", "image_time", "valid_count"]).append_column(
        "ok", pa.array((tiles["status"].to_numpy(zero_copy_only=False) == "ok").astype(np.int64))
    )
    sums = rows.group_by(["image_id", "image_time"]).aggregate([("valid_count", "sum"), ("ok", "sum")])
    ranked = sums.sort_by([("valid_count_sum", "descending"), ("ok_sum", "descending"), ("image_id", "ascending")])
    first = ranked.slice(0, count).sort_by([("image_time", "ascending"), ("image_id", "ascending")])
    return [row["image_id"] for row in first.to_pylist() if row["ok_sum"]]
