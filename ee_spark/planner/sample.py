"""Points drawn at random, the same ones for a seed: uniformly by area, or so many of each class of an image."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa

from ee_spark.errors import JobError
from ee_spark.objects import INPUTS, Inputs
from ee_spark.planner.area_file import read_area
from ee_spark.planner.crs import Floats
from ee_spark.planner.points import Points, point_ids
from ee_spark.planner.polygon import Box, Polygons, bounds, boxes, contains
from ee_spark.where import Sample, Within

ROUNDS = 10_000
"""Times that ``count`` places are drawn at most: polygons fill a ten-thousandth of their boxes at least."""
SOON, THIN = 3, 200_000
"""Rounds after which so many places are drawn at once, where few lay inside: is there any chance at all?"""
_THIN = "region.sample.within: its polygons fill almost nothing of their boxes; write smaller ones"


def area_of(within: Within, inputs: Inputs = INPUTS) -> Polygons:
    """Return the polygons that a sample is drawn within."""
    if within.bbox:
        return Polygons(boxes(within.bbox))
    return read_area(str(within.geojson), "region.sample.within.geojson", inputs)


def draw(sample: Sample, inputs: Inputs = INPUTS) -> Points:
    """Return ``count`` points drawn uniformly by area within the sample's box or polygons.

    Longitudes are uniform, latitudes by their sine; what falls outside a polygon is drawn again. The same seed gives
    the same points everywhere.
    """
    area = area_of(sample.within, inputs)
    rng = np.random.Generator(np.random.PCG64(sample.seed))
    weights = np.array([_box_weight(bounds(polygon[0])) for polygon in area.polygons])
    if not weights.sum() > 0:
        raise JobError("region.sample.within: its polygons have no area; write some that have")
    lon, lat = np.zeros(0), np.zeros(0)
    for turn in range(ROUNDS):
        if len(lon) >= sample.count:
            break
        if turn == SOON and len(lon) < turn * sample.count / 100 and not len(_drawn(area, weights, THIN, None)[0]):
            raise JobError(_THIN)  # no chance that the rest of the rounds suffices
        x, y = _drawn(area, weights, sample.count, rng)
        lon, lat = np.concatenate([lon, x]), np.concatenate([lat, y])
    else:
        raise JobError(_THIN)
    lon, lat = lon[: sample.count], lat[: sample.count]
    return Points(point_ids(lon, lat), lon, lat, pa.table({}))


def _drawn(area: Polygons, weights: Floats, count: int, rng: np.random.Generator | None) -> tuple[Floats, Floats]:
    """Return those of ``count`` places, drawn in the polygons' boxes, that lie inside; without ``rng`` for a look."""
    rng = rng or np.random.Generator(np.random.PCG64(0))
    which = rng.choice(len(weights), size=count, p=weights / weights.sum())
    box = np.array([bounds(polygon[0]) for polygon in area.polygons])[which]
    x = rng.uniform(box[:, 0], box[:, 2])
    sines = np.sin(np.radians(box[:, [1, 3]]))
    y = np.degrees(np.arcsin(rng.uniform(sines[:, 0], sines[:, 1])))
    inside = np.zeros(count, bool)
    for number in np.unique(which).tolist():
        mine = which == number
        inside[mine] = contains(area.polygons[number], x[mine], y[mine])
    return x[inside], y[inside]


def _box_weight(bounds: Box) -> float:
    west, south, east, north = bounds
    return (east - west) * (math.sin(math.radians(north)) - math.sin(math.radians(south)))
