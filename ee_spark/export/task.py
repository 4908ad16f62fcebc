"""What an export is made of: tasks that stand alone, each of which writes one file or folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

TIFF = (".tif", ".tiff")
"""How a path ends that is one mosaic, not a folder of them."""
Advance = Callable[[int], None]
"""Called with the number of blocks that were written since the last call."""


class Task(Protocol):
    """A part of an export that stands alone; a value that can be pickled and run elsewhere."""

    @property
    def path(self) -> Path:
        """The file or folder that it writes."""

    @property
    def blocks(self) -> int:
        """How many blocks it writes."""

    def run(self, advance: Advance) -> dict[str, Any]:
        """Write it and say what was written: at least ``path`` and ``blocks``."""
