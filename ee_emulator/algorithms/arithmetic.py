"""Operations on pairs of bands and on single bands: arithmetic, comparison, logic, bits.

All of one kind share their rules, which each function's documentation page states in the same words:
bands pair by position, a single band goes with every band of the other image, names come from the longer image (the
first, when they are equal), and a result is masked where either input is. Types: the union of the inputs' types, its
range widened to hold every result; comparisons and logic give int 0..1.
https://developers.google.com/earth-engine/apidocs/ee-image-add (and -subtract, -multiply, …)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ServiceError
from ..evaluation.registry import algorithm
from ..values import mask as masks
from ..values.band import Band, Canvas
from ..values.grid import Pixels
from ..values.image import Image
from ..values.pixeltype import BOOLEAN, DOUBLE, FLOAT, INT64, PixelType

Typing = Callable[[PixelType, PixelType], PixelType]
Compute = Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]


def binary(left: Image, right: Image, name: str, typing: Typing, compute: Compute, *, cast: bool = True) -> Image:
    """Apply `compute` to the matched bands; with `cast` both are converted to the result's type before.

    Nothing matches an image without bands.
    """
    if len(left.bands) != len(right.bands) and 1 not in (len(left.bands), len(right.bands)):
        raise ServiceError(
            f"{name}: Images must contain either 1 or the same number of bands. "
            f"image1: {len(left.bands)} bands, image2: {len(right.bands)} bands."
        )
    longer = right if len(right.bands) > len(left.bands) else left
    if not left.bands or not right.bands:
        longer = Image()
    bands = []
    for i, named in enumerate(longer.bands):
        first = left.bands[i if len(left.bands) > 1 else 0]
        second = right.bands[i if len(right.bands) > 1 else 0]
        bounded = second if first.extent is None and second.extent is not None else first
        pixel_type = typing(first.type, second.type)
        bands.append(
            Band(
                named.name,
                pixel_type,
                _pair_reader(first, second, pixel_type, compute, cast),
                bounded.projection,
                masks.meet(first.extent, second.extent),
                bounded.dimensions,
            )
        )
    kept = {k: v for k, v in left.properties.items() if k in ("system:index", "system:footprint")}
    return Image(tuple(bands), kept, left.geometry or right.geometry)


def _pair_reader(first: Band, second: Band, pixel_type: PixelType, compute: Compute, cast: bool) -> Any:
    dtype = pixel_type.dtype

    def read(canvas: Canvas) -> Pixels:
        (a, mask_a), (b, mask_b) = canvas.pixels(first), canvas.pixels(second)
        if cast:
            a, b = a.astype(dtype, copy=False), b.astype(dtype, copy=False)
        with np.errstate(all="ignore"):
            values = compute(a, b)
        return values.astype(dtype, copy=False), masks.both(mask_a, mask_b)

    return read


def _ranged(corners: Callable[[float, float, float, float], list[float]]) -> Typing:
    """The union of precisions with the range of the results, where both ranges are known."""

    def typing(a: PixelType, b: PixelType) -> PixelType:
        union = a.union(b)
        if a.low is None or a.high is None or b.low is None or b.high is None:
            return PixelType(union.precision)
        found = corners(a.low, a.high, b.low, b.high)
        low, high = min(found), max(found)
        if union.precision == "int" and (low < -(2**63) or high >= 2**63):
            return INT64
        return PixelType(union.precision, low, high)

    return typing


def _union(a: PixelType, b: PixelType) -> PixelType:
    return a.union(b)


def _boolean(a: PixelType, b: PixelType) -> PixelType:
    return BOOLEAN


def _floating(a: PixelType, b: PixelType) -> PixelType:
    """Float, or double where either input is one."""
    return DOUBLE if "double" in (a.precision, b.precision) else FLOAT


def _quotient(a: PixelType, b: PixelType) -> PixelType:
    """As `_floating`; the range is known where the divisor's range has one sign."""
    pixel_type = _floating(a, b)
    if a.low is None or a.high is None or b.low is None or b.high is None or b.low <= 0 <= b.high:
        return pixel_type
    found = [a.low / b.low, a.low / b.high, a.high / b.low, a.high / b.high]
    if pixel_type.precision == "float":
        found = [float(np.float32(v)) for v in found]
    return PixelType(pixel_type.precision, min(found), max(found))


