"""Pixel types as values. https://developers.google.com/earth-engine/apidocs/ee-pixeltype"""

from __future__ import annotations

from typing import Any

from ..errors import ServiceError, not_implemented
from ..evaluation.registry import algorithm
from ..values.pixeltype import NAMED, PixelType


@algorithm("PixelType")
def pixel_type(precision: Any, min_value: float | None, max_value: float | None, dimensions: int) -> PixelType:
    """A precision (int, float, double, or a type such as uint8) with limits. https://developers.google.com/earth-engine/apidocs/ee-pixeltype"""
    if dimensions != 0:
        raise not_implemented("PixelType of arrays")
    if isinstance(precision, PixelType):
        found = precision
    elif isinstance(precision, str) and precision in NAMED:
        found = NAMED[precision]
    else:
        raise ServiceError(f"PixelType: '{precision!s:.40}' is not a precision. Use one of {', '.join(NAMED)}.")
    low = found.low if min_value is None else min_value
    high = found.high if max_value is None else max_value
    if (low is None) != (high is None) or (low is not None and high is not None and low > high):
        raise ServiceError(f"PixelType: limits {low} and {high} do not fit.")
    return PixelType(found.precision, low, high)


def _register(name: str) -> None:
    def apply() -> PixelType:
        return NAMED[name]

    apply.__doc__ = f"https://developers.google.com/earth-engine/apidocs/ee-pixeltype-{name}"
    algorithm(f"PixelType.{name}")(apply)


for _name in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "float", "double"):
    _register(_name)


@algorithm("PixelType.precision")
def precision(pixel_type: PixelType) -> str:
    """int, float or double. https://developers.google.com/earth-engine/apidocs/ee-pixeltype-precision"""
    return pixel_type.precision


@algorithm("PixelType.minValue")
def min_value(pixel_type: PixelType) -> float | None:
    """The least value. https://developers.google.com/earth-engine/apidocs/ee-pixeltype-minvalue"""
    return pixel_type.low


@algorithm("PixelType.maxValue")
def max_value(pixel_type: PixelType) -> float | None:
    """The greatest value. https://developers.google.com/earth-engine/apidocs/ee-pixeltype-maxvalue"""
    return pixel_type.high


@algorithm("PixelType.dimensions")
def dimensions(pixel_type: PixelType) -> int:
    """0: pixels are numbers here. https://developers.google.com/earth-engine/apidocs/ee-pixeltype-dimensions"""
    return 0
