"""What one request to Earth Engine can hold.

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
