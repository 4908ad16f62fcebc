"""Valid pixels as rows of x, y and value, and what two sets of them differ in, as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
PLACES = 7
"""Decimals that tell pixel centres apart in degrees and in metres, and hide the noise of floats."""
SHOWN = 3


class Key(NamedTuple):
    """Of which image and band pixels are, and in which CRS their coordinates are."""

    image: str
    band: str
    crs: str

    def __str__(self) -> str:
        return f"{self.band} of {self.image or 'the image'} in {self.crs}"


Pixels = Mapping[Key, Floats]
"""The valid pixels of each image and band: (n, 3), x and y of the centre and the value, sorted."""


class Raster(NamedTuple):
    """Pixels of one image and band, north up: centres ``x`` (w) and ``y`` (h), ``values`` and ``valid`` (h, w)."""

    key: Key
    x: Floats
    y: Floats
    values: Array
    valid: Array

    def rows(self) -> Floats:
        """Return the valid pixels as (n, 3)."""
        row, column = np.nonzero(self.valid)
        return np.column_stack([self.x[column], self.y[row], self.values[row, column].astype(np.float64)])


def centres(transform: Iterable[float], width: int, height: int) -> tuple[Floats, Floats]:
    """Return x and y of the pixel centres of a block: ``transform`` is as in the tables."""
    scale_x, _, x, _, scale_y, y = transform
    column, row = np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64)
    return np.asarray(x + (column + 0.5) * scale_x), np.asarray(y + (row + 0.5) * scale_y)


def gathered(parts: Iterable[Raster | tuple[Key, Floats]]) -> Pixels:
    """Return rasters, or rows of x, y and value, as sorted rows for each image and band that has a valid pixel."""
    found: dict[Key, list[Floats]] = {}
    for part in parts:
        key, rows = (part.key, part.rows()) if isinstance(part, Raster) else part
        if len(rows):
            found.setdefault(key, []).append(rows)
    return {key: _sorted(np.concatenate(rows)) for key, rows in sorted(found.items())}


def _sorted(rows: Floats) -> Floats:
    rows = np.column_stack([np.round(rows[:, :2], PLACES), rows[:, 2]])
    order: Floats = rows[np.lexsort((rows[:, 2], rows[:, 0], rows[:, 1]))]
    return order


def differences(given: Pixels, truth: Pixels) -> list[str]:
    """Return what is wrong with ``given``, one line for each image and band: number, sum and values at coordinates."""
    nothing = np.zeros((0, 3))
    found = []
    for key in sorted({*given, *truth}):
        mine, right = given.get(key, nothing), truth.get(key, nothing)
        if not np.array_equal(mine, right):
            found.append(f"{key}: {_numbers(mine, right)}; {_at_coordinates(mine, right)}")
    return found


def _numbers(mine: Floats, right: Floats) -> str:
    return (
        f"{len(mine):,} valid pixels (the source has {len(right):,}), "
        f"sum {mine[:, 2].sum():.12g} (the source has {right[:, 2].sum():.12g})"
    )


def _at_coordinates(mine: Floats, right: Floats) -> str:
    """Say which values stand at coordinates where the source has others, or none."""
    source = {(x, y): value for x, y, value in right.tolist()}
    wrong = [(x, y, value) for x, y, value in mine.tolist() if source.get((x, y)) != value]
    given = {(x, y) for x, y, _ in mine.tolist()}
    absent = [place for place in source if place not in given]
    parts = [f"{value:g} at ({x}, {y}), source {source.get((x, y), 'masked')}" for x, y, value in wrong[:SHOWN]]
    parts += [f"nothing at {place}, source {source[place]:g}" for place in absent[:SHOWN]]
    return f"{len(wrong):,} wrong, {len(absent):,} absent: " + ", ".join(parts or ["pixels come more or less often"])
