"""The mean of each band over time: of whole images, or of each point or class of points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ee_spark.planner.columns import NANS
from ee_spark.read.dataset import Dataset
from ee_spark.show.series import CLEAR

Curves = dict[str, tuple[npt.NDArray[np.datetime64], npt.NDArray[np.float64]]]
"""Times and values by name; the name of one alone is empty."""
MOST = 8
"""Classes, or points, that have curves of their own."""


def of_images(images: pa.Table, bands: Sequence[str]) -> dict[str, Curves]:
    """Return the mean of the valid pixels of each image that has a time, for each band that has any.

    ``images`` is what :func:`~ee_spark.show.series.by_image` says. NaN for an image with no more than :data:`CLEAR` of
    the valid pixels of the clearest one: a mean over a few pixels between clouds says little of the whole.
    """
    known = images.filter(pc.is_valid(images["image_time"]))
    times, found = known["image_time"].to_numpy(), {}
    for band in bands:
        count, total = (known[f"{band}_{what}"].to_numpy() for what in ("count", "sum"))
        with np.errstate(invalid="ignore", divide="ignore"):
            means = np.where(count > CLEAR * count.max(initial=0), total / count, np.nan)
        if np.isfinite(means).any():
            found[band] = {"": (times, means)}
    return found


def classes(dataset: Dataset, tiles: pa.Table) -> str | None:
    """Return the column of ``tiles`` that tells points apart: the first of their own that names 2 to 8 classes.

    Else ``point_id``, where there are no more points than that; None where nothing does.
    """
    if not dataset.points:
        return None
    for name in (*dataset.manifest.point_columns, "point_id"):
        kind = tiles.schema.field(name).type
        named = pa.types.is_string(kind) or pa.types.is_boolean(kind) or pa.types.is_integer(kind)
        if named and 1 < pc.count_distinct(tiles[name]).as_py() <= MOST:
            return str(name)
    return None


def of_classes(tiles: pa.Table, column: str, bands: Sequence[str]) -> dict[str, Curves]:
    """Return, for each band, the mean of the valid pixels of each image and class, by the statistics in ``tiles``."""
    known = tiles.filter(pc.is_valid(tiles["image_time"]))
    labels = [f"without {column}" if value is None else str(value) for value in known[column].to_pylist()]
    names = sorted(set(labels), key=lambda name: (len(name), name))
    times, which = known["image_time"].to_numpy(), np.array([names.index(label) for label in labels])
    found: dict[str, Curves] = {}
    for band in bands:
        counts = known["valid_count"].fill_null(0).to_numpy().astype(np.float64)
        if f"{band}_{NANS}" in known.column_names:
            counts = counts - known[f"{band}_{NANS}"].fill_null(0).to_numpy()
        means = known[f"{band}_mean"].fill_null(np.nan).to_numpy()
        good = np.isfinite(means) & (counts > 0)
        curves: Curves = {}
        for number, name in enumerate(names):
            mine = good & (which == number)
            moments, place = np.unique(times[mine], return_inverse=True)
            weights = np.bincount(place, counts[mine], len(moments))
            curves[name] = moments, np.bincount(place, counts[mine] * means[mine], len(moments)) / weights
        if any(len(moments) for moments, _ in curves.values()):
            found[band] = curves
    return found


def curves_of(
    dataset: Dataset, tiles: pa.Table, images: pa.Table, bands: Sequence[str]
) -> tuple[dict[str, Curves], str]:
    """Return the curves that a page shows, and what each is of: images, points, or a column of the points."""
    column = classes(dataset, tiles)
    if column is not None and (found := of_classes(tiles, column, bands)):
        return found, "point" if column == "point_id" else column
    return of_images(images, bands), "image"


def dates(curves: dict[str, Curves]) -> int:
    """Return how many different times some curves have."""
    every: list[Any] = [times for one in curves.values() for times, _ in one.values()]
    return len(np.unique(np.concatenate(every))) if every else 0
