"""Lengths and areas on the WGS 84 ellipsoid, in metres, for arrays of longitudes and latitudes in degrees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAJOR = 6378137.0
FLATTENING = 1 / 298.257223563
_MINOR = MAJOR * (1 - FLATTENING)
_E2 = FLATTENING * (2 - FLATTENING)
_E = _E2**0.5
_ROUNDS = 60


def equal_area(lons: NDArray[Any], lats: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The Lambert cylindrical projection of the ellipsoid: areas in it are areas on the ground (Snyder 1987, 3-12)."""
    sine = np.sin(np.radians(lats))
    q = (1 - _E2) * (sine / (1 - _E2 * sine**2) + np.arctanh(_E * sine) / _E)
    return np.asarray(MAJOR * np.radians(lons)), np.asarray(MAJOR / 2 * q)


def ring_area(lons: NDArray[Any], lats: NDArray[Any]) -> float:
    """The area inside a closed ring whose edges are straight in longitude and latitude.

    Each edge is followed by Gauss's quadrature of the equal-area y over longitude: exact to a few square metres in a
    hemisphere.
    """
    nodes, weights = np.polynomial.legendre.leggauss(12)
    share = (nodes + 1) / 2
    start, stop = lats[:-1, None], lats[1:, None]
    _, y = equal_area(np.zeros(1), start + (stop - start) * share)
    width = np.radians(np.diff(lons)) * MAJOR
    return float(abs(((y * weights).sum(axis=1) / 2 * width).sum()))


@dataclass(frozen=True)
class _Line:
    """Shortest lines between points, on the sphere of reduced latitudes that Vincenty's formulas are about.

    `turn` is the longitude there from the first end, `sin_a` the sine of the azimuth at the equator, `sigma` the arc.
    """

    u0: NDArray[Any]
    u1: NDArray[Any]
    turn: NDArray[Any]
    sin_a: NDArray[Any]
    cos2_a: NDArray[Any]
    sin_s: NDArray[Any]
    cos_s: NDArray[Any]
    middle: NDArray[Any]

    @property
    def sigma(self) -> NDArray[Any]:
        return np.asarray(np.arctan2(self.sin_s, self.cos_s))

    @property
    def c(self) -> NDArray[Any]:
        return np.asarray(FLATTENING / 16 * self.cos2_a * (4 + FLATTENING * (4 - 3 * self.cos2_a)))


def _solved(lon0: Any, lat0: Any, lon1: Any, lat1: Any) -> _Line:
    u0, u1 = (np.arctan((1 - FLATTENING) * np.tan(np.radians(np.asarray(v, float)))) for v in (lat0, lat1))
    span = np.radians(np.asarray(lon1, float) - np.asarray(lon0, float))
    span = (span + np.pi) % (2 * np.pi) - np.pi
    sin0, cos0, sin1, cos1 = np.sin(u0), np.cos(u0), np.sin(u1), np.cos(u1)
    turn = span
    with np.errstate(all="ignore"):
        for _ in range(_ROUNDS):
            sin_s = np.hypot(cos1 * np.sin(turn), cos0 * sin1 - sin0 * cos1 * np.cos(turn))
            cos_s = sin0 * sin1 + cos0 * cos1 * np.cos(turn)
            sigma = np.arctan2(sin_s, cos_s)
            sin_a = np.where(sin_s > 0, cos0 * cos1 * np.sin(turn) / np.where(sin_s > 0, sin_s, 1), 0)
            cos2_a = 1 - sin_a**2
            middle = np.where(cos2_a > 0, cos_s - 2 * sin0 * sin1 / np.where(cos2_a > 0, cos2_a, 1), 0)
            c = FLATTENING / 16 * cos2_a * (4 + FLATTENING * (4 - 3 * cos2_a))
            inner = sigma + c * sin_s * (middle + c * cos_s * (2 * middle**2 - 1))
            before, turn = turn, span + (1 - c) * FLATTENING * sin_a * inner
            if np.all(np.abs(turn - before) < 1e-13):
                break
    return _Line(u0, u1, turn, sin_a, cos2_a, sin_s, cos_s, middle)


def distance(lon0: Any, lat0: Any, lon1: Any, lat1: Any) -> NDArray[Any]:
    """The length of the shortest line between points, by Vincenty's inverse formula; to a millimetre but for antipodes.

    T. Vincenty, Survey Review 23 (1975) 88-93.
    """
    line = _solved(lon0, lat0, lon1, lat1)
    sin_s, cos_s, middle = line.sin_s, line.cos_s, line.middle
    u2 = line.cos2_a * (MAJOR**2 - _MINOR**2) / _MINOR**2
    a = 1 + u2 / 16384 * (4096 + u2 * (u2 * (320 - 175 * u2) - 768))
    b = u2 / 1024 * (256 + u2 * (u2 * (74 - 47 * u2) - 128))
    third = b / 6 * middle * (4 * sin_s**2 - 3) * (4 * middle**2 - 3)
    shift = b * sin_s * (middle + b / 4 * (cos_s * (2 * middle**2 - 1) - third))
    return np.asarray(_MINOR * a * (line.sigma - shift))


def along(
    lon0: NDArray[Any], lat0: NDArray[Any], lon1: NDArray[Any], lat1: NDArray[Any], share: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Longitude and latitude of the points of shortest lines at a `share` of their arcs, from 0 to 1.

    Longitudes go on from `lon0`, past ±180 where the line crosses it. The formulas are Vincenty's, as in `distance`.
    """
    line = _solved(lon0, lat0, lon1, lat1)
    bearing = np.arctan2(
        np.cos(line.u1) * np.sin(line.turn),
        np.cos(line.u0) * np.sin(line.u1) - np.sin(line.u0) * np.cos(line.u1) * np.cos(line.turn),
    )
    arc = line.sigma * share
    sin0, cos0, sin_arc, cos_arc = np.sin(line.u0), np.cos(line.u0), np.sin(arc), np.cos(arc)
    across = np.hypot(line.sin_a, sin0 * sin_arc - cos0 * cos_arc * np.cos(bearing))
    lat = np.arctan2(sin0 * cos_arc + cos0 * sin_arc * np.cos(bearing), (1 - FLATTENING) * across)
    turned = np.arctan2(sin_arc * np.sin(bearing), cos0 * cos_arc - sin0 * sin_arc * np.cos(bearing))
    begun = np.arctan2(np.tan(line.u0), np.cos(bearing))  # the arc from the equator to the first end
    middle = np.cos(2 * begun + arc)
    inner = arc + line.c * sin_arc * (middle + line.c * cos_arc * (2 * middle**2 - 1))
    lon = turned - (1 - line.c) * FLATTENING * line.sin_a * inner
    return np.asarray(lon0) + np.degrees(lon), np.degrees(lat)
