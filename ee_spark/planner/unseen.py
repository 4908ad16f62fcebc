"""Points that no image covers: counted, named, and refused where longitude and latitude are swapped."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ee_spark.boundary import shortened
from ee_spark.errors import JobError
from ee_spark.job import JobConfig
from ee_spark.planner.chunk import Pairs
from ee_spark.planner.crs import Ints
from ee_spark.planner.frozen import Note
from ee_spark.planner.points import Points

NAMED = 3
"""Points that a note names."""

log = logging.getLogger(__name__)


def unseen(points: Points, pairs: Pairs) -> Ints:
    """Return the indices of the points that no pair of a plan is for."""
    seen = np.zeros(len(points.ids), bool)
    seen[pairs.row] = True
    return np.flatnonzero(~seen)


def check_seen(config: JobConfig, points: Points, pairs: Pairs, seen: Callable[[Points], bool]) -> list[Note]:
    """Say how many points no image covers; ``seen`` tells of other points whether an image covers one of them.

    Raises:
        JobError: if no image covers any point, and the source is one asset, or covers them with longitude and latitude
            swapped. A collection may well have no image on one day.
    """
    without = unseen(points, pairs)
    if not len(without):
        return []
    names = shortened(", ".join(points.ids[index] for index in without[:NAMED].tolist()))
    if len(without) == len(points.ids):
        source, other = config.source, swapped(points)
        turned = other is not None and seen(other)
        if source.asset or turned:
            lon, lat = float(points.lon[0]), float(points.lat[0])
            hint = "; are lon and lat swapped?" if turned else "; write points within it, or another source"
            raise JobError(
                f"region.points: none of {len(points.ids):,} points, the first at lon {lon:g}, lat {lat:g}, lies in "
                f"{'asset' if source.asset else 'an image of'} {shortened(source.name)}{hint}"
            )
        log.warning("no image covers any of the %d points", len(points.ids))
    value = f"{len(without):,} of {len(points.ids):,} without image"
    return [("points", value, f"e.g. {names}: no image covers them, so they get no rows")]


def swapped(points: Points) -> Points | None:
    """Return the points with longitude and latitude swapped; None where those would be no places."""
    if (np.abs(points.lon) > 90).any():
        return None
    return replace(points, lon=points.lat, lat=points.lon)
