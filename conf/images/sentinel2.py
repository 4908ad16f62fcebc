"""Composites of Sentinel-2: f(region, **args) -> image, server-side."""

import ee


def composite(region: ee.Geometry, date: str, months: int = 2, cloud_probability: int = 50) -> ee.Image:
    """The median, around a date, of the pixels whose cloud probability is below a limit; bands get ``_median``."""
    middle = ee.Date(date)
    start, end = middle.advance(-months / 2, "month"), middle.advance(months / 2, "month")
    images = ee.ImageCollection("COPERNICUS/S2_SR_HARMONIZED").filterBounds(region).filterDate(start, end)
    clouds = ee.ImageCollection("COPERNICUS/S2_CLOUD_PROBABILITY").filterBounds(region).filterDate(start, end)
    same_scene = ee.Filter.equals(leftField="system:index", rightField="system:index")
    joined = ee.ImageCollection(ee.Join.saveFirst("clouds").apply(images, clouds, same_scene))

    def clear(image: ee.Image) -> ee.Image:
        probability = ee.Image(image.get("clouds")).select("probability")
        return image.updateMask(probability.lt(cloud_probability))

    return joined.map(clear).reduce(ee.Reducer.median())
