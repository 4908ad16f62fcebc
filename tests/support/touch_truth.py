"""Which tiles an image touches, by shapely and pyproj: its raster, and its footprint with geodesics cut very fine."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyproj
import shapely

Tile = tuple[int, int]
SINUSOIDAL = "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs"
GEOD = pyproj.Geod(a=6378137, b=6378137)  # the service's edges are the shortest ways on a sphere
HALF = 0.5  # pixels: what reaches less far into a tile holds no pixel centre of it


def crs_of(name: str) -> pyproj.CRS:
    """Return a CRS by the service's name."""
    return pyproj.CRS(SINUSOIDAL if name == "SR-ORG:6974" else name)


@dataclass(frozen=True)
class Grid:
    """A lattice of square pixels from the origin of its CRS, and tiles on it of ``side`` pixels."""

    crs: str
    size: float
    side: int

    def pixels(self, shape: Any, crs: Any) -> Any:
        """Return a shape of another CRS, cut as fine as it is, in pixels: column and row."""
        transform = pyproj.Transformer.from_crs(crs, crs_of(self.crs), always_xy=True).transform

        def turn(places: Any) -> Any:
            x, y = transform(places[:, 0], places[:, 1])
            return np.column_stack([np.asarray(x) / self.size, -np.asarray(y) / self.size])

        return shapely.make_valid(shapely.transform(shape, turn))

    def tiles(self, shape: Any, inset: float) -> set[Tile]:
        """Return the (row, column) of tiles that a shape in pixels meets further in than ``inset`` pixels."""
        found: set[Tile] = set()
        for part in shapely.get_parts(shape):
            if part.area == 0:
                continue
            left, top, right, bottom = part.bounds
            columns = np.arange(int(left // self.side), int(right // self.side) + 1)
            rows = np.arange(int(top // self.side), int(bottom // self.side) + 1)
            c, r = (axis.ravel() for axis in np.meshgrid(columns, rows))
            low = np.stack([c, r]) * self.side
            boxes = shapely.box(*(low + inset), *(low + self.side - inset))
            shapely.prepare(part)
            meets = shapely.intersects(part, boxes)
            found |= {(int(a), int(b)) for a, b in zip(r[meets], c[meets], strict=True)}
        return found


def raster(band: dict[str, Any]) -> Any:
    """Return the outline of a band's raster in its own CRS, its sides cut into 400."""
    affine, size = band["grid"]["affineTransform"], band["grid"]["dimensions"]
    a, b, x, c, d, y = (
        affine.get(key, 0) for key in ("scaleX", "shearX", "translateX", "shearY", "scaleY", "translateY")
    )
    w, h = size["width"], size["height"]
    corners = np.array([(0, 0), (w, 0), (w, h), (0, h), (0, 0)])
    share = np.linspace(0, 1, 400, endpoint=False)[:, None]
    places = np.concatenate([p + (q - p) * share for p, q in itertools.pairwise(corners)])
    return shapely.Polygon(places @ np.array([[a, c], [b, d]]) + (x, y))


def footprint(geometry: dict[str, Any]) -> Any:
    """Return a footprint in lon/lat, its edges geodesics of a sphere cut to 1 km, unless it says that they are not.

    Longitudes go on beyond ±180°.
    """
    kind, places = geometry["type"], geometry.get("coordinates")
    if kind == "GeometryCollection":
        areas = [one for one in geometry["geometries"] if one["type"] not in ("Point", "LineString")]
        return shapely.union_all([footprint(one) for one in areas])
    forms: dict[str, Any] = {"LinearRing": [[places]], "Polygon": [places], "MultiPolygon": places}
    polygons = forms[kind]
    straight = geometry.get("geodesic") is False
    rings = [[_ring(ring, straight=straight) for ring in polygon] for polygon in polygons]
    return shapely.union_all([shapely.make_valid(shapely.Polygon(one[0], one[1:])) for one in rings])


def _ring(ring: Any, *, straight: bool) -> Any:
    places = [(float(x), float(y)) for x, y, *_ in ring]
    if places[0] != places[-1]:
        places.append(places[0])
    if straight:
        return shapely.get_coordinates(shapely.segmentize(shapely.LinearRing(places), 0.01))
    lon, lat = [places[0][0]], [places[0][1]]
    for (x1, y1), (x2, y2) in itertools.pairwise(places):
        length = GEOD.inv(x1, y1, x2, y2)[2]
        inner = GEOD.npts(x1, y1, x2, y2, max(1, int(length / 1000)))
        for x, y in [*inner, (x2, y2)]:
            lon.append(lon[-1] + (x - lon[-1] + 180) % 360 - 180)
            lat.append(y)
    return np.column_stack([lon, lat])


def grown(shape: Any, metres: float) -> tuple[Any, Any]:
    """Return a shape of lon/lat grown by a distance on the ground, and the CRS in which it is."""
    west, south, east, north = shape.bounds
    middle = f"+proj=aeqd +lat_0={(south + north) / 2} +lon_0={(west + east) / 2} +units=m +ellps=WGS84"
    transform = pyproj.Transformer.from_crs("OGC:CRS84", middle, always_xy=True).transform
    there = shapely.transform(shape, lambda p: np.column_stack(transform(p[:, 0], p[:, 1])))
    return shapely.segmentize(shapely.make_valid(there).buffer(metres, quad_segs=32), 2000), pyproj.CRS(middle)
