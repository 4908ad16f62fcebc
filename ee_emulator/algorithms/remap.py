"""Values replaced by values: tables, polynomials, piecewise lines. https://developers.google.com/earth-engine/apidocs/ee-image-remap"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from ..errors import ServiceError, not_implemented
from ..evaluation.argument import image_of
from ..evaluation.registry import algorithm
from ..values import mask as masks
from ..values.band import Band, Canvas
from ..values.grid import Pixels
from ..values.image import Image, first_band, matching
from ..values.pixeltype import DOUBLE, PixelType, of_number
from .arithmetic import unary


@algorithm("Image.remap")
def remap(image: Image, from_: list[Any], to: list[Any], default_value: Any, band_name: str | None) -> Image:
    """One band `remapped`: values of one list become those of another, any other value the default, or masked.

    https://developers.google.com/earth-engine/apidocs/ee-image-remap
    """
    operation = "Image.remap"
    if len(from_) != len(to) or not from_:
        raise ServiceError(f"{operation}: the lists must have one length, got {len(from_)} and {len(to)} values.")
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in (*from_, *to)):
        raise ServiceError(f"{operation}: the lists must hold numbers.")
    band = first_band(image, operation) if band_name is None else matching(image, band_name, operation)[0]
    other: Band | None = None
    if default_value is not None:
        default = image_of(default_value)
        if default is None or len(default.bands) != 1:
            raise ServiceError(f"{operation}: Parameter 'defaultValue' must be a number or an image of one band.")
        other = default.bands[0]
    kind = of_number(to[0])
    for value in to:
        kind = kind.union(of_number(value))
    if other is not None:
        kind = kind.union(other.type)
    # the last of repeated values wins, as in a table that is filled in order
    table = dict(zip(map(float, from_), to, strict=True))
    keys = np.array(sorted(table))
    targets = np.array([table[key] for key in keys.tolist()]).astype(kind.dtype)

    def read(canvas: Canvas) -> Pixels:
        values, mask = canvas.pixels(band)
        at = np.minimum(np.searchsorted(keys, values), len(keys) - 1)
        known = keys[at] == values
        if other is None:
            return np.where(known, targets[at], targets.dtype.type(0)), masks.both(mask, known)
        filled, valid = canvas.pixels(other)
        found = np.where(known, targets[at], kind.cast(filled, other.type))
        return found, np.where(known, mask, masks.both(mask, valid))

    return image.with_bands([band.derived(kind, read).renamed("remapped")])


@algorithm("Image.polynomial")
def polynomial(image: Image, coefficients: list[float]) -> Image:
    """The polynomial with the given coefficients, the constant first. https://developers.google.com/earth-engine/apidocs/ee-image-polynomial"""

    def typing(a: PixelType) -> PixelType:
        return DOUBLE

    return unary(image, typing, lambda v: np.polynomial.polynomial.polyval(v.astype(np.float64), coefficients or [0]))


@algorithm("Image.interpolate")
def interpolate(image: Image, x: list[float], y: list[float], behavior: str) -> Image:
    """A piecewise line through (x, y) of the first band; beyond its ends `extrapolate`, `clamp`, `input` or `mask`.

    https://developers.google.com/earth-engine/apidocs/ee-image-interpolate
    """
    operation = "Image.interpolate"
    if len(x) != len(y) or len(x) < 2 or any(b <= a for a, b in pairwise(x)):
        raise ServiceError(f"{operation}: 'x' must increase strictly and have as many values as 'y', at least two.")
    if behavior not in ("extrapolate", "clamp", "input", "mask"):
        raise ServiceError(f"{operation}: Unknown behavior '{behavior:.60}'.")
    band = first_band(image, operation)
    xs, ys = np.array(x, float), np.array(y, float)

    def read(canvas: Canvas) -> Pixels:
        pixels, mask = canvas.pixels(band)
        values = pixels.astype(np.float64)
        outside = (values < xs[0]) | (values > xs[-1])
        found = np.interp(values, xs, ys)
        if behavior == "extrapolate":
            low = ys[0] + (values - xs[0]) * (ys[1] - ys[0]) / (xs[1] - xs[0])
            high = ys[-1] + (values - xs[-1]) * (ys[-1] - ys[-2]) / (xs[-1] - xs[-2])
            found = np.where(values < xs[0], low, np.where(values > xs[-1], high, found))
        elif behavior == "input":
            found = np.where(outside, values, found)
        return found, masks.both(mask, ~outside) if behavior == "mask" else mask

    return image.with_bands([band.derived(DOUBLE, read)])


@algorithm("Image.unmix")
def unmix(image: Image, endmembers: list[Any], sum_to_one: bool, non_negative: bool) -> Image:
    """Fractions of endmembers by the pseudo-inverse, as double bands band_0, band_1 …

    https://developers.google.com/earth-engine/apidocs/ee-image-unmix
    """
    if sum_to_one or non_negative:
        raise not_implemented("Image.unmix with 'sumToOne' or 'nonNegative'")
    try:
        matrix = np.array(endmembers, np.float64)
    except (TypeError, ValueError):
        matrix = np.empty(0)
    if matrix.ndim != 2 or matrix.shape[1] != len(image.bands):
        raise ServiceError(f"Image.unmix: each endmember needs {len(image.bands)} numbers, one per band.")
    inverse = np.linalg.pinv(matrix.T)

    def reader(row: int) -> Any:
        def read(canvas: Canvas) -> Pixels:
            found = [canvas.pixels(band) for band in image.bands]
            values = sum(
                weight * pixels.astype(np.float64) for weight, (pixels, _) in zip(inverse[row], found, strict=True)
            )
            return np.asarray(values), masks.all_of(mask for _, mask in found)

        return read

    first = first_band(image, "Image.unmix")
    extent = masks.meet(*(band.extent for band in image.bands))
    return image.with_bands(
        Band(f"band_{row}", DOUBLE, reader(row), first.projection, extent, first.dimensions)
        for row in range(len(matrix))
    )
