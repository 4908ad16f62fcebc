"""Where: polygons in longitude and latitude, or points."""

from __future__ import annotations

from ee_spark.client import Client
from ee_spark.objects import INPUTS, Inputs
from ee_spark.planner.area_file import read_area
from ee_spark.planner.point_file import points_in, read_points
from ee_spark.planner.points import Points
from ee_spark.planner.polygon import Polygons, boxes, polygons_of
from ee_spark.planner.sample import draw
from ee_spark.planner.stratify import draw_by_class
from ee_spark.planner.table import read_table
from ee_spark.planner.typed import NOTHING_KNOWN, Known
from ee_spark.where import Inline, Region

__all__ = ["Points", "Polygons", "boxes", "draw", "load"]


def load(region: Region, client: Client, inputs: Inputs = INPUTS, known: Known = NOTHING_KNOWN) -> Polygons | Points:
    """Return what the job file's region names; ``client`` is asked for tables and for the classes of an image.

    ``known`` is what the dataset knows of the points' own columns.

    Raises:
        JobError: if a file or table cannot be read or holds something else, with its row.
    """
    if region.bbox:
        return Polygons(boxes(region.bbox))
    if isinstance(region.geojson, Inline):
        return polygons_of(region.geojson.text.encode(), "region.geojson")
    if isinstance(region.points, Inline):
        return points_in(region.points.text.encode(), "region.points", known)
    if region.geojson is not None:
        return read_area(region.geojson, "region.geojson", inputs)
    if region.points is not None:
        return read_points(region.points, inputs, known)
    if region.table:
        return read_table(region.table, client, known)
    assert region.sample is not None
    if region.sample.stratify:
        return draw_by_class(region.sample, client, inputs)
    return draw(region.sample, inputs)
