"""Points that get a patch each, and how those without an id are named."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ee_spark.planner.crs import Floats, Ints
from ee_spark.planner.polygon import Box, Polygons, bounds, box, sides

POINT_COLUMNS = ("point_id", "point_lon", "point_lat")


@dataclass(frozen=True)
class Points:
    """Places that get a patch each: n ids, longitudes, latitudes, and further columns to carry along.

    ``notes`` say what should be known of how their file was read.
    """

    ids: tuple[str, ...]
    lon: Floats
    lat: Floats
    columns: pa.Table
    notes: tuple[tuple[str, str, str], ...] = ()

    def take(self, index: Ints) -> Points:
        """Return the points at these indices."""
        columns = self.columns.take(index) if self.columns.num_columns else self.columns
        return Points(tuple(self.ids[i] for i in index.tolist()), self.lon[index], self.lat[index], columns)

    @property
    def bounds(self) -> Box:
        """West, south, east, north of all points."""
        return bounds(np.column_stack([self.lon, self.lat]))

    @property
    def boxes(self) -> tuple[Box, ...]:
        """One box around all points; two where they lie at both sides of the antimeridian."""
        return sides(np.column_stack([self.lon, self.lat, self.lon, self.lat]))

    def geojson(self) -> dict[str, Any]:
        """Return the box of the points as a GeoJSON polygon, at least a hundredth of a degree wide and high."""
        wide = []
        for west, south, east, north in self.boxes:
            x, y = max(0.0, 0.01 - (east - west)) / 2, max(0.0, 0.01 - (north - south)) / 2
            wide.append(box(max(west - x, -180.0), south - y, min(east + x, 180.0), north + y))
        return Polygons(tuple(wide)).geojson()


def point_ids(lon: Floats, lat: Floats) -> tuple[str, ...]:
    """Return an id for each point that is a function of its place alone: 16 hex digits of its coordinates' bits."""
    bits = np.column_stack([lon, lat]).astype("<f8")
    return tuple(hashlib.sha256(row.tobytes()).hexdigest()[:16] for row in bits)
