"""The Image value: lazy bands that are evaluated on whatever grid a request asks for.

Evaluation is pull-based, as in Earth Engine: every input is asked for on the output's grid, nearest neighbour.
https://developers.google.com/earth-engine/guides/scale
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..errors import ServiceError
from .band import Band, Canvas
from .block import BlockCache
from .geometry import Geometry
from .grid import Grid, Pixels
from .limit import BANDS, too_large

STRIP = 1 << 18
"""Pixels evaluated at a time: bounds the memory of a deep stack whatever the size of the reply."""


@dataclass(frozen=True, eq=False)
class Image:
    """An ordered set of bands with properties; `id` and `version` only for a stored image as loaded.

    `info` is what getInfo says of the image as it was loaded, where that was recorded: nothing made of it has any.
    """

    bands: tuple[Band, ...] = ()
    properties: Mapping[str, Any] = field(default_factory=dict)
    geometry: Geometry | None = None
    id: str | None = None
    version: int | None = None
    info: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if len(self.bands) > BANDS:
            raise too_large()

    @property
    def names(self) -> list[str]:
        """The band names in order."""
        return [band.name for band in self.bands]

    def with_bands(self, bands: Iterable[Band]) -> Image:
        """The same metadata with other bands."""
        return Image(tuple(bands), self.properties, self.geometry, self.id, self.version)

    def with_properties(self, properties: Mapping[str, Any]) -> Image:
        """The same bands with other properties."""
        return Image(self.bands, dict(properties), self.geometry, self.id, self.version)

    def described_as(self, info: Mapping[str, Any]) -> Image:
        """The same image, of which getInfo says `info`."""
        return replace(self, info=info)

    def evaluate(self, grid: Grid, cache: BlockCache) -> list[Pixels]:
        """Compute every band on `grid`, strip by strip of at most `STRIP` pixels."""
        rows = max(1, STRIP // grid.width)
        if rows >= grid.height:
            canvas = Canvas(grid, cache)
            return [canvas.pixels(band) for band in self.bands]
        results = [(np.empty(grid.shape, b.type.dtype), np.empty(grid.shape, np.float32)) for b in self.bands]
        for start in range(0, grid.height, rows):
            stop = min(start + rows, grid.height)
            canvas = Canvas(grid.rows(start, stop), cache, grid.centre)
            for (values, mask), band in zip(results, self.bands, strict=True):
                values[start:stop], mask[start:stop] = canvas.pixels(band)
        return list(results)


def first_band(image: Image, operation: str) -> Band:
    """The first band, or a 400 when there is none."""
    if not image.bands:
        raise ServiceError(f"{operation}: Image has no bands.")
    return image.bands[0]


def matching(image: Image, selector: Any, operation: str) -> list[Band]:
    """The bands that a selector picks; a 400 with the service's text when nothing matches."""
    if isinstance(selector, (int, float)) and not isinstance(selector, bool):
        position = int(selector)
        if not -len(image.bands) <= position < len(image.bands):
            raise ServiceError(
                f"{operation}: Band index {position} is out of range: the image has {len(image.bands)} bands."
            )
        return [image.bands[position]]
    if not isinstance(selector, str):
        raise ServiceError(f"{operation}: Band selector must be a name, a pattern or an index, got {selector!s:.60}.")
    exact = [band for band in image.bands if band.name == selector]
    if exact:
        return exact
    if not image.bands:
        raise ServiceError(f"{operation}: Band pattern '{selector}' was applied to an Image with no bands.")
    try:
        pattern = re.compile(selector)
    except re.error as error:
        raise ServiceError(f"{operation}: Bad band pattern '{selector}': {error}.") from error
    found = [band for band in image.bands if pattern.fullmatch(band.name)]
    if not found:
        listed = ", ".join(image.names)
        raise ServiceError(
            f"{operation}: Band pattern '{selector}' did not match any bands. Available bands: [{listed}]"
        )
    return found


def appended(bands: Iterable[Band], added: Iterable[Band], overwrite: bool) -> list[Band]:
    """Bands with more behind them; a name that is taken gets a number, or the band is replaced with `overwrite`."""
    result = {band.name: band for band in bands}
    for band in added:
        name, number = band.name, 1
        while name in result and not overwrite:
            name, number = f"{band.name}_{number}", number + 1
        result[name] = band.renamed(name)
    return list(result.values())
