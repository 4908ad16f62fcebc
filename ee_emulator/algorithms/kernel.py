"""Kernels: the weights of a neighbourhood. https://developers.google.com/earth-engine/apidocs/ee-kernel-square

A radius is the greatest distance from the centre pixel's centre. In metres it is measured on the pixels of the output,
at the true scale of its projection.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ServiceError
from ..projection import Grid, metres_per_unit
from .registry import algorithm

_LARGEST = 512
"""Pixels that a side of a kernel may have."""

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


def as_kernel(value: Any, operation: str) -> Kernel:
    """A kernel argument; a 400 for anything else."""
    if not isinstance(value, Kernel):
        raise ServiceError(f"{operation}: Parameter 'kernel' must be of type Kernel, got {value!s:.60}.")
    return value


def _fixed(values: Any, row: int | None = None, column: int | None = None) -> Kernel:
    weights = np.asarray(values, np.float64)
    centre = (
        (weights.shape[0] - 1) // 2 if row is None else row,
        (weights.shape[1] - 1) // 2 if column is None else column,
    )
    return Kernel(lambda grid: Weights(weights, *centre))


def _scaled(weights: NDArray[Any], normalize: bool, magnitude: float) -> NDArray[Any]:
    total = weights.sum()
    return np.asarray(weights * (magnitude / total if normalize and total else magnitude))


def _shaped(
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
        if 2 * max(columns, rows) + 1 > _LARGEST:
            raise ServiceError(f"{operation}: the kernel would have {2 * max(columns, rows) + 1} pixels a side; "
                               f"at most {_LARGEST} are allowed.")  # fmt: skip
        dx, dy = np.meshgrid(np.arange(-columns, columns + 1.0), np.arange(-rows, rows + 1.0))
        return Weights(_scaled(shape((dx, dy), found).astype(np.float64), normalize, magnitude), rows, columns)

    return Kernel(on)


def _distance(at: Offsets) -> NDArray[Any]:
    return np.asarray(np.hypot(*at))


def _within(distance: Callable[[Offsets], NDArray[Any]], factor: float = 1.0) -> Any:
    return lambda at, radii: distance(at) <= radii[0] * factor + 1e-9


_SHAPES: dict[str, Callable[[Offsets, tuple[float, float]], NDArray[Any]]] = {
    "square": lambda at, radii: np.ones(at[0].shape),
    "circle": _within(_distance),
    "diamond": _within(lambda at: np.abs(at[0]) + np.abs(at[1])),
    "octagon": _within(lambda at: np.abs(at[0]) + np.abs(at[1]), math.sqrt(2)),
    "plus": lambda at, radii: (at[0] == 0) | (at[1] == 0),
    "cross": lambda at, radii: np.abs(at[0]) == np.abs(at[1]),
    "euclidean": lambda at, radii: _distance(at),
    "manhattan": lambda at, radii: np.abs(at[0]) + np.abs(at[1]),
    "chebyshev": lambda at, radii: np.maximum(np.abs(at[0]), np.abs(at[1])),
}


def shaped(name: str, radius: float, units: str, operation: str) -> Kernel:
    """A kernel by the name of its shape, as the focal operations take it: every weight alike."""
    if name not in ("square", "circle", "diamond", "octagon", "plus", "cross"):
        raise ServiceError(f"{operation}: Unknown kernelType '{name:.40}'.")
    return _shaped((radius, radius), units, True, 1.0, _SHAPES[name], operation)


def _register_shape(name: str) -> None:
    def apply(radius: float, units: str, normalize: bool, magnitude: float) -> Kernel:
        return _shaped((radius, radius), units, normalize, magnitude, _SHAPES[name], f"Kernel.{name}")

    apply.__doc__ = f"https://developers.google.com/earth-engine/apidocs/ee-kernel-{name}"
    algorithm(f"Kernel.{name}")(apply)


for _name in _SHAPES:
    _register_shape(_name)


@algorithm("Kernel.rectangle")
def rectangle(x_radius: float, y_radius: float, units: str, normalize: bool, magnitude: float) -> Kernel:
    """A rectangle. https://developers.google.com/earth-engine/apidocs/ee-kernel-rectangle"""
    return _shaped((x_radius, y_radius), units, normalize, magnitude, _SHAPES["square"], "Kernel.rectangle")


@algorithm("Kernel.gaussian")
def gaussian(radius: float, sigma: float, units: str, normalize: bool, magnitude: float) -> Kernel:
    """exp(-distance² / 2 sigma²) in a square. https://developers.google.com/earth-engine/apidocs/ee-kernel-gaussian"""
    if sigma <= 0:
        raise ServiceError(f"Kernel.gaussian: 'sigma' must be positive, got {sigma}.")

    def shape(at: Offsets, radii: tuple[float, float]) -> NDArray[Any]:
        width = sigma if units == "pixels" or radius == 0 else sigma * radii[0] / radius
        return np.asarray(np.exp(-(_distance(at) ** 2) / (2 * width**2)))

    return _shaped((radius, radius), units, normalize, magnitude, shape, "Kernel.gaussian")


