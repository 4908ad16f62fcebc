"""Pixel types: a precision and a range, and the numpy dtype that Earth Engine stores them in.

https://developers.google.com/earth-engine/apidocs/ee-pixeltype
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

_RANK = {"int": 0, "float": 1, "double": 2}
_INT_DTYPES = ("u1", "u2", "u4", "i1", "i2", "i4")
_FLOAT32_INTEGERS = 2**24
"""Whole numbers up to here are exact in 32-bit floats."""


@dataclass(frozen=True)
class PixelType:
    """`precision` is int, float or double; `low` and `high` bound the values (None: unbounded, not for int)."""

    precision: str
    low: float | None = None
    high: float | None = None

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype the values are computed in: the smallest of u1 u2 u4 i1 i2 i4 that holds the range, else i8."""
        return _dtype(self)

    @property
    def wire_dtype(self) -> np.dtype[Any]:
        """The dtype of a reply: as `dtype`, but 64-bit integers travel as doubles."""
        dtype = _dtype(self)
        return np.dtype("<f8") if dtype.kind == "i" and dtype.itemsize == 8 else dtype

    def union(self, other: PixelType) -> PixelType:
        """The type that holds the values of both; ints too wide for a 32-bit float make a float a double."""
        if self == other:
            return self
        precision = max(self.precision, other.precision, key=_RANK.__getitem__)
        if precision == "float":
            for side in (self, other):
                if side.precision == "int" and max(abs(_low(side)), abs(_high(side))) > _FLOAT32_INTEGERS:
                    precision = "double"
        low = None if self.low is None or other.low is None else min(self.low, other.low)
        high = None if self.high is None or other.high is None else max(self.high, other.high)
        return PixelType(precision, low, high)

    def cast(self, values: NDArray[Any], source: PixelType) -> NDArray[Any]:
        """Convert `values` of type `source`: to integers by truncation, clamped to this range; NaN becomes 0.

        https://developers.google.com/earth-engine/apidocs/ee-image-touint8
        """
        dtype = self.dtype
        if dtype.kind == "f":
            return values.astype(dtype, copy=False)
        low, high = _low(self), _high(self)
        if source.precision == "int" and low <= _low(source) and _high(source) <= high:
            return values.astype(dtype, copy=False)
        if values.dtype.kind in "iub":
            bounds = np.iinfo(values.dtype) if values.dtype.kind != "b" else np.iinfo(np.uint8)
            clipped = np.clip(values, max(int(low), bounds.min), min(int(high), bounds.max))
            return np.asarray(clipped, dtype)
        whole = np.nan_to_num(np.trunc(values), nan=0.0, posinf=float(high), neginf=float(low))
        top = float(high) if high < 2**63 - 1 else 2.0**63 - 1024  # the largest double below 2**63
        return np.asarray(np.clip(whole, float(low), top), dtype)

    def describe(self) -> dict[str, object]:
        """The form of getInfo: `{"type": "PixelType", "precision", "min", "max"}`."""
        info: dict[str, object] = {"type": "PixelType", "precision": self.precision}
        if self.low is not None and self.high is not None:
            info["min"], info["max"] = self.low, self.high
        return info

    def resource(self) -> dict[str, object]:
        """The form of the REST resource: `{"precision": "INT", "range": {"min", "max"}}`, zeros left out."""
        info: dict[str, object] = {"precision": self.precision.upper()}
        if self.low is not None and self.high is not None:
            info["range"] = {k: v for k, v in (("min", self.low), ("max", self.high)) if v}
        return info


def _low(pixel_type: PixelType) -> float:
    return -np.inf if pixel_type.low is None else pixel_type.low


def _high(pixel_type: PixelType) -> float:
    return np.inf if pixel_type.high is None else pixel_type.high


@lru_cache(maxsize=4096)
def _dtype(pixel_type: PixelType) -> np.dtype[Any]:
    if pixel_type.precision == "float":
        return np.dtype("<f4")
    if pixel_type.precision == "double":
        return np.dtype("<f8")
    for name in _INT_DTYPES:
        bounds = np.iinfo(name)
        if bounds.min <= _low(pixel_type) and _high(pixel_type) <= bounds.max:
            return np.dtype("<" + name)
    return np.dtype("<i8")


def of_dtype(dtype: np.dtype[Any]) -> PixelType:
    """The full-range pixel type of a raster's dtype; complex rasters are a ValueError."""
    if dtype.kind in "iu":
        bounds = np.iinfo(dtype)
        return PixelType("int", int(bounds.min), int(bounds.max))
    if dtype.kind == "f":
        return FLOAT if dtype.itemsize <= 4 else DOUBLE
    raise ValueError(f"dtype {dtype} has no Earth Engine pixel type")


def of_number(value: float) -> PixelType:
    """The type of a constant: an int with that one value where 64 bits hold it, else a double."""
    if -(2**63) <= value < 2**63 and value == int(value):
        return PixelType("int", int(value), int(value))
    return PixelType("double", float(value), float(value))


BOOLEAN = PixelType("int", 0, 1)
FLOAT = PixelType("float")
DOUBLE = PixelType("double")
INT64 = PixelType("int", -(2**63), 2**63 - 1)

_INTEGERS = {
    "uint8": (0, 2**8 - 1),
    "int8": (-(2**7), 2**7 - 1),
    "uint16": (0, 2**16 - 1),
    "int16": (-(2**15), 2**15 - 1),
    "uint32": (0, 2**32 - 1),
    "int32": (-(2**31), 2**31 - 1),
    "int64": (-(2**63), 2**63 - 1),
}
NAMED: dict[str, PixelType] = {name: PixelType("int", low, high) for name, (low, high) in _INTEGERS.items()}
NAMED |= {"byte": NAMED["uint8"], "short": NAMED["int16"], "int": NAMED["int32"], "long": NAMED["int64"]}
NAMED |= {"float": FLOAT, "double": DOUBLE}
"""Pixel types by the names of the casts."""
