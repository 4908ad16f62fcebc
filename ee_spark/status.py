"""How a run ends, and what becomes of its tiles: the words that stand in reports and tables."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """How a run ended."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    FAILED = "failed"
    CHANGED = "changed"
    STOPPED = "stopped"


class TileStatus(StrEnum):
    """What became of a planned tile of an image in a run.

    ``ok`` and ``empty`` are committed: they stand in a part. ``skipped`` were committed before, ``missing`` were not
    reached. Only the first three stand in ``tiles``.
    """

    OK = "ok"
    EMPTY = "empty"
    FAILED = "failed"
    SKIPPED = "skipped"
    MISSING = "missing"


class Emptiness(StrEnum):
    """Why a tile is empty: no band has a valid pixel in it.

    ``no_image``: ``map`` gave no image (null), or the period is without any. ``outside_clip``: no pixel of the
    tile (margins left out) has its centre in the job's clip. ``masked``: the image has only masked pixels there.
    """

    MASKED = "masked"
    NO_IMAGE = "no_image"
    OUTSIDE_CLIP = "outside_clip"
    UNKNOWN = "unknown"


DROPPED = "dropped"
"""The ``error_class`` of a tile that is empty as there is no image."""

_REASONS = {
    Emptiness.MASKED: "masked",
    Emptiness.NO_IMAGE: "without an image",
    Emptiness.OUTSIDE_CLIP: "outside the clip",
    Emptiness.UNKNOWN: "for a reason that was not noted",
}


def why_empty(error_class: str | None, *, outside: bool | None) -> Emptiness:
    """Return why an empty tile is so; ``outside``: whether it lies outside the job's clip, None if nobody knows."""
    if error_class == DROPPED:
        return Emptiness.NO_IMAGE
    if outside is None:
        return Emptiness.UNKNOWN
    return Emptiness.OUTSIDE_CLIP if outside else Emptiness.MASKED


def empty_counts(reasons: Mapping[str, int]) -> str:
    """Return counts of empty tiles by their reason for people: ``20 masked, 4 without an image``."""
    return ", ".join(f"{reasons[one]:,} {text}" for one, text in _REASONS.items() if reasons.get(one))


IN_TILES = (TileStatus.OK, TileStatus.EMPTY, TileStatus.FAILED)
"""What the column ``status`` of ``tiles`` holds."""


def tile_counts(report: Mapping[str, Any]) -> str:
    """Return a report's counts of tiles for people: ``1,024 ok, 0 empty, …``."""
    return ", ".join(f"{report[status]:,} {status}" for status in TileStatus)
