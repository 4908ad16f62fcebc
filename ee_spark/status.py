"""How a run ends, and what becomes of its tiles: the words that stand in reports and tables."""

from __future__ import annotations

from enum import StrEnum


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
