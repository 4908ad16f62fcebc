"""Arrays of numbers. https://developers.google.com/earth-engine/apidocs/ee-array

Values only: bands of arrays are not implemented.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ServiceError, not_implemented
from ..evaluation.registry import algorithm
from ..values.array import Array, array_of


@algorithm("Array")
def array(values: Any, pixel_type: Any) -> Array:
    """An array of a list of numbers, or of lists of one length. https://developers.google.com/earth-engine/apidocs/ee-array"""
    if pixel_type is not None:
        raise not_implemented("Array with a 'pixelType'")
    return Array(array_of(values, "Array"))


@algorithm("Array.toList")
def to_list(array: Any) -> Any:
    """Nested lists. https://developers.google.com/earth-engine/apidocs/ee-array-tolist"""
    return array_of(array, "Array.toList").tolist()


@algorithm("Array.length")
def length(array: Any) -> Array:
    """The length of each axis. https://developers.google.com/earth-engine/apidocs/ee-array-length"""
    return Array(np.array(array_of(array, "Array.length").shape, np.int64))


@algorithm("Array.get")
def get(array: Any, position: list[int]) -> Any:
    """One number. https://developers.google.com/earth-engine/apidocs/ee-array-get"""
    values = array_of(array, "Array.get")
    inside = len(position) == values.ndim and all(0 <= p < n for p, n in zip(position, values.shape, strict=True))
    if not inside:
        raise ServiceError(f"Array.get: position {position} is not inside an array of shape {list(values.shape)}.")
    return values[tuple(position)].item()


@algorithm("Array.cat")
def cat(arrays: list[Any], axis: int) -> Array:
    """Arrays end to end along an axis. https://developers.google.com/earth-engine/apidocs/ee-array-cat"""
    parts = [array_of(part, "Array.cat") for part in arrays]
    while parts and any(part.ndim <= axis for part in parts):
        parts = [part[..., None] for part in parts]
    try:
        return Array(np.concatenate(parts, axis=axis))
    except (ValueError, np.exceptions.AxisError) as error:
        raise ServiceError(f"Array.cat: {error}.") from error


@algorithm("Array.slice")
def slice_(array: Any, axis: int, start: int, end: int | None, step: int) -> Array:
    """Positions along one axis. https://developers.google.com/earth-engine/apidocs/ee-array-slice"""
    values = array_of(array, "Array.slice")
    _checked_axis(values, axis, "Array.slice")
    if step < 1:
        raise ServiceError(f"Array.slice: 'step' must be positive, got {step}.")
    return Array(values[(slice(None),) * axis + (slice(start, end, step),)])


@algorithm("Array.transpose")
def transpose(array: Any, axis1: int, axis2: int) -> Array:
    """Two axes swapped. https://developers.google.com/earth-engine/apidocs/ee-array-transpose"""
    values = array_of(array, "Array.transpose")
    while values.ndim <= max(axis1, axis2) < 8:
        values = values[..., None]
    for axis in (axis1, axis2):
        _checked_axis(values, axis, "Array.transpose")
    return Array(np.swapaxes(values, axis1, axis2))


@algorithm("Array.project")
def project(array: Any, axes: list[int]) -> Array:
    """Only some axes; the others must have length 1. https://developers.google.com/earth-engine/apidocs/ee-array-project"""
    values = array_of(array, "Array.project")
    for axis in axes:
        _checked_axis(values, axis, "Array.project")
    dropped = tuple(axis for axis in range(values.ndim) if axis not in axes)
    if any(values.shape[axis] > 1 for axis in dropped):
        raise ServiceError(f"Array.project: an axis that is dropped is longer than 1: shape {list(values.shape)}.")
    return Array(np.squeeze(values, axis=dropped))


@algorithm("Array.identity")
def identity(size: int) -> Array:
    """The identity matrix. https://developers.google.com/earth-engine/apidocs/ee-array-identity"""
    if not 1 <= size <= 2000:
        raise ServiceError(f"Array.identity: 'size' must be between 1 and 2000, got {size}.")
    return Array(np.eye(size, dtype=np.int64))


@algorithm("Array.dotProduct")
def dot_product(array1: Any, array2: Any) -> Any:
    """The sum of products of two vectors. https://developers.google.com/earth-engine/apidocs/ee-array-dotproduct"""
    a, b = array_of(array1, "Array.dotProduct"), array_of(array2, "Array.dotProduct")
    if a.ndim != 1 or a.shape != b.shape:
        raise ServiceError(f"Array.dotProduct: shapes {list(a.shape)} and {list(b.shape)} are not two equal vectors.")
    return np.dot(a, b).item()


@algorithm("Array.matrixMultiply")
def matrix_multiply(left: Any, right: Any) -> Array:
    """The product of two matrices. https://developers.google.com/earth-engine/apidocs/ee-array-matrixmultiply"""
    a, b = array_of(left, "Array.matrixMultiply"), array_of(right, "Array.matrixMultiply")
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise ServiceError(f"Array.matrixMultiply: shapes {list(a.shape)} and {list(b.shape)} do not fit.")
    return Array(a @ b)


def _checked_axis(values: NDArray[Any], axis: int, operation: str) -> None:
    if not 0 <= axis < values.ndim:
        raise ServiceError(f"{operation}: axis {axis} is not an axis of an array of {values.ndim} dimensions.")
