"""Files and folders that appear under their name when they are whole, or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """Give a path in a scratch folder beside ``path``; what is made there is renamed to ``path`` at the end.

    It replaces a file, or an empty folder. Nothing is left of what failed, nor of anything else in that scratch folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".ee-spark-", dir=path.parent))
    try:
        yield scratch / path.name
        if path.is_dir():
            path.rmdir()
        os.replace(scratch / path.name, path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
