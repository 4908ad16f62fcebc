"""Files and folders that appear under their name when they are whole, or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ee_spark.boundary import shortened
from ee_spark.errors import JobError, one_line


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """Give a path in a scratch folder beside ``path``; what is made there is renamed to ``path`` at the end.

    It replaces a file, or an empty folder. Nothing is left of what failed, nor of anything else in that scratch folder.

    Raises:
        JobError: if ``path`` cannot be written.
    """
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".ee-spark-", dir=path.parent))
    try:
        yield scratch / path.name
        with _writing(path):
            if path.is_dir():
                path.rmdir()
            os.replace(scratch / path.name, path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # the latter for a NUL in a name
        why = getattr(error, "strerror", None) or one_line(error)
        raise JobError(f"--out: cannot write {shortened(path)!r}: {why}; name a place that can be written") from None
