"""Kernels as values: the weights of a neighbourhood.

A radius is the greatest distance from the centre pixel's centre. In metres it is measured on the pixels of the output,
at the true scale of its projection. https://developers.google.com/earth-engine/apidocs/ee-kernel-square
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ServiceError
from .crs import metres_per_unit
from .grid import Grid

LARGEST = 512
"""Pixels that one side of a kernel may have."""
Offsets = tuple[NDArray[Any], NDArray[Any]]
"""dx and dy, in pixels, of the places of a kernel."""


@dataclass(frozen=True)
class Weights:
    """`values` of shape (rows, columns); the centre pixel is at (`row`, `column`)."""

    values: NDArray[Any]
    row: int
    column: int

    @property
    def margins(self) -> tuple[int, int, int, int]:
        """How many pixels it reaches beyond the centre: up, down, left, right."""
        rows, columns = self.values.shape
        return self.row, rows - 1 - self.row, self.column, columns - 1 - self.column

    def places(self) -> list[tuple[int, int, float]]:
        """Row, column and weight of the places that are not 0."""
        rows, columns = np.nonzero(self.values)
        found = self.values[rows, columns]
        return list(zip(rows.tolist(), columns.tolist(), found.tolist(), strict=True))


@dataclass(frozen=True, eq=False)
class Kernel:
    """`on(grid)` gives the weights for the pixels of a grid."""

    on: Callable[[Grid], Weights]


def fixed_weights(values: Any, row: int | None = None, column: int | None = None) -> Kernel:
    """A kernel of given weights; the centre pixel is the middle one unless said."""
    weights = np.asarray(values, np.float64)
    centre = (
        (weights.shape[0] - 1) // 2 if row is None else row,
        (weights.shape[1] - 1) // 2 if column is None else column,
    )
    return Kernel(lambda grid: Weights(weights, *centre))


def scaled(weights: NDArray[Any], normalize: bool, magnitude: float) -> NDArray[Any]:
    """Weights that sum up to the magnitude, or each times the magnitude."""
    total = weights.sum()
    return np.asarray(weights * (magnitude / total if normalize and total else magnitude))


def sized(
    radii: tuple[float, float],
    units: str,
    normalize: bool,
    magnitude: float,
    shape: Callable[[Offsets, tuple[float, float]], NDArray[Any]],
    operation: str,
) -> Kernel:
    """A kernel whose weights depend on the distance from the centre and the radii, in pixels."""
    if units not in ("pixels", "meters", "metres"):
        raise ServiceError(f"{operation}: Unknown units '{units:.40}'; use 'pixels' or 'meters'.")
    if not all(math.isfinite(r) and r >= 0 for r in radii):
        raise ServiceError(f"{operation}: the radius must not be negative, got {radii}.")

    def on(grid: Grid) -> Weights:
        found = radii
        if units != "pixels":
            a, b, _, d, e, _ = grid.projection.transform
            unit = metres_per_unit(grid.projection.crs)
            found = radii[0] / (math.hypot(a, d) * unit), radii[1] / (math.hypot(b, e) * unit)
        columns, rows = math.floor(found[0] + 1e-9), math.floor(found[1] + 1e-9)
        if 2 * max(columns, rows) + 1 > LARGEST:
            raise ServiceError(f"{operation}: the kernel would have {2 * max(columns, rows) + 1} pixels per side; "
                               f"at most {LARGEST} are allowed.")  # fmt: skip
        dx, dy = np.meshgrid(np.arange(-columns, columns + 1.0), np.arange(-rows, rows + 1.0))
        return Weights(scaled(shape((dx, dy), found).astype(np.float64), normalize, magnitude), rows, columns)

    return Kernel(on)


def distance_of(at: Offsets) -> NDArray[Any]:
    """The distance of each place of a kernel from its centre, in pixels."""
    return np.asarray(np.hypot(*at))


def _within(distance: Callable[[Offsets], NDArray[Any]], factor: float = 1.0) -> Any:
    return lambda at, radii: distance(at) <= radii[0] * factor + 1e-9


SHAPES: dict[str, Callable[[Offsets, tuple[float, float]], NDArray[Any]]] = {
    "square": lambda at, radii: np.ones(at[0].shape),
    "circle": _within(distance_of),
    "diamond": _within(lambda at: np.abs(at[0]) + np.abs(at[1])),
    "octagon": _within(lambda at: np.abs(at[0]) + np.abs(at[1]), math.sqrt(2)),
    "plus": lambda at, radii: (at[0] == 0) | (at[1] == 0),
    "cross": lambda at, radii: np.abs(at[0]) == np.abs(at[1]),
    "euclidean": lambda at, radii: distance_of(at),
    "manhattan": lambda at, radii: np.abs(at[0]) + np.abs(at[1]),
    "chebyshev": lambda at, radii: np.maximum(np.abs(at[0]), np.abs(at[1])),
}


def shaped(name: str, radius: float, units: str, operation: str) -> Kernel:
    """A kernel by the name of its shape, as the focal operations take it: every weight alike."""
    if name not in ("square", "circle", "diamond", "octagon", "plus", "cross"):
        raise ServiceError(f"{operation}: Unknown kernelType '{name:.40}'.")
    return sized((radius, radius), units, True, 1.0, SHAPES[name], operation)
