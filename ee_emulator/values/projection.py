"""Projections: a coordinate system with the affine transform of its pixels.

https://developers.google.com/earth-engine/guides/projections
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from ..errors import ServiceError
from .crs import LONLAT, metres_per_unit

Affine6 = tuple[float, float, float, float, float, float]
"""scaleX, shearX, translateX, shearY, scaleY, translateY: x = scaleX*column + shearX*row + translateX."""

TERMS = ("scaleX", "shearX", "translateX", "shearY", "scaleY", "translateY")
"""The names that the REST API gives to the six numbers of a transform."""
IDENTITY: Affine6 = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@dataclass(frozen=True)
class Projection:
    """A coordinate system (`crs`: a code or WKT) with the affine transform of its pixels."""

    crs: str
    transform: Affine6 = IDENTITY

    @property
    def nominal_scale(self) -> float:
        """Metres per pixel at the true scale of the projection (the square root of a pixel's area)."""
        return math.sqrt(self.pixel_area) * metres_per_unit(self.crs)

    def at_scale(self, metres: float) -> Projection:
        """The same coordinate system with square pixels of `metres`, its origin at (0, 0)."""
        size = metres / metres_per_unit(self.crs)
        return Projection(self.crs, (size, 0.0, 0.0, 0.0, -size, 0.0))

    def pixels_at(self, xs: NDArray[Any], ys: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Column and row, with fractions, of coordinates in the coordinate system."""
        a, b, c, d, e, f = self.transform
        if b == 0 and d == 0:
            return (xs - c) / a, (ys - f) / e
        scale = a * e - b * d
        return (e * (xs - c) - b * (ys - f)) / scale, (a * (ys - f) - d * (xs - c)) / scale

    def points_at(self, columns: NDArray[Any], rows: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Coordinates in the coordinate system of columns and rows, which may have fractions."""
        a, b, c, d, e, f = self.transform
        return a * columns + b * rows + c, d * columns + e * rows + f

    @property
    def pixel_area(self) -> float:
        """The area of a pixel in square units of the coordinate system."""
        a, b, _, d, e, _ = self.transform
        return abs(a * e - b * d)

    def describe(self) -> dict[str, object]:
        """The form of getInfo."""
        key = "crs" if len(self.crs) < 40 else "wkt"
        return {"type": "Projection", key: self.crs, "transform": list(self.transform)}


WGS84 = Projection(LONLAT)


def projected(base: Projection, transform: Sequence[float] | None, scale: float | None, operation: str) -> Projection:
    """The projection that the arguments `crs`, `crsTransform` and `scale` describe."""
    if transform is not None:
        if scale is not None:
            raise ServiceError(f"{operation}: Cannot specify both 'crsTransform' and 'scale'.")
        found = Projection(base.crs, six_numbers(transform, f"{operation}: Parameter 'crsTransform'"))
        if found.pixel_area == 0:
            raise ServiceError(f"{operation}: Parameter 'crsTransform' has no area.")
        return found
    if scale is None:
        return base
    if not scale > 0:
        raise ServiceError(f"{operation}: Parameter 'scale' must be positive, got {scale}.")
    return base.at_scale(scale)


def six_numbers(values: Sequence[Any], what: str) -> Affine6:
    """A transform out of a list; a 400 that begins with `what` for anything else than six numbers."""
    if len(values) != 6 or not all(isinstance(value, (int, float)) for value in values):
        raise ServiceError(f"{what} must be a list of 6 numbers.")
    a, b, c, d, e, f = map(float, values)
    return a, b, c, d, e, f
