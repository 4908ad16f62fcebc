"""A canvas thinned to a few hundred pixels: every n-th row and column, counted from its corner."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ee_spark.planner.window import Window
from ee_spark.read.block import Blocks
from ee_spark.read.canvas import Canvas

Slices = tuple[slice, slice]


@dataclass(frozen=True)
class Thinned:
    """Every ``step``-th row and column of a canvas."""

    canvas: Canvas
    step: int

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return math.ceil(self.canvas.height / self.step), math.ceil(self.canvas.width / self.step)

    @property
    def window(self) -> Window:
        """Where it lies: a pixel holds the value of the canvas's pixel in its top left corner."""
        scale_x, _, x, _, scale_y, y = self.canvas.transform
        height, width = self.shape
        return Window(self.canvas.crs, (scale_x * self.step, 0.0, x, 0.0, scale_y * self.step, y), width, height)

    def places(self, cores: Blocks) -> Iterator[tuple[int, Slices, Slices]]:
        """Yield for each block on the canvas its number, which of its pixels are kept, and where they go."""
        held = np.flatnonzero(self.canvas.holds(cores.keys))
        if not len(held):
            return
        keys = cores.keys if len(held) == len(cores) else cores.keys.take(pa.array(held))
        height, width = next(iter(cores.planes.values())).shape[1:]
        rows, columns = self.canvas.places(keys)
        for index, row, column in zip(held.tolist(), rows.tolist(), columns.tolist(), strict=True):
            down = self._along(row, height, self.canvas.height)
            across = self._along(column, width, self.canvas.width)
            inside, outside = zip(down, across, strict=True)
            yield index, inside, outside

    def _along(self, start: int, size: int, total: int) -> tuple[slice, slice]:
        """Return which of ``size`` pixels from ``start`` on are kept, and where they go; some may be off the canvas."""
        place = max(0, math.ceil(start / self.step))
        first, stop = place * self.step - start, min(size, total - start)
        count = max(0, math.ceil((stop - first) / self.step))
        return slice(first, first + count * self.step, self.step), slice(place, place + count)


def thinned(canvas: Canvas, side: int | None) -> Thinned:
    """Return the canvas thinned so that no side has more than ``side`` pixels; whole with None."""
    return Thinned(canvas, 1 if side is None else max(1, math.ceil(max(canvas.width, canvas.height) / side)))
