"""What one request to Earth Engine can hold, and how much of an answer is taken.

Source: https://developers.google.com/earth-engine/reference/rest/v1/projects.image/computePixels and, for the largest
side, https://developers.google.com/earth-engine/reference/rest/v1/PixelGrid.
"""

from __future__ import annotations

MAX_BYTES = 50_331_648
"""One answer's uncompressed bytes, with one mask byte for each sample, as the service counts them."""
MAX_SIDE = 32_768
"""Pixels per side."""
MAX_BANDS = 1024
MAX_PAYLOAD = 10_485_760
"""Bytes of a request's body: "Request payload size exceeds the limit: 10485760 bytes."."""
MAX_ANSWER = MAX_BYTES * 3 // 2
"""Bytes taken of any answer that is pixels: the service's limit, and half of it for what a format adds."""
MAX_JSON = 1 << 25
"""Bytes taken of an answer that is JSON, inflated: a page of 1,000 assets or features has some 10 MB."""
MAX_ERROR = 1 << 16
"""Bytes taken of an answer that is an error."""
MAX_OBJECT = 1 << 30
"""Bytes of an object of a store that is read whole."""
MAX_RECORD = 200_000_000
"""Bytes of a record: some KB, but older versions kept a run's points in it, 60 per point; a region may be as large."""
LONGEST_ID = 1 << 13
"""Bytes of an image's id; the service's are some hundred at most."""
MAX_LISTED = 1 << 21
"""Objects of a list."""
WIDEST = 8
"""Bytes of a sample of the widest type."""
TIFF_TILE = 256
"""Pixels per side of a GeoTIFF's tiles, which are whole however small the image is."""


def answer_bytes(width: int, height: int, bands: int) -> int:
    """Return how many bytes are taken of the pixels of a window: of the widest type, in whole tiles, badly packed.

    An answer wider than its column must arrive to be told so; what is larger than this cannot be one to what was asked.
    """
    whole = -(-width // TIFF_TILE) * -(-height // TIFF_TILE) * TIFF_TILE**2
    return min(MAX_ANSWER, whole * bands * WIDEST * 3 // 2 + (1 << 20))
