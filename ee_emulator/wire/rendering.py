"""From an image and the body of a pixel request to a file: bands, visualization, grid and limits, then the pixels.

https://developers.google.com/earth-engine/reference/rest/v1/projects.image/computePixels
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import ServiceError
from ..evaluation.visualization import BYTE, Style, visualized
from ..values.block import BlockCache
from ..values.grid import Grid
from ..values.image import Image
from .format import PICTURES, PIXEL_FORMATS, THUMBNAIL_FORMATS, File, Part, encode
from .request import check_size, choose_bands, output_grid
from .style import style_of

Admission = Callable[[int], None]
"""Gets the counted bytes of a request and may refuse it by raising ServiceError."""

_SIMPLE = 1 << 22
"""Bytes of pixels that are quickly copied."""


@dataclass(frozen=True)
class Rendering:
    """What a request asks for: images on their grids (several only for one file per band), as one file."""

    parts: tuple[tuple[Image, Grid], ...]
    file_format: str
    thumbnail: bool
    name: str

    @property
    def simple(self) -> bool:
        """True for at most a few megabytes of pixels as they are, in the CRS in which they are stored."""
        ((image, grid), *others) = self.parts
        size = grid.width * grid.height * sum(band.type.wire_dtype.itemsize for band in image.bands)
        near = all(band.projection.crs == grid.projection.crs for band in image.bands)
        return self.file_format == "NPY" and not others and near and size <= _SIMPLE

    def file(self, cache: BlockCache) -> tuple[str, File]:
        """Content type and bytes of the file."""
        parts = [Part(image.bands, image.evaluate(grid, cache), grid) for image, grid in self.parts]
        return encode(self.file_format, parts, nodata=self.thumbnail, name=self.name)


def prepare(
    image: Image, body: dict[str, Any], operation: str, admit: Admission, *, thumbnail: bool = False
) -> Rendering:
    """Check a request against the service's rules and limits; no pixel is computed yet. A 400 says what is wrong.

    `operation` begins the message about an image without bands. A thumbnail without a style is stretched by its type;
    other pictures need a style or bands of 8 bits. Only a thumbnail may leave its format out.
    """
    known = THUMBNAIL_FORMATS if thumbnail else PIXEL_FORMATS
    file_format = body.get("fileFormat") or ("AUTO_JPEG_PNG" if thumbnail else "IMAGE_FILE_FORMAT_UNSPECIFIED")
    if not isinstance(file_format, str) or file_format not in known:
        raise ServiceError(f"Invalid value at 'fileFormat': '{file_format!s:.60}'; use one of {', '.join(known)}.")
    chosen = choose_bands(image, body, operation)
    options = body.get("visualizationOptions")
    if options:
        chosen = visualized(chosen, style_of(options), "Image.visualize")
    elif file_format in PICTURES:
        chosen = _pictured(chosen, file_format, thumbnail)
    name = body.get("filenamePrefix") or _stem(image)
    if not isinstance(name, str):
        raise ServiceError("Invalid value at 'filenamePrefix': expected a string.")
    if file_format == "ZIPPED_GEO_TIFF_PER_BAND":
        single = [chosen.with_bands([band]) for band in chosen.bands]
        parts = tuple((part, output_grid(part, body)) for part in single)
    else:
        parts = ((chosen, output_grid(chosen, body)),)
    admit(check_size([(part.bands, grid) for part, grid in parts]))
    return Rendering(parts, file_format, thumbnail, name)


def _pictured(image: Image, file_format: str, thumbnail: bool) -> Image:
    """Bands that can be shown as they are; for a thumbnail the first three (or the only one), stretched by type."""
    if thumbnail:
        shown = image.with_bands(image.bands[: 3 if len(image.bands) > 2 else 1])
        return visualized(shown, Style(), "Image.visualize")
    if len(image.bands) not in (1, 3) or any(band.type.dtype != BYTE.dtype for band in image.bands):
        raise ServiceError(
            f"fileFormat {file_format} needs one or three bands of 8 bits, or visualizationOptions; the image has "
            f"{', '.join(f'{band.name}: {band.type.dtype.name}' for band in image.bands)[:200]}."
        )
    return image


def _stem(image: Image) -> str:
    return image.id.rpartition("/")[2] if image.id else "download"
