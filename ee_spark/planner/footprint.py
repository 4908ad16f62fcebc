"""What the service says of where an image is: rings, or none, and why those take no tile away that the raster touches.

It comes in more forms than GeoJSON has: https://developers.google.com/earth-engine/reference/rest/v1/projects.assets
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from ee_spark.boundary import shortened
from ee_spark.planner.crs import Floats, Ints
from ee_spark.planner.geodesic import ring_areas, unwrapped
from ee_spark.planner.polygon import Polygon, at_both_sides

NONE_GIVEN = "none is given"
COMPUTED = "the image is computed"
_AREAS = ("LinearRing", "Polygon", "MultiPolygon", "GeometryCollection")
_DEEPEST = 8
"""Geometry collections within each other."""
_WIDEST = 90.0
"""Degrees of longitude that a scene across the antimeridian spans at most."""
_TINY = 1e-9


@dataclass(frozen=True)
class Footprints(Sequence[tuple[Polygon, ...] | None]):
    """The footprints of n images as columns; equal ones are held once.

    Image i has the footprint ``number[i]``: the polygons ``shapes[k]`` to ``shapes[k + 1]``, each of the rings
    ``polygons[j]`` to ``polygons[j + 1]``, and those of ``places`` (lon, lat in degrees, as the service says them, each
    ring closed). ``planar`` says whether edges are straight in lon/lat, else they are geodesics. ``reason`` is why a
    footprint takes no tile away, "" where it may; ``bounds`` is False where it says nothing of where the image is.
    An item is the polygons in lon/lat within ±180°, None where there are none.
    """

    number: Ints
    places: Floats
    rings: Ints
    polygons: Ints
    shapes: Ints
    planar: npt.NDArray[np.bool_]
    narrow: npt.NDArray[np.bool_]
    reason: tuple[str, ...]
    bounds: npt.NDArray[np.bool_]

    @classmethod
    def none(cls, count: int) -> Footprints:
        """Return the footprints of ``count`` computed images: there are none."""
        return Reader().footprints(np.zeros(count, np.int64), COMPUTED)

    @classmethod
    def of(cls, geometries: Sequence[dict[str, Any] | None]) -> Footprints:
        """Return the footprints that these geometries are, one for each image."""
        reader = Reader()
        return reader.footprints(np.array([reader.read(one, narrow=True) for one in geometries], np.int64))

    def __len__(self) -> int:
        return len(self.number)

    @overload
    def __getitem__(self, index: int) -> tuple[Polygon, ...] | None: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[tuple[Polygon, ...] | None]: ...
    def __getitem__(self, index: int | slice) -> tuple[Polygon, ...] | Sequence[tuple[Polygon, ...] | None] | None:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        return self.polygons_of(int(self.number[index]))

    def polygons_of(self, number: int) -> tuple[Polygon, ...] | None:
        """Return the polygons of one footprint, within ±180°; None where there are none."""
        found: list[Polygon] = []
        for polygon in range(int(self.shapes[number]), int(self.shapes[number + 1])):
            rings = range(int(self.polygons[polygon]), int(self.polygons[polygon + 1]))
            whole = tuple(self._ring(ring) for ring in rings)
            found += at_both_sides(whole, short_way=bool(self.narrow[number]))
        return tuple(found) or None

    def _ring(self, ring: int) -> Floats:
        places = self.places[self.rings[ring] : self.rings[ring + 1]]
        return (
            places if np.abs(places[:, 1]).max() <= 90 else np.column_stack([places[:, 0], places[:, 1].clip(-90, 90)])
        )

    def why_none(self) -> list[tuple[str, int, int]]:
        """Return (why, how many images, index of the first) for images whose footprint takes nothing away."""
        reasons = [self.reason[number] for number in self.number.tolist()] if any(self.reason) else []
        counts = Counter(reason for reason in reasons if reason)
        return [(why, count, reasons.index(why)) for why, count in counts.most_common()]


class Reader:
    """Reads geometries, one after the other, into one set of columns."""

    def __init__(self) -> None:
        self._places = array("d")
        self._rings = [0]
        self._polygons = [0]
        self._shapes = [0]
        self._planar: list[bool] = []
        self._narrow: list[bool] = []
        self._reason: list[str] = []

    def read(self, geometry: object, *, narrow: bool) -> int:
        """Take one geometry and return its number; whatever it is, it is read or has a reason why not.

        ``narrow``: the image's raster is that of a scene, so that an edge over ±180° is a short one.
        """
        marks = len(self._places), len(self._rings), len(self._polygons)
        reason, planar = "", {False}
        if geometry is None or geometry == {}:
            reason = NONE_GIVEN
        else:
            try:
                planar = set(self._take(geometry, 0)) or {False}
                if len(self._polygons) == marks[2]:
                    reason = "it has no area"
            except _UnreadError as error:
                reason = str(error)
        if reason:
            del self._places[marks[0] :], self._rings[marks[1] :], self._polygons[marks[2] :]
        elif len(planar) > 1:
            reason = "its edges are geodesic in one part and planar in another"
        self._shapes.append(len(self._polygons) - 1)
        self._planar.append(planar == {True})
        self._narrow.append(narrow)
        self._reason.append(reason)
        return len(self._reason) - 1

    def footprints(self, number: Ints, otherwise: str = NONE_GIVEN) -> Footprints:
        """Return what was read; ``number`` says which geometry each image has."""
        if not self._reason:
            self.read(None, narrow=False)
            self._reason[0] = otherwise
        places = np.frombuffer(self._places, np.float64).reshape(-1, 2)
        rings, polygons, shapes = (np.array(part, np.int64) for part in (self._rings, self._polygons, self._shapes))
        planar, narrow = np.array(self._planar), np.array(self._narrow)
        reason = np.array(self._reason, object)
        shape_of = np.repeat(np.arange(len(shapes) - 1), np.diff(polygons[shapes]))
        bounds = np.array([not text for text in self._reason])
        for why, rings_of in _faults(places, rings, planar[shape_of], narrow[shape_of]):
            mine = np.unique(shape_of[rings_of])
            mine = mine[reason[mine] == ""]
            reason[mine] = why
        return Footprints(number, places, rings, polygons, shapes, planar, narrow, tuple(reason.tolist()), bounds)

    def _take(self, geometry: object, depth: int) -> Iterator[bool]:
        """Take the rings of a geometry, and yield for each part whether its edges are planar."""
        if not isinstance(geometry, dict):
            raise _UnreadError(f"{shortened(geometry)} is not a geometry")
        kind = geometry.get("type")
        if depth and isinstance(kind, str) and kind not in _AREAS:
            return
        if kind not in _AREAS:
            raise _UnreadError(f"a {shortened(kind)} has no area")
        crs = geometry.get("crs")
        if crs is not None and not any(name in str(crs) for name in ("4326", "CRS84")):
            raise _UnreadError(f"it is in {shortened(crs)}, and not in degrees")
        if kind == "GeometryCollection":
            parts = geometry.get("geometries")
            if not isinstance(parts, list) or depth == _DEEPEST:
                raise _UnreadError("its geometries are not a list")
            for part in parts:
                yield from self._take(part, depth + 1)
            return
        coordinates = geometry.get("coordinates")
        polygons = {"LinearRing": [[coordinates]], "Polygon": [coordinates]}.get(str(kind), coordinates)
        for polygon in _listed(polygons):
            self._take_polygon(_listed(polygon))
        yield geometry.get("geodesic") in (False, "false")

    def _take_polygon(self, rings: list[Any]) -> None:
        before = len(self._rings)
        for index, ring in enumerate(rings):
            positions = _listed(ring)
            if len(positions) < 3 and index:
                continue  # a hole without an area cuts nothing out
            if len(positions) < 3:
                break
            places = _positions(positions)
            if (places[0] != places[-1]).any():
                places = np.vstack([places, places[:1]])
            self._places.frombytes(places.tobytes())
            self._rings.append(len(self._places) // 2)
        if len(self._rings) > before:
            self._polygons.append(len(self._rings) - 1)


class _UnreadError(Exception):
    """A geometry that cannot be read."""


def _listed(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise _UnreadError(f"its coordinates hold {shortened(value)}, and not a list")
    return value


def _positions(positions: list[Any]) -> Floats:
    try:
        found = np.array([position[:2] for position in positions], np.float64)
    except (TypeError, ValueError, OverflowError, IndexError, KeyError):
        found = np.zeros(0)
    if found.ndim != 2 or found.shape[1] != 2 or np.isnan(found).any():
        raise _UnreadError("its coordinates are not pairs of numbers")
    if np.isinf(found).any():
        raise _UnreadError(UNBOUNDED)
    if np.abs(found[:, 0]).max() > 540 or np.abs(found[:, 1]).max() > 135:
        raise _UnreadError(f"{found[np.abs(found).max(1).argmax()].tolist()} is not a place in degrees")
    return found


UNBOUNDED = "it is unbounded"


def _faults(
    places: Floats, rings: Ints, planar: npt.NDArray[np.bool_], narrow: npt.NDArray[np.bool_]
) -> Iterator[tuple[str, Ints]]:
    """Yield (why, rings) of rings that mean something else as geodesics than whoever wrote them had in mind."""
    if len(rings) < 2:
        return
    lon, lat = places[:, 0], places[:, 1]
    free, first = ~planar, rings[:-1]
    steps = np.abs(np.diff(lon, append=lon[-1]))
    steps[rings[1:] - 1] = 0.0
    widest = np.maximum.reduceat(steps, first)
    jumps = (widest >= 360 - _WIDEST) & (widest < 360 - _TINY) & narrow
    short = unwrapped(lon, rings)
    low, high = np.minimum.reduceat(short, first), np.maximum.reduceat(short, first)
    raw = np.maximum.reduceat(lon, first) - np.minimum.reduceat(lon, first)
    span = np.where(jumps, high - low, raw)
    closes = np.abs(short[rings[1:] - 1] - short[first]) < 1e-6
    yield "it touches a pole", np.flatnonzero(free & (np.maximum.reduceat(np.abs(lat), first) >= 90 - _TINY))
    yield "it spans 360°", np.flatnonzero(free & ((span >= 360 - _TINY) | ~closes))
    yield (
        "it has an edge of 180° or more",
        np.flatnonzero(free & (widest >= 180 - _TINY) & ~(jumps & (high - low < _WIDEST))),
    )
    yield "it has an edge of 180° or more", np.flatnonzero(planar & jumps)
    geodesic, straight = ring_areas(short, np.clip(lat, -90, 90), rings)
    size = np.radians(high - low) * np.radians(np.maximum.reduceat(lat, first) - np.minimum.reduceat(lat, first))
    yield "it has no area", np.flatnonzero(straight <= _TINY * size)
    yield "it encloses less than half of its planar area", np.flatnonzero(free & (geodesic < straight / 2))


def degrees_of(metres: float, lat: float) -> tuple[float, float]:
    """Return degrees of longitude and latitude that hold a distance at any latitude up to ``lat``; at most 360, 180."""
    up = metres / 110_574.0
    edge = abs(lat) + up
    around = up / math.cos(math.radians(edge)) if edge < 89.9 else 360.0
    return min(360.0, around), min(180.0, up)
