"""Folders and files below a root, opened one by one and through no link; new files under names that nobody can guess.

Every step is taken from the descriptor of the folder before it, so what is checked is what is used: a folder that
somebody replaces by a link meanwhile leads nowhere else. The root itself, and what lies above it, may be links.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from ee_spark.errors import StoreError
from ee_spark.objects.names import temporary

WALK = os.O_DIRECTORY | getattr(os, "O_PATH", os.O_RDONLY)
LISTED = os.O_DIRECTORY | os.O_RDONLY
_LINKED = {errno.ELOOP, errno.ENOTDIR, errno.EMLINK}  # what opening a link is refused with, by the system's taste


@contextmanager
def root_folder(root: Path, *, make: bool = False) -> Iterator[int]:
    """Yield the descriptor of a root, which is made where it is not there."""
    try:
        at = os.open(root, WALK)
    except FileNotFoundError:
        if not make:
            raise
        root.mkdir(parents=True, exist_ok=True)
        at = os.open(root, WALK)
    try:
        yield at
    finally:
        os.close(at)


@contextmanager
def folder(at: int, path: str, *, make: bool = False, listed: bool = False) -> Iterator[int]:
    """Yield the descriptor of the folder ``path`` below ``at``; ``listed``: one that can be listed and synced.

    Raises:
        OSError: if it is not there, and is not to be made.
        StoreError: if it, or one above it, is a link.
    """
    parts = path.split("/") if path else ["."]
    held = os.dup(at)
    try:
        for index, part in enumerate(parts):
            flags = LISTED if listed and index == len(parts) - 1 else WALK
            below = _enter(held, part, flags, make=make)
            os.close(held)
            held = below
        yield held
    finally:
        os.close(held)


def _enter(at: int, name: str, flags: int, *, make: bool) -> int:
    try:
        return os.open(name, flags | os.O_NOFOLLOW, dir_fd=at)
    except FileNotFoundError:
        if not make:
            raise
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=at)
        return _enter(at, name, flags, make=False)
    except OSError as error:
        _refuse_link(at, name, error)
        raise


@contextmanager
def regular_file(at: int, name: str) -> Iterator[int]:
    """Yield the descriptor of a file in the folder ``at``, open for reading.

    Raises:
        OSError: if it is not there, or cannot be read.
        StoreError: if it is a link, a device, or anything but a file.
    """
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at)
    except OSError as error:
        _refuse_link(at, name, error)
        raise
    try:
        mode = os.fstat(file).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(mode):
            raise StoreError(f"{name} is not a regular file; find out who put it there, and remove it")
        yield file
    finally:
        os.close(file)


def new_file(
    at: int, chunks: Iterable[bytes | memoryview], *, mark: Literal["", "ee-spark-"] = "", sync: bool = False
) -> str:
    """Write a file of a new, unguessable name in the folder ``at``, which nothing has yet; return the name.

    Its mode is what the umask gives. Nothing is left of it if it cannot be written.
    """
    name = temporary(mark)
    handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666, dir_fd=at)
    try:
        with os.fdopen(handle, "wb", buffering=0) as file:
            for chunk in chunks:
                left = memoryview(chunk)
                while left:
                    left = left[file.write(left) :]
            if sync:
                os.fsync(file.fileno())
    except BaseException:
        remove(at, name)
        raise
    return name


def remove(at: int, name: str) -> None:
    """Remove a file, or a link itself, if it is there."""
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=at)


def status(at: int, name: str) -> os.stat_result | None:
    """Return what the system knows of a name, never of what a link leads to; None if there is nothing."""
    try:
        return os.stat(name, dir_fd=at, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _refuse_link(at: int, name: str, error: OSError) -> None:
    found = status(at, name) if error.errno in _LINKED else None
    if found is not None and stat.S_ISLNK(found.st_mode):
        raise StoreError(
            f"{name} is a link, and inside a dataset none is followed; move the whole dataset and link its root instead"
        ) from None
