"""A file of this machine as the user names it: read whole, but never without end."""

from __future__ import annotations

import os
import select
import stat
import time
from pathlib import Path

MOST_BYTES = 4 << 30
"""Bytes of any file that a job names."""
SIBLINGS = (".shx", ".dbf", ".prj", ".cpg")
"""What lies beside a shapefile."""
_PIPE_SECONDS = 5.0
"""How long a pipe may say nothing."""


def read_file(path: Path, most: int = MOST_BYTES) -> bytes:
    """Return a regular file's bytes, or what is written into a pipe.

    Raises:
        OSError, ValueError: if it cannot be read, has more bytes, is something else, or nobody writes into it.
    """
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe that nobody writes to opens too
    try:
        status = os.fstat(number)
        if stat.S_ISFIFO(status.st_mode):
            data = _read_pipe(number, most)
        elif stat.S_ISREG(status.st_mode):
            if status.st_size > most:
                raise ValueError(f"it has {status.st_size:,} bytes, and at most {most:,} are read")
            with open(number, "rb", closefd=False) as file:
                data = file.read(most + 1)
        else:
            raise ValueError(f"it is a {'directory' if stat.S_ISDIR(status.st_mode) else 'device'}; name a file")
    finally:
        os.close(number)
    if len(data) > most:
        raise ValueError(f"it has more than {most:,} bytes")
    return data


def beside(path: str, suffix: str) -> str:
    """Return the name of what lies beside a file of another suffix, in capitals where the file's is."""
    stem, _, own = path.rpartition(".")
    return f"{stem}{suffix.upper() if own.isupper() else suffix}"


def siblings_of(path: Path) -> list[Path]:
    """Return what lies beside a shapefile of this machine; nothing of other files."""
    if path.suffix.lower() != ".shp":
        return []
    return [found for suffix in SIBLINGS if (found := Path(beside(str(path), suffix))).exists()]


def _read_pipe(number: int, most: int) -> bytes:
    data, until = bytearray(), time.monotonic() + _PIPE_SECONDS
    ready = select.poll()
    ready.register(number, select.POLLIN)
    while len(data) <= most:
        events = ready.poll(100)
        if events and events[0][1] & select.POLLIN:
            part = os.read(number, 1 << 20)
            if not part and data:
                break
            data += part
            until = time.monotonic() + _PIPE_SECONDS
        elif events and data:  # all writers have gone
            break
        elif time.monotonic() > until:
            raise ValueError(f"it is a pipe into which nobody wrote for {_PIPE_SECONDS:g} s")
        elif events:
            time.sleep(0.05)
    return bytes(data)
