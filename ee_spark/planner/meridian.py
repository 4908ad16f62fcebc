"""Rings that go on beyond ±180°, cut there."""

from __future__ import annotations

import numpy as np

from ee_spark.planner.crs import Floats

SLACK = 1e-9
"""Degrees, a tenth of a millimetre: what is nearer to ±180° lies on it."""


def within_180(ring: Floats) -> list[Floats]:
    """Return the parts of a closed ring between ±180°, each as a closed ring."""
    parts = [ring]
    for limit, sign in ((-180.0, 1.0), (180.0, -1.0)):
        parts = [piece for part in parts for piece in _beyond(part, limit, sign)]
    return parts


def _beyond(ring: Floats, limit: float, sign: float) -> list[Floats]:
    """Return the parts of a closed ring where ``sign`` × longitude exceeds a limit.

    Where it is cut they are closed along the meridian, from one crossing to its neighbour, so that parts that lie apart
    stay apart.
    """
    depth = sign * (ring[:, 0] - limit)
    depth[np.abs(depth) < SLACK] = 0
    if (depth >= 0).all():
        return [ring] if (depth > 0).any() else []
    if (depth <= 0).all():
        return []
    return _closed(_chains(ring, depth, limit))


def _chains(ring: Floats, depth: Floats, limit: float) -> list[list[list[float]]]:
    """Return the stretches of a closed ring where ``depth`` is positive, from crossing to crossing."""
    start = int(np.flatnonzero(depth[:-1] < 0)[0])
    order = np.r_[np.arange(start, len(ring) - 1), np.arange(start + 1)]
    ring, depth = ring[order], depth[order]
    chains: list[list[list[float]]] = []
    for index in range(1, len(ring)):
        before, now = depth[index - 1], depth[index]
        if (before > 0) != (now > 0):
            share = before / (before - now)
            crossing = [limit, float(ring[index - 1, 1] + share * (ring[index, 1] - ring[index - 1, 1]))]
            if now > 0:
                chains.append([crossing])
            else:
                chains[-1].append(crossing)
        if now > 0:
            chains[-1].append(ring[index].tolist())
    return chains


def _closed(chains: list[list[list[float]]]) -> list[Floats]:
    """Return closed rings of stretches that end on one meridian: there each crossing leads to its neighbour."""
    ends = sorted([(chain[at][1], number, at) for number, chain in enumerate(chains) for at in (0, -1)])
    partner = {}
    for one, other in zip(ends[::2], ends[1::2], strict=True):
        partner[one[1:]], partner[other[1:]] = other[1:], one[1:]
    found, left = [], set(range(len(chains)))
    while left:
        number = first = min(left)
        ring: list[list[float]] = []
        while True:
            left.discard(number)
            ring += chains[number]
            number, at = partner[number, -1]
            if at != 0 or (number != first and number not in left):
                return []
            if number == first:
                break
        closed = without_repeats(np.array([*ring, ring[0]]))
        if len(closed) > 3:
            found.append(closed)
    return found


def without_repeats(ring: Floats) -> Floats:
    """Return a ring without vertices that repeat the one before."""
    kept = np.concatenate([[True], (np.diff(ring, axis=0) != 0).any(1)])
    return np.asarray(ring[kept])
