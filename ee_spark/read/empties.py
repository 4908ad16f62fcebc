"""Why tiles of a dataset are empty, of any version that wrote it: its tables say so, and where its tiles lie."""

from __future__ import annotations

from collections import Counter

import pyarrow.compute as pc

from ee_spark.read.canvas import PLACE
from ee_spark.read.clip import clip_of, pixels_inside
from ee_spark.read.rows import Rows
from ee_spark.status import Emptiness, TileStatus, why_empty


def empty_reasons(rows: Rows) -> dict[str, int]:
    """Return how many empty tiles of a selection are so for each reason; one that none has is left out."""
    tiles = rows.tiles([*PLACE, "status", "error_class"])
    tiles = tiles.filter(pc.equal(tiles["status"], TileStatus.EMPTY))
    lost = bool(rows.manifest.identity.get("region.clip")) and clip_of(rows) is None
    outside = [None if lost else not count for count in pixels_inside(rows, tiles).tolist()]
    found = Counter(
        why_empty(said, outside=out) for said, out in zip(tiles["error_class"].to_pylist(), outside, strict=True)
    )
    return {str(one): found[one] for one in Emptiness if found[one]}
