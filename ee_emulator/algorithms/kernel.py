"""Kernels: the weights of a neighbourhood. https://developers.google.com/earth-engine/apidocs/ee-kernel-square

A radius is the greatest distance from the centre pixel's centre. In metres it is measured on the pixels of the output,
at the true scale of its projection.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ServiceError
from ..evaluation.registry import algorithm
from ..values.grid import Grid
from ..values.kernel import LARGEST, SHAPES, Kernel, Offsets, Weights, distance_of, fixed_weights, scaled, sized


def _register_shape(name: str) -> None:
    def apply(radius: float, units: str, normalize: bool, magnitude: float) -> Kernel:
        return sized((radius, radius), units, normalize, magnitude, SHAPES[name], f"Kernel.{name}")

    apply.__doc__ = f"https://developers.google.com/earth-engine/apidocs/ee-kernel-{name}"
    algorithm(f"Kernel.{name}")(apply)


for _name in SHAPES:
    _register_shape(_name)


@algorithm("Kernel.rectangle")
def rectangle(x_radius: float, y_radius: float, units: str, normalize: bool, magnitude: float) -> Kernel:
    """A rectangle. https://developers.google.com/earth-engine/apidocs/ee-kernel-rectangle"""
    return sized((x_radius, y_radius), units, normalize, magnitude, SHAPES["square"], "Kernel.rectangle")


@algorithm("Kernel.gaussian")
def gaussian(radius: float, sigma: float, units: str, normalize: bool, magnitude: float) -> Kernel:
    """exp(-distance² / 2 sigma²) in a square. https://developers.google.com/earth-engine/apidocs/ee-kernel-gaussian"""
    if sigma <= 0:
        raise ServiceError(f"Kernel.gaussian: 'sigma' must be positive, got {sigma}.")

    def shape(at: Offsets, radii: tuple[float, float]) -> NDArray[Any]:
        width = sigma if units == "pixels" or radius == 0 else sigma * radii[0] / radius
        return np.asarray(np.exp(-(distance_of(at) ** 2) / (2 * width**2)))

    return sized((radius, radius), units, normalize, magnitude, shape, "Kernel.gaussian")


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
        return fixed_weights(scaled(np.array(_EDGES[name], float), normalize, magnitude))

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
    if (width not in (-1, columns)) or (height not in (-1, rows)) or max(rows, columns) > LARGEST:
        raise ServiceError(f"Kernel.fixed: {height} rows of {width} weights were said, {rows} of {columns} given.")
    if not -1 <= x < columns or not -1 <= y < rows:
        raise ServiceError(f"Kernel.fixed: the centre ({x}, {y}) is outside the kernel of {columns} by {rows}.")
    values = scaled(np.array(weights, float), normalize, 1.0)
    return fixed_weights(values, None if y == -1 else y, None if x == -1 else x)


@algorithm("Kernel.rotate")
def rotate(kernel: Kernel, rotations: int) -> Kernel:
    """Turned clockwise by quarters. https://developers.google.com/earth-engine/apidocs/ee-kernel-rotate"""
    turns = rotations % 4

    def on(grid: Grid) -> Weights:
        found = kernel.on(grid)
        rows, columns = found.values.shape
        marked = np.zeros((rows, columns), bool)
        marked[found.row, found.column] = True
        ((row, column),) = np.argwhere(np.rot90(marked, -turns)).tolist()
        return Weights(np.rot90(found.values, -turns), row, column)

    return Kernel(on)


@algorithm("Kernel.inverse")
def inverse(kernel: Kernel) -> Kernel:
    """Each weight w as 1 / w, 0 as 0. https://developers.google.com/earth-engine/apidocs/ee-kernel-inverse"""

    def on(grid: Grid) -> Weights:
        found = kernel.on(grid)
        values = np.divide(1.0, found.values, out=np.zeros_like(found.values), where=found.values != 0)
        return Weights(values, found.row, found.column)

    return Kernel(on)


@algorithm("Kernel.add")
def add(kernel1: Kernel, kernel2: Kernel, normalize: bool) -> Kernel:
    """The sum, centre on centre. https://developers.google.com/earth-engine/apidocs/ee-kernel-add"""
    parts = (kernel1, kernel2)

    def on(grid: Grid) -> Weights:
        found = [part.on(grid) for part in parts]
        up, down, left, right = (max(sides) for sides in zip(*(weights.margins for weights in found), strict=True))
        total = np.zeros((up + down + 1, left + right + 1))
        for weights in found:
            row, column = up - weights.row, left - weights.column
            rows, columns = weights.values.shape
            total[row : row + rows, column : column + columns] += weights.values
        return Weights(scaled(total, normalize, 1.0), up, left)

    return Kernel(on)
