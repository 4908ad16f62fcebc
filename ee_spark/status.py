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


IN_TILES = (TileStatus.OK, TileStatus.EMPTY, TileStatus.FAILED)
"""What the column ``status`` of ``tiles`` holds."""


def tile_counts(report: Mapping[str, Any]) -> str:
    """Return a report's counts of tiles for people: ``1,024 ok, 0 empty, …``."""
    return ", ".join(f"{report[status]:,} {status}" for status in TileStatus)
