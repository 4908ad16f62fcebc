"""A command in a child process that is forked from one that has imported all it needs, and ends as a program does."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import importlib
import os
import resource
import runpy
import sys
import tempfile
import threading
import traceback
import weakref
from collections.abc import Sequence
from pathlib import Path

from places import REPO
from wrong_inputs_place import Place, Wrong

ADDRESS_SPACE = 6 << 30
"""What a child may have beyond what it began with, so that a case that has no bound does not take the machine."""
WARM = (
    "ee_spark.cli",
    "ee_spark.dataproc.submit",
    "ee_spark.export.geotiff",
    "ee_spark.export.records",
    "ee_spark.export.zarr",
    "ee_spark.export.remote",
    "ee_spark.show.page",
    "ee_spark.show.picture",
    "ee_spark.objects.gs",
    "ee_spark.objects.s3",
    "ee_emulator.wire.server",
    "ee_emulator.wire.service",
    "ee_emulator.catalog.folder",
    "pyarrow.parquet",
    "pyarrow.dataset",
    "pyarrow.compute",
    "google.auth._default",
    "ee",
)
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER


def warm() -> None:
    """Import what the commands import, once for all cases."""
    for name in WARM:
        importlib.import_module(name)
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


def be(wrong: Wrong, place: Place, out: Path, err: Path) -> None:
    """Be the command, and end as it does."""
    code: object = 1
    try:
        os.setsid()
        atexit._clear()  # what this process has to end is not the child's
        weakref.finalize._registry.clear()  # type: ignore[attr-defined]
        weakref.finalize._registered_with_atexit = False  # type: ignore[attr-defined]
        for number, path in ((0, Path(os.devnull)), (1, out), (2, err)):
            os.dup2(os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_APPEND), number)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        for name in [name for name in os.environ if name.startswith(("EE_SPARK", "SPARK", "MASTER"))]:
            del os.environ[name]
        os.environ |= {"HOME": str(place.home), "TMPDIR": str(place.temp), "SPARK_LOCAL_IP": "127.0.0.1"}
        os.environ["PYSPARK_SUBMIT_ARGS"] = "--nonsense"  # a job that comes so far was not refused, and ends here
        tempfile.tempdir = None
        os.chdir(place.work)
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + ADDRESS_SPACE,) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        code = _ended(wrong.command)
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def _ended(command: Sequence[str]) -> object:
    """Run one of the faces of the program and return what it ends with."""
    face, *arguments = command
    try:
        if face == "ee-spark":
            from ee_spark.cli import main

            main(arguments, prog_name="ee-spark")
        elif face == "read":
            _read(*arguments)
        elif face == "submit":
            sys.argv = ["submit", *arguments]
            runpy.run_module("ee_spark.submit", run_name="__main__")
        else:
            sys.argv = [face, *arguments]
            runpy.run_path(str(REPO / face), run_name="__main__")
    except SystemExit as error:
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
        return error.code
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _read(path: str) -> None:
    """Read a dataset as a program does that uses the package: what is wrong is an error of ours, and no other."""
    from ee_spark import open_dataset
    from ee_spark.errors import EESparkError
    from ee_spark.read.canvas import canvases

    try:
        dataset = open_dataset(path)
        print(dataset.counts, dataset.tiles().num_rows, dataset.keys().num_rows, len(dataset.to_numpy()))
        for block in dataset:
            print(block.tile_id, [block.masked(band).sum() for band in block.planes])
        print(dataset.images.num_rows, [(canvas.width, canvas.wkt[:20]) for canvas in canvases(dataset)])
        print(dataset.select(time="2008-05-01", bbox=(-180, -90, 180, 90)).keys().num_rows)
    except EESparkError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
