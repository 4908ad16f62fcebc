"""Casts of images. https://developers.google.com/earth-engine/apidocs/ee-image-cast"""

from __future__ import annotations

from typing import Any

from ..errors import ServiceError
from ..image import Band, Canvas, Image
from ..pixeltype import DOUBLE, FLOAT, PixelType
from ..raster import Pixels
from .registry import algorithm

_INTEGERS = {
    "uint8": (0, 2**8 - 1),
    "int8": (-(2**7), 2**7 - 1),
    "uint16": (0, 2**16 - 1),
    "int16": (-(2**15), 2**15 - 1),
    "uint32": (0, 2**32 - 1),
    "int32": (-(2**31), 2**31 - 1),
    "int64": (-(2**63), 2**63 - 1),
}
CASTS: dict[str, PixelType] = {name: PixelType("int", low, high) for name, (low, high) in _INTEGERS.items()}
CASTS |= {"byte": CASTS["uint8"], "short": CASTS["int16"], "int": CASTS["int32"], "long": CASTS["int64"]}
CASTS |= {"float": FLOAT, "double": DOUBLE}
"""Pixel types by the names of the casts."""


def cast_band(band: Band, pixel_type: PixelType) -> Band:
    """The band converted to another type: truncated and clamped for integers."""

    def read(canvas: Canvas) -> Pixels:
        values, mask = canvas.pixels(band)
        return pixel_type.cast(values, band.type), mask

    return band.derived(pixel_type, read)


def _register_cast(name: str, pixel_type: PixelType) -> None:
    def apply(value: Image) -> Image:
        return value.with_bands(cast_band(band, pixel_type) for band in value.bands)

    apply.__doc__ = f"https://developers.google.com/earth-engine/apidocs/ee-image-{name.lower()}"
    algorithm(f"Image.{name}")(apply)


for _name, _type in CASTS.items():
    _register_cast(_name, _type)
    _register_cast(f"to{_name.capitalize()}", _type)


@algorithm("Image.cast")
def cast(image: Image, band_types: dict[str, Any], band_order: list[str] | None) -> Image:
    """Some or all bands cast by name. https://developers.google.com/earth-engine/apidocs/ee-image-cast"""
    missing = [name for name in band_types if name not in image.names]
    if missing:
        raise ServiceError(f"Image.cast: Bands {missing} are not in the image. Available bands: {image.names}")
    bands = {b.name: cast_band(b, _named(band_types[b.name])) if b.name in band_types else b for b in image.bands}
    if band_order is not None and sorted(band_order) != sorted(bands):
        raise ServiceError(f"Image.cast: Parameter 'bandOrder' must list exactly the bands {list(bands)}.")
    return image.with_bands(bands[name] for name in band_order or bands)


def _named(wanted: Any) -> PixelType:
    if isinstance(wanted, PixelType):
        return wanted
    if isinstance(wanted, str) and wanted in CASTS:
        return CASTS[wanted]
    raise ServiceError(f"Image.cast: '{wanted}' is no pixel type. Use one of {', '.join(CASTS)}.")