def _bits(a: PixelType, b: PixelType) -> PixelType:
    """The union of integer types; of others, 64-bit integers. Negative operands keep the signed union."""
    union = a.union(b)
    if union.precision != "int":
        return INT64
    low, high = union.low or 0, union.high or 0
    bits = max(int(high).bit_length(), (-int(low) - 1).bit_length() if low < 0 else 0)
    return PixelType("int", -(2**bits) if low < 0 else 0, 2**bits - 1)


def _wide(a: PixelType, b: PixelType) -> PixelType:
    """Shifted integers may need any width up to 32 bits; beyond, 64."""
    bits = _bits(a, b)
    return INT64 if bits == INT64 else PixelType("int", -(2**31) if (bits.low or 0) < 0 else 0, 2**31 - 1)


def _divide(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(np.divide(a, b, out=np.zeros(np.broadcast_shapes(a.shape, b.shape), a.dtype), where=b != 0))


def _modulo(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """The remainder with the sign of the dividend; 0 for division by 0."""
    safe = np.where(b == 0, np.ones((), b.dtype), b)
    return np.where(b == 0, np.zeros((), a.dtype), np.fmod(a, safe))


def _first_non_zero(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    return np.where(a != 0, a, b)


def _integral(compute: Compute) -> Compute:
    """Bit operations on the whole part of the values."""
    return lambda a, b: compute(a.astype(np.int64, copy=False), b.astype(np.int64, copy=False))


def _logical(compute: Compute) -> Compute:
    return lambda a, b: compute(a != 0, b != 0)


_ADD = _ranged(lambda a, b, c, d: [a + c, b + d])
_SUBTRACT = _ranged(lambda a, b, c, d: [a - d, b - c])
_MULTIPLY = _ranged(lambda a, b, c, d: [a * c, a * d, b * c, b * d])

_BINARY: dict[str, tuple[Typing, Compute, bool]] = {
    "add": (_ADD, np.add, True),
    "subtract": (_SUBTRACT, np.subtract, True),
    "multiply": (_MULTIPLY, np.multiply, True),
    "divide": (_quotient, _divide, True),
    "mod": (_union, _modulo, True),
    "pow": (_floating, np.power, True),
    "atan2": (_floating, lambda a, b: np.arctan2(b, a), True),
    "hypot": (_floating, np.hypot, True),
    "max": (_union, np.maximum, True),
    "min": (_union, np.minimum, True),
    "first": (_union, lambda a, b: a, True),
    "firstNonZero": (_union, _first_non_zero, True),
    "and": (_boolean, _logical(np.logical_and), False),
    "or": (_boolean, _logical(np.logical_or), False),
    "lt": (_boolean, np.less, False),
    "lte": (_boolean, np.less_equal, False),
    "gt": (_boolean, np.greater, False),
    "gte": (_boolean, np.greater_equal, False),
    "eq": (_boolean, np.equal, False),
    "neq": (_boolean, np.not_equal, False),
    "bitwiseAnd": (_bits, _integral(np.bitwise_and), False),
    "bitwiseOr": (_bits, _integral(np.bitwise_or), False),
    "bitwiseXor": (_bits, _integral(np.bitwise_xor), False),
    "bitwise_and": (_bits, _integral(np.bitwise_and), False),
    "bitwise_or": (_bits, _integral(np.bitwise_or), False),
    "bitwise_xor": (_bits, _integral(np.bitwise_xor), False),
    "first_nonzero": (_union, _first_non_zero, True),
    "left_shift": (_wide, _integral(np.left_shift), False),
    "right_shift": (_bits, _integral(np.right_shift), False),
    "leftShift": (_wide, _integral(np.left_shift), False),
    "rightShift": (_bits, _integral(np.right_shift), False),
}


def _register_binary(operation: str, typing: Typing, compute: Compute, cast: bool) -> None:
    name = f"Image.{operation}"

    def apply(image1: Image, image2: Image) -> Image:
        return binary(image1, image2, name, typing, compute, cast=cast)

    apply.__doc__ = f"https://developers.google.com/earth-engine/apidocs/ee-image-{operation.lower()}"
    algorithm(name)(apply)


for _name, (_typing, _compute, _cast) in _BINARY.items():
    _register_binary(_name, _typing, _compute, _cast)


def unary(value: Image, typing: Callable[[PixelType], PixelType], compute: Callable[[Any], Any]) -> Image:
    """Apply `compute` to each band in its own type; names, masks and properties stay."""

    def reader(band: Band, pixel_type: PixelType) -> Any:
        def read(canvas: Canvas) -> Pixels:
            values, mask = canvas.pixels(band)
            with np.errstate(all="ignore"):
                found = compute(
                    values.astype(pixel_type.dtype, copy=False) if pixel_type.precision != "int" else values
                )
            return found.astype(pixel_type.dtype, copy=False), mask

        return read

    return value.with_bands(band.derived(typing(band.type), reader(band, typing(band.type))) for band in value.bands)


def _real(a: PixelType) -> PixelType:
    """Functions with fractional results: float stays float, anything else is double."""
    return FLOAT if a.precision == "float" else DOUBLE


def _same(a: PixelType) -> PixelType:
    return a


def _magnitude(a: PixelType) -> PixelType:
    if a.low is None or a.high is None:
        return a
    ends = (abs(a.low), abs(a.high))
    return PixelType(a.precision, 0 if a.low <= 0 <= a.high else min(ends), max(ends))


def _flipped(a: PixelType) -> PixelType:
    """The smallest signed integers that hold the complement."""
    if a.precision != "int" or a.low is None or a.high is None:
        return INT64
    return PixelType("int", -1 - a.high, -1 - a.low)


def _absolute(values: NDArray[Any]) -> NDArray[Any]:
    return np.abs(values.astype(np.int64)) if values.dtype.kind == "i" else np.abs(values)


def _half_up(values: NDArray[Any]) -> NDArray[Any]:
    return values if values.dtype.kind in "iu" else np.floor(values + 0.5)


_UNARY: dict[str, tuple[Callable[[PixelType], PixelType], Callable[[Any], Any]]] = {
    "abs": (_magnitude, _absolute),
    "not": (lambda a: BOOLEAN, lambda v: v == 0),
    "bitwiseNot": (_flipped, lambda v: ~v.astype(np.int64)),
    "bitwise_not": (_flipped, lambda v: ~v.astype(np.int64)),
    "bitCount": (lambda a: PixelType("int", 0, 64), lambda v: np.bitwise_count(v.astype(np.int64).view(np.uint64))),
    "signum": (lambda a: replace(a, low=-1, high=1), np.sign),
    "floor": (_same, np.floor),
    "ceil": (_same, np.ceil),
    "round": (_same, _half_up),
    "sqrt": (_real, np.sqrt),
    "cbrt": (_real, np.cbrt),
    "exp": (_real, np.exp),
    "log": (_real, np.log),
    "log10": (_real, np.log10),
    "sin": (_real, np.sin),
    "cos": (_real, np.cos),
    "tan": (_real, np.tan),
    "asin": (_real, np.arcsin),
    "acos": (_real, np.arccos),
    "atan": (_real, np.arctan),
    "sinh": (_real, np.sinh),
    "cosh": (_real, np.cosh),
    "tanh": (_real, np.tanh),
}


def _register_unary(operation: str, typing: Callable[[PixelType], PixelType], compute: Callable[[Any], Any]) -> None:
    def apply(value: Image) -> Image:
        return unary(value, typing, compute)

    apply.__doc__ = f"https://developers.google.com/earth-engine/apidocs/ee-image-{operation.lower()}"
    algorithm(f"Image.{operation}")(apply)


for _name, (_unary_typing, _function) in _UNARY.items():
    _register_unary(_name, _unary_typing, _function)


@algorithm("Image.clamp")
def clamp(input: Image, low: float, high: float) -> Image:
    """Values limited to [low, high]. https://developers.google.com/earth-engine/apidocs/ee-image-clamp"""
    if low > high:
        raise ServiceError(f"Image.clamp: 'low' ({low}) is above 'high' ({high}).")

    def typing(a: PixelType) -> PixelType:
        if a.precision == "int" and not (float(low).is_integer() and float(high).is_integer()):
            return PixelType("double", low, high)
        return PixelType(a.precision, low, high)

    def limited(values: NDArray[Any]) -> NDArray[Any]:
        wide = values.astype(np.int64) if values.dtype.kind in "iu" else values
        ends = (int(low), int(high)) if wide.dtype.kind == "i" else (low, high)
        return np.asarray(np.clip(wide, *ends))

    return unary(input, typing, limited)


@algorithm("Image.unitScale")
def unit_scale(input: Image, low: float, high: float) -> Image:
    """(value - low) / (high - low), not clamped. https://developers.google.com/earth-engine/apidocs/ee-image-unitscale"""
    if low == high:
        raise ServiceError(f"Image.unitScale: 'low' and 'high' are both {low}.")
    return unary(input, _real, lambda v: (v - low) / (high - low))
