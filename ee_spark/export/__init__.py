"""A dataset in other programs' formats: rasters, cubes, training records. Files appear whole, or not at all."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ee_spark.boundary import SHOWN, shortened
from ee_spark.errors import ReadError, one_line
from ee_spark.export.split import Split
from ee_spark.export.task import TIFF, Advance, Task
from ee_spark.objects import Settings, is_local, local_path, open_store
from ee_spark.objects.names import segment
from ee_spark.objects.place import check_folder
from ee_spark.read.dataset import Dataset
from ee_spark.store.bounds import damage

__all__ = ["FORMATS", "Advance", "Meter", "Options", "Task", "export", "run", "tasks"]

FORMATS = {
    "geotiff": "a mosaic of each image",
    "cog": "a cloud-optimised mosaic of each image",
    "zarr": "one Zarr v3 group (time, y, x)",
    "tfrecord": "tf.Example records, one per block",
    "npz": "NumPy archives of stacked blocks",
}
SHOW_SECONDS = 1.0


@dataclass(frozen=True)
class Options:
    """How an export is told to be.

    ``split`` deals blocks to sets by place (TFRecord, NPZ); ``lossy`` allows values that float32 rounds (TFRecord).
    """

    split: Split | None = None
    lossy: bool = False


def tasks(dataset: Dataset, to: str, out: str, options: Options | None = None) -> list[Task]:
    """Return what an export to ``out`` comes to: a path, ``file://``, ``gs://`` or ``s3://`` (reached as the dataset).

    It is checked that the format can represent the selection.

    Raises:
        ReadError: if it cannot, with the reason and the way out.
    """
    options = options or Options()
    if to not in FORMATS:
        raise ReadError(f"--to: no format {to!r}; write one of {', '.join(FORMATS)}")
    dataset.check_decided()
    if options.split and to not in ("tfrecord", "npz"):
        raise ReadError(f"--split: {to} is one picture of the ground, which has no sets; split tfrecord or npz")
    here = is_local(out, "--out")
    if to not in ("geotiff", "cog"):
        _refuse_taken(out, dataset.settings)
    if here and Path(out).suffix.lower() in TIFF and to in ("geotiff", "cog"):
        check_folder(local_path(out, "--out").parent, "--out")
    else:
        open_store(out, dataset.settings, "--out")
    with damage(dataset.path):
        if here:
            return list(_tasks(dataset, to, local_path(out, "--out"), options))
        from ee_spark.export.remote import remote

        name = Path(out.partition("://")[2].partition("/")[2].strip("/") or segment(dataset.manifest.name))
        return list(remote(_tasks(dataset, to, name, options), out, dataset.settings))


def _tasks(dataset: Dataset, to: str, path: Path, options: Options) -> Iterator[Task]:
    if to in ("geotiff", "cog"):
        from ee_spark.export.geotiff import mosaics

        yield from mosaics(dataset, path, cloud_optimised=to == "cog")
    elif to == "zarr":
        from ee_spark.export.zarr import cube

        yield cube(dataset, path)
    else:
        from ee_spark.export.records import shards

        yield shards(dataset, path, to, options.split, lossy=options.lossy)


def export(dataset: Dataset, to: str, out: str, options: Options | None = None) -> list[dict[str, Any]]:
    """Write the selection of a dataset to ``out`` and return what was written, one mapping per file or group.

    ``to`` is one of :data:`FORMATS`.

    Raises:
        ReadError: if the format cannot represent the selection, or nothing is selected.
    """
    return list(run(tasks(dataset, to, out, options), quiet=True))


def run(tasks: Sequence[Task], *, quiet: bool = False) -> Iterator[dict[str, Any]]:
    """Run tasks one after the other, here, and yield what each wrote; unless ``quiet``, progress goes to stderr."""
    meter = Meter(sum(task.blocks for task in tasks), quiet=quiet)
    for task in tasks:
        with damage(f"what {task.path} is made of"):
            done = task.run(meter)
        yield done
    meter.end()


class Meter:
    """Says on stderr how far an export is, about once a second."""

    def __init__(self, total: int, *, quiet: bool = False) -> None:
        self._total, self._done, self._quiet = total, 0, quiet
        self._started = self._shown = time.monotonic()

    def __call__(self, blocks: int) -> None:
        """Count blocks that were written."""
        self._done += blocks
        now = time.monotonic()
        if not self._quiet and now - self._shown >= SHOW_SECONDS:
            self._shown = now
            self._show("\r" if sys.stderr.isatty() else "\n")

    def end(self) -> None:
        """Show the last state."""
        if not self._quiet:
            self._show("\n")

    def _show(self, end: str) -> None:
        seconds = max(1e-3, time.monotonic() - self._started)
        text = f"{self._done:,}/{self._total:,} blocks  {self._done / max(1, self._total):4.0%}  "
        sys.stderr.write(f"{text}{self._done / seconds:,.0f}/s{end}")
        sys.stderr.flush()


def _refuse_taken(out: str, settings: Settings) -> None:
    """Refuse a directory, or a folder of a bucket, that holds something already."""
    if is_local(out, "--out"):
        path = local_path(out, "--out")
        try:
            taken = path.exists() and (not path.is_dir() or any(path.iterdir()))
        except (OSError, ValueError) as error:
            raise ReadError(f"--out: {shortened(out)!r} cannot be written: {one_line(error, SHOWN)}") from None
    else:
        taken = bool(open_store(out, settings, "--out").list(""))
    if taken:
        raise ReadError(
            f"--out: {out} is there already; an export of many files is written to a new or empty directory"
        )
