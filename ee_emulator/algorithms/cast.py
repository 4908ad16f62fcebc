"""Casts of images. https://developers.google.com/earth-engine/apidocs/ee-image-cast"""

from __future__ import annotations

from typing import Any

from ..errors import ServiceError
from ..evaluation.registry import algorithm
from ..values.band import Band, Canvas
from ..values.grid import Pixels
from ..values.image import Image
from ..values.pixeltype import NAMED, PixelType


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


for _name, _type in NAMED.items():
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
    if isinstance(wanted, str) and wanted in NAMED:
        return NAMED[wanted]
    raise ServiceError(f"Image.cast: '{wanted}' is not a pixel type. Use one of {', '.join(NAMED)}.")
