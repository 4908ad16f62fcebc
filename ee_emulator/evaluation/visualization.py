"""Visualization: one or three bands as 8-bit RGB by ranges, gamma, palette and opacity.

https://developers.google.com/earth-engine/reference/rest/v1/VisualizationOptions and
https://developers.google.com/earth-engine/apidocs/ee-image-visualize. Values are rounded, halves up; a colour between
two of a palette is interpolated.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ServiceError
from ..values.band import Band, Canvas
from ..values.grid import Pixels
from ..values.image import Image
from ..values.mask import all_of, fraction
from ..values.pixeltype import PixelType

BYTE = PixelType("int", 0, 255)
"""The type of what is shown."""
Colour = tuple[int, int, int]

_NAMED = {
    "aqua": "00ffff",
    "black": "000000",
    "blue": "0000ff",
    "brown": "a52a2a",
    "cyan": "00ffff",
    "darkblue": "00008b",
    "darkgreen": "006400",
    "darkred": "8b0000",
    "fuchsia": "ff00ff",
    "gold": "ffd700",
    "gray": "808080",
    "green": "008000",
    "grey": "808080",
    "lightblue": "add8e6",
    "lightgreen": "90ee90",
    "lime": "00ff00",
    "magenta": "ff00ff",
    "maroon": "800000",
    "navy": "000080",
    "olive": "808000",
    "orange": "ffa500",
    "pink": "ffc0cb",
    "purple": "800080",
    "red": "ff0000",
    "silver": "c0c0c0",
    "tan": "d2b48c",
    "teal": "008080",
    "violet": "ee82ee",
    "white": "ffffff",
    "yellow": "ffff00",
}


@dataclass(frozen=True)
class Style:
    """How bands become colours; a range end of None is the band's default, one entry serves all bands."""

    ranges: Sequence[tuple[float | None, float | None]] = ()
    gammas: Sequence[float] = ()
    palette: Sequence[Colour] = ()
    opacity: float = 1.0
    force_rgb: bool = True


@dataclass(frozen=True)
class _Stretch:
    """Values of [low, high] to [0, 1] with a gamma."""

    low: float
    high: float
    gamma: float = field(default=1.0)

    def apply(self, values: NDArray[Any]) -> NDArray[Any]:
        wide = values.astype(np.float64)
        if self.low == self.high:
            return (wide > self.low).astype(np.float64)
        found = np.clip(np.nan_to_num((wide - self.low) / (self.high - self.low)), 0, 1)
        return found if self.gamma == 1 else np.asarray(found ** (1 / self.gamma))


def visualized(image: Image, style: Style, operation: str) -> Image:
    """The bands `vis-red`, `vis-green`, `vis-blue` (or `vis-gray`) of type uint8, masked as the image is."""
    count = len(image.bands)
    if count not in (1, 3):
        raise ServiceError(f"{operation}: Expected 1 or 3 bands, got {count}.")
    if style.palette and count != 1:
        raise ServiceError(f"{operation}: Cannot provide a palette when visualizing more than one band.")
    for name, given in (("range", style.ranges), ("gamma value", style.gammas)):
        if len(given) not in (0, 1, count):
            raise ServiceError(
                f"{operation}: {len(given)} {name}s do not fit {count} bands; give one, or one per band."
            )
    stretches = [_stretch(band, i, style) for i, band in enumerate(image.bands)]
    if style.palette:
        colours = np.array(style.palette, np.float64)
        bands = [_coloured(image.bands[0], stretches[0], colours[:, i], style.opacity, i) for i in range(3)]
    elif count == 1 and not style.force_rgb:
        bands = [_shown(image.bands[0], stretches[0], image.bands, style.opacity, "vis-gray")]
    else:
        bands = [
            _shown(image.bands[i % count], stretches[i % count], image.bands, style.opacity, name)
            for i, name in enumerate(_RGB)
        ]
    return image.with_bands(bands)


_RGB = ("vis-red", "vis-green", "vis-blue")


def _stretch(band: Band, position: int, style: Style) -> _Stretch:
    low, high = default_range(band.type)
    if style.ranges:
        given = style.ranges[position if len(style.ranges) > 1 else 0]
        low, high = (low if given[0] is None else given[0]), (high if given[1] is None else given[1])
    gamma = style.gammas[position if len(style.gammas) > 1 else 0] if style.gammas else 1.0
    return _Stretch(low, high, gamma)


def default_range(pixel_type: PixelType) -> tuple[float, float]:
    """The stretch by type where none is given: floats [0, 1], bytes [0, 255], other integers all that they hold.

    https://developers.google.com/earth-engine/guides/image_visualization
    """
    if pixel_type.precision != "int":
        return 0.0, 1.0
    bounds = np.iinfo(pixel_type.dtype)
    return float(bounds.min), float(bounds.max)


def _shown(band: Band, stretch: _Stretch, all_bands: Sequence[Band], opacity: float, name: str) -> Band:
    def read(canvas: Canvas) -> Pixels:
        values = stretch.apply(canvas.pixels(band)[0])
        mask = all_of(canvas.pixels(other)[1] for other in all_bands)
        return _bytes(values * 255), _faded(mask, opacity)

    return band.derived(BYTE, read).renamed(name)


def _coloured(band: Band, stretch: _Stretch, levels: NDArray[Any], opacity: float, position: int) -> Band:
    def read(canvas: Canvas) -> Pixels:
        values, mask = canvas.pixels(band)
        at = stretch.apply(values) * (len(levels) - 1)
        return _bytes(np.interp(at, np.arange(len(levels)), levels)), _faded(mask, opacity)

    return band.derived(BYTE, read).renamed(_RGB[position])


def _bytes(values: NDArray[Any]) -> NDArray[Any]:
    return np.floor(values + 0.5).astype(np.uint8)


def _faded(mask: NDArray[Any], opacity: float) -> NDArray[Any]:
    return mask if opacity == 1 else np.asarray(fraction(mask) * np.float32(opacity))


def colour(text: Any) -> Colour:
    """A colour of six hexadecimal digits, with or without `#`, or of a common CSS name; a 400 for another text."""
    shown = str(text).strip().lower()
    digits = _NAMED.get(shown, shown.removeprefix("#"))
    if re.fullmatch("[0-9a-f]{3}", digits):
        digits = "".join(2 * digit for digit in digits)
    if not re.fullmatch("[0-9a-f]{6}", digits):
        raise ServiceError(f"'{shown:.40}' is not a colour; write six hexadecimal digits such as ff8800.")
    red, green, blue = bytes.fromhex(digits)
    return red, green, blue
