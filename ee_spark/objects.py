"""Bytes by name under one root: the only module that opens the outside's files.

A store never shows a half-written object: each publish is one atomic step that either creates the object whole or
finds the name taken. Names are relative, with ``/``.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

import pyarrow as pa

from ee_spark.errors import JobError, StoreError

TEMP = "_ee_spark/tmp"
LOCKS = "_ee_spark/locks"
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """One object of a store: its name under the root, its size in bytes, and the generation that names its content."""

    name: str
    size: int
    generation: str


class Store(Protocol):
    """What ee_spark asks of a place that holds objects. All methods raise :class:`StoreError` on failure."""

    root: str

    def create(self, name: str, data: bytes) -> bool:
        """Publish ``data`` as ``name`` in one atomic step; False if the name is taken, and nothing has changed."""

    def replace(self, name: str, data: bytes, generation: str | None) -> bool:
        """Replace ``name`` if it still has ``generation`` (None: if it is absent); False if it has not."""

    def read(self, name: str) -> tuple[bytes, str] | None:
        """Return the bytes of ``name`` and the generation they belong to, or None if there is no such object."""

    def open(self, name: str) -> pa.NativeFile:
        """Open ``name`` for random access."""

    def list(self, prefix: str) -> list[Entry]:
        """Return the objects whose name begins with ``prefix`` (a folder and the stem of a name), sorted by name."""

    def delete(self, name: str) -> None:
        """Remove ``name``; it is no error if it is gone."""

    def clear_temp(self) -> None:
        """Remove what writers that died left behind; a living writer whose temporary is gone writes it again."""


def open_store(path: str) -> Store:
    """Return the store rooted at ``path``: a plain path or ``file://``.

    Raises:
        JobError: for a scheme that this version does not write to.
    """
    scheme = urlsplit(path).scheme
    if scheme in ("", "file"):
        return FileStore(local_path(path))
    raise JobError(f"output.path: this version writes to a plain path or file://, not {scheme}://; got {path!r}")


def local_path(path: str) -> Path:
    """Return the local path that a plain path or a ``file://`` URL names."""
    return Path(unquote(urlsplit(path).path)) if path.startswith("file:") else Path(path)


def read_input(path: str, key: str) -> bytes:
    """Return the bytes of a file that the job file names under ``key``.

    Raises:
        JobError: if it cannot be read.
    """
    scheme = urlsplit(path).scheme
    if scheme not in ("", "file"):
        raise JobError(f"{key}: this version reads plain paths and file://, not {scheme}://; got {path!r}")
    try:
        return local_path(path).read_bytes()
    except OSError as error:
        raise JobError(f"{key}: cannot read {path!r}: {error.strerror}; relative paths start at the job file") from None


class FileStore:
    """A directory of a local or mounted file system.

    An object is created by writing a temporary file under ``_ee_spark/tmp``, syncing it and linking it to its name,
    which fails if the name is taken. Where the mount cannot link, the temporary is renamed instead, which is safe for
    one writer at a time only. A conditional replace holds a lock file while it compares and renames.
    """

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self._root = root
        self._warned = False

    def create(self, name: str, data: bytes) -> bool:
        """Publish ``data`` as ``name``; False if the name is taken."""
        target = self._root / name
        with _store_errors(target):
            for _ in range(3):  # a temp can vanish when another run clears the folder; then it is written again
                temp = self._write_temp(data)
                try:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    os.link(temp, target)
                except FileExistsError:
                    return False
                except FileNotFoundError:
                    continue
                except OSError as error:
                    if error.errno not in _NO_LINKS:
                        raise
                    return self._create_by_rename(temp, target)
                finally:
                    temp.unlink(missing_ok=True)
                _sync(target.parent)
                return True
        raise StoreError(f"{target}: its temporary file vanished three times; does something clear {TEMP}?")

    def replace(self, name: str, data: bytes, generation: str | None) -> bool:
        """Replace ``name`` if it still has ``generation``."""
        target = self._root / name
        with _store_errors(target), self._locked(name):
            if _generation(target) != generation:
                return False
            temp = self._write_temp(data)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(temp, target)
            _sync(target.parent)
            return True

    def read(self, name: str) -> tuple[bytes, str] | None:
        """Return the bytes and generation of ``name``, or None."""
        target = self._root / name
        with _store_errors(target):
            try:
                with target.open("rb") as file:
                    return file.read(), _stat_generation(os.fstat(file.fileno()))
            except FileNotFoundError:
                return None

    def open(self, name: str) -> pa.NativeFile:
        """Open ``name`` for random access."""
        target = self._root / name
        with _store_errors(target):
            return pa.OSFile(str(target), "rb")

    def list(self, prefix: str) -> list[Entry]:
        """Return the objects whose name begins with ``prefix``, sorted by name."""
        folder, _, stem = prefix.rpartition("/")
        found = []
        with _store_errors(self._root / folder):
            try:
                with os.scandir(self._root / folder) as entries:
                    for entry in entries:
                        if entry.name.startswith(stem) and entry.is_file():
                            stat = entry.stat()
                            found.append(Entry(f"{folder}/{entry.name}", stat.st_size, _stat_generation(stat)))
            except FileNotFoundError:
                return []
        return sorted(found, key=lambda entry: entry.name)

    def delete(self, name: str) -> None:
        """Remove ``name`` if it is there."""
        with _store_errors(self._root / name):
            (self._root / name).unlink(missing_ok=True)

    def clear_temp(self) -> None:
        """Remove every temporary file."""
        for entry in self.list(f"{TEMP}/."):
            self.delete(entry.name)

    def _write_temp(self, data: bytes) -> Path:
        temp = self._root / TEMP / f".{uuid.uuid4().hex}"
        temp.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temp.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            temp.unlink(missing_ok=True)
            raise
        return temp

    def _create_by_rename(self, temp: Path, target: Path) -> bool:
        if not self._warned:
            log.warning("%s cannot link files: parts are renamed into place, safe for one writer at a time", self.root)
            self._warned = True
        with self._locked(str(target.relative_to(self._root))):
            if target.exists():
                return False
            os.replace(temp, target)
            _sync(target.parent)
            return True

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        lock = self._root / LOCKS / name.replace("/", ".")
        lock.parent.mkdir(parents=True, exist_ok=True)
        with lock.open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


@contextmanager
def _store_errors(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"{target}: {error.strerror or error}") from error


def _stat_generation(stat: os.stat_result) -> str:
    return f"{stat.st_ino}.{stat.st_mtime_ns}.{stat.st_size}"


def _generation(path: Path) -> str | None:
    try:
        return _stat_generation(path.stat())
    except FileNotFoundError:
        return None


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:  # some mounts have no sync for folders: then there is none to ask for
        if error.errno not in (errno.EINVAL, errno.EBADF, *_NO_LINKS):
            raise
    finally:
        os.close(handle)
