"""Functions of one stored Landsat image: f(image) -> image, server-side."""

import ee


def clear_ndvi(image: ee.Image) -> ee.Image:
    """NDVI where Fmask says clear (0); water, shadow, snow, cloud and no data are masked."""
    ndvi = image.normalizedDifference(["nir", "red"]).rename("NDVI")
    return ndvi.updateMask(image.select("fmask").eq(0))
