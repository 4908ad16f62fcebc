"""Coordinates of a raster as CF 1.11 (https://cfconventions.org) and rioxarray have them: centres, grid mapping."""

from __future__ import annotations

import numpy.typing as npt

from ee_spark.planner.crs import crs_of, wkt_of
from ee_spark.read.canvas import Canvas

Coordinate = tuple[str | tuple[str, ...], npt.ArrayLike, dict[str, str]]
"""Dimensions, values and attributes."""


def raster_coordinates(canvas: Canvas) -> dict[str, Coordinate]:
    """Return x, y and spatial_ref of a raster as (dims, values, attributes)."""
    geographic = crs_of(canvas.crs).is_geographic
    names = ("longitude", "latitude") if geographic else ("projection_x_coordinate", "projection_y_coordinate")
    units = ("degrees_east", "degrees_north") if geographic else (_unit(canvas.crs),) * 2
    return {
        "y": ("y", canvas.ys, {"standard_name": names[1], "units": units[1], "axis": "Y"}),
        "x": ("x", canvas.xs, {"standard_name": names[0], "units": units[0], "axis": "X"}),
        "spatial_ref": spatial_ref(canvas.crs, canvas),
    }


def spatial_ref(crs: str, canvas: Canvas | None = None) -> Coordinate:
    """Return the grid mapping variable that CF readers, rioxarray and GDAL look for."""
    attributes = {"crs_wkt": wkt_of(crs), "spatial_ref": wkt_of(crs)}
    if canvas:
        attributes["GeoTransform"] = " ".join(repr(value) for value in canvas.gdal)
    return (), 0, attributes


def _unit(crs: str) -> str:
    name = str(crs_of(crs).linear_units)
    return {"metre": "m", "meter": "m"}.get(name, name)
