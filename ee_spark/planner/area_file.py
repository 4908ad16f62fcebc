"""Files of areas: GeoJSON, GeoParquet, or what pyogrio reads, as polygons in longitude and latitude."""

from __future__ import annotations

from collections.abc import Iterator

from ee_spark.boundary import reading, shortened
from ee_spark.errors import JobError
from ee_spark.objects import INPUTS, Inputs
from ee_spark.planner.opened import opened
from ee_spark.planner.polygon import Polygon, Polygons, area_of, closed, placed, polygons_of
from ee_spark.planner.vector import Features, read_geoparquet, read_vector
from ee_spark.planner.wkb import rings_in


def read_area(path: str, key: str, inputs: Inputs = INPUTS) -> Polygons:
    """Return the polygons of a file, which the job names under ``key``, taken from its CRS; others are refused.

    Raises:
        JobError: if it cannot be read, or holds no polygon or anything but polygons, with its feature.
    """
    label = f"{key}: {shortened(path)}"
    found = opened(path, inputs, key, label)
    if found.kind == "vector":
        return area_of(_polygons(read_vector(found.data, label), label), label)
    if found.kind == "parquet":
        return area_of(_polygons(read_geoparquet(found.data, label, ()), label), label)
    if found.kind == "text" and found.data.strip():
        raise JobError(
            f"{label}: it is no GeoJSON, and a text holds no polygons; write GeoJSON, or region.points for points"
        )
    return polygons_of(found.data, label)


def _polygons(features: Features, label: str) -> Iterator[Polygon]:
    for number, value in enumerate(features.geometry.to_pylist(), 1):
        if value is None:
            continue
        with reading(f"{label}: feature {number}", what="is not a polygon"):
            if not isinstance(value, bytes):
                raise ValueError("a Point has no area; write polygons, or region.points for points")
            for rings in rings_in(value):
                if rings:
                    yield from placed(tuple(closed(ring) for ring in rings), features.crs, label)
