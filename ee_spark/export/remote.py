"""Exports to object storage: each file is written on this machine, and sent when it is whole."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ee_spark.export.task import Advance, Task
from ee_spark.objects import Settings, send_file

AT_ONCE = 16
"""Files sent at the same time: a Zarr group has thousands of small ones."""
LAST = "zarr.json"
"""What makes a folder a Zarr group: sent when all that it names is there."""


@dataclass(frozen=True)
class Remote:
    """A task whose file or folder goes to ``bucket``, a URL like gs://BUCKET; its ``path`` is the name in there."""

    task: Task
    bucket: str
    settings: Settings

    @property
    def path(self) -> Path:
        """The name in the bucket."""
        return self.task.path

    @property
    def blocks(self) -> int:
        """How many blocks it writes."""
        return self.task.blocks

    def run(self, advance: Advance) -> dict[str, Any]:
        """Write it here, and send it; needs room for one task in the system's temporary directory."""
        with tempfile.TemporaryDirectory(prefix="ee-spark-") as scratch:
            whole = Path(scratch) / self.path.name
            done = replace(self.task, path=whole).run(advance)  # type: ignore[type-var]
            *first, last = _files(whole)
            with ThreadPoolExecutor(AT_ONCE) as pool:
                list(pool.map(lambda file: self._send(whole, file), first))
            self._send(whole, last)
        return {**done, "path": f"{self.bucket}/{self.path}"}

    def _send(self, whole: Path, file: Path) -> None:
        send_file(file, f"{self.bucket}/{self.path / file.relative_to(whole)}", self.settings)


def remote(tasks: Iterator[Task], out: str, settings: Settings) -> Iterator[Task]:
    """Yield tasks, whose paths are names in the bucket of the URL ``out``, as tasks that write there."""
    parts = urlsplit(out)
    for task in tasks:
        yield Remote(task, f"{parts.scheme}://{parts.netloc}", settings)


def _files(whole: Path) -> list[Path]:
    """Return a file, or all files of a folder, that which makes it a group last."""
    if whole.is_file():
        return [whole]
    files = [file for file in whole.rglob("*") if file.is_file()]
    return sorted(files, key=lambda file: (file.parent == whole and file.name == LAST, file))
