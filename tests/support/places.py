"""Where things lie in this repository."""

from __future__ import annotations

from pathlib import Path

REPO = Path(__file__).parents[2]
DATA = REPO / "ee_emulator" / "data"
"""The packaged scenes, and their catalog."""
