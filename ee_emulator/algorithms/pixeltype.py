"""Pixel types as values. https://developers.google.com/earth-engine/apidocs/ee-pixeltype"""

from __future__ import annotations

from typing import Any

from ..errors import ServiceError
from ..evaluation.registry import algorithm
from ..values.pixeltype import NAMED as CASTS
from ..values.pixeltype import PixelType


@algorithm("PixelType")
def pixel_type(precision: Any, min_value: float | None, max_value: float | None, dimensions: int) -> PixelType:
    """A precision (int, float, double, or a type such as uint8) with limits. https://developers.google.com/earth-engine/apidocs/ee-pixeltype"""
    if dimensions != 0:
        raise ServiceError("PixelType of arrays is not implemented by this emulator.")
    if isinstance(precision, PixelType):
        found = precision
    elif isinstance(precision, str) and precision in CASTS:
        found = CASTS[precision]
    else:
        raise ServiceError(f"PixelType: '{precision!s:.40}' is no precision. Use one of {', '.join(CASTS)}.")
    low = found.low if min_value is None else min_value
    high = found.high if max_value is None else max_value
    if (low is None) != (high is None) or (low is not None and high is not None and low > high):
        raise ServiceError(f"PixelType: limits {low} and {high} do not fit.")
    return PixelType(found.precision, low, high)


def _register(name: str) -> None:
    def apply() -> PixelType:
        return CASTS[name]

    apply.__doc__ = f"https://developers.google.com/earth-engine/apidocs/ee-pixeltype-{name}"
    algorithm(f"PixelType.{name}")(apply)


for _name in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "float", "double"):
    _register(_name)


def as_pixel_type(value: Any, operation: str) -> PixelType:
    """A pixel type argument; a 400 for anything else."""
    if not isinstance(value, PixelType):
        raise ServiceError(f"{operation}: Parameter 'pixelType' must be of type PixelType, got {value!s:.60}.")
    return value


@algorithm("PixelType.precision")
def precision(pixel_type: Any) -> str:
    """int, float or double. https://developers.google.com/earth-engine/apidocs/ee-pixeltype-precision"""
    return as_pixel_type(pixel_type, "PixelType.precision").precision


@algorithm("PixelType.minValue")
def min_value(pixel_type: Any) -> float | None:
    """The least value. https://developers.google.com/earth-engine/apidocs/ee-pixeltype-minvalue"""
    return as_pixel_type(pixel_type, "PixelType.minValue").low


@algorithm("PixelType.maxValue")
def max_value(pixel_type: Any) -> float | None:
    """The greatest value. https://developers.google.com/earth-engine/apidocs/ee-pixeltype-maxvalue"""
    return as_pixel_type(pixel_type, "PixelType.maxValue").high


@algorithm("PixelType.dimensions")
def dimensions(pixel_type: Any) -> int:
    """0: pixels are numbers here. https://developers.google.com/earth-engine/apidocs/ee-pixeltype-dimensions"""
    as_pixel_type(pixel_type, "PixelType.dimensions")
    return 0