_EDGES: dict[str, list[list[float]]] = {
    "laplacian4": [[0, 1, 0], [1, -4, 1], [0, 1, 0]],
    "laplacian8": [[1, 1, 1], [1, -8, 1], [1, 1, 1]],
    "sobel": [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]],
    "roberts": [[1, 0], [0, -1]],
    "prewitt": [[1, 0, -1], [1, 0, -1], [1, 0, -1]],
    "compass": [[1, 1, -1], [1, -2, -1], [1, 1, -1]],
    "kirsch": [[5, -3, -3], [5, 0, -3], [5, -3, -3]],
}


def _register_edge(name: str) -> None:
    def apply(magnitude: float, normalize: bool) -> Kernel:
        return _fixed(_scaled(np.array(_EDGES[name], float), normalize, magnitude))

    apply.__doc__ = f"https://developers.google.com/earth-engine/apidocs/ee-kernel-{name}"
    algorithm(f"Kernel.{name}")(apply)


for _name in _EDGES:
    _register_edge(_name)


@algorithm("Kernel.fixed")
def fixed(width: int, height: int, weights: list[Any], x: int, y: int, normalize: bool) -> Kernel:
    """Given weights, row by row; the centre pixel is the middle one, or at (x, y). https://developers.google.com/earth-engine/apidocs/ee-kernel-fixed"""
    if not all(isinstance(row, list) for row in weights):
        raise ServiceError("Kernel.fixed: 'weights' must be rows of numbers, all of one length.")
    lengths = {len(row) for row in weights}
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for row in weights for v in row)
    if len(lengths) != 1 or 0 in lengths or not numbers:
        raise ServiceError("Kernel.fixed: 'weights' must be rows of numbers, all of one length.")
    rows, columns = len(weights), lengths.pop()
    if (width not in (-1, columns)) or (height not in (-1, rows)) or max(rows, columns) > _LARGEST:
        raise ServiceError(f"Kernel.fixed: {height} rows of {width} weights were said, {rows} of {columns} given.")
    if not -1 <= x < columns or not -1 <= y < rows:
        raise ServiceError(f"Kernel.fixed: the centre ({x}, {y}) is outside the kernel of {columns} by {rows}.")
    values = _scaled(np.array(weights, float), normalize, 1.0)
    return _fixed(values, None if y == -1 else y, None if x == -1 else x)


@algorithm("Kernel.rotate")
def rotate(kernel: Any, rotations: int) -> Kernel:
    """Turned clockwise by quarters. https://developers.google.com/earth-engine/apidocs/ee-kernel-rotate"""
    inner, turns = as_kernel(kernel, "Kernel.rotate"), rotations % 4

    def on(grid: Grid) -> Weights:
        found = inner.on(grid)
        rows, columns = found.values.shape
        marked = np.zeros((rows, columns), bool)
        marked[found.row, found.column] = True
        ((row, column),) = np.argwhere(np.rot90(marked, -turns)).tolist()
        return Weights(np.rot90(found.values, -turns), row, column)

    return Kernel(on)


@algorithm("Kernel.inverse")
def inverse(kernel: Any) -> Kernel:
    """Each weight w as 1 / w, 0 as 0. https://developers.google.com/earth-engine/apidocs/ee-kernel-inverse"""
    inner = as_kernel(kernel, "Kernel.inverse")

    def on(grid: Grid) -> Weights:
        found = inner.on(grid)
        values = np.divide(1.0, found.values, out=np.zeros_like(found.values), where=found.values != 0)
        return Weights(values, found.row, found.column)

    return Kernel(on)


@algorithm("Kernel.add")
def add(kernel1: Any, kernel2: Any, normalize: bool) -> Kernel:
    """The sum, centre on centre. https://developers.google.com/earth-engine/apidocs/ee-kernel-add"""
    parts = [as_kernel(kernel, "Kernel.add") for kernel in (kernel1, kernel2)]

    def on(grid: Grid) -> Weights:
        found = [part.on(grid) for part in parts]
        up, down, left, right = (max(sides) for sides in zip(*(weights.margins for weights in found), strict=True))
        total = np.zeros((up + down + 1, left + right + 1))
        for weights in found:
            row, column = up - weights.row, left - weights.column
            rows, columns = weights.values.shape
            total[row : row + rows, column : column + columns] += weights.values
        return Weights(_scaled(total, normalize, 1.0), up, left)

    return Kernel(on)
