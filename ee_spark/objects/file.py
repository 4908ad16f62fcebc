"""Objects as files in a directory of a local or mounted file system."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from ee_spark.errors import StoreError
from ee_spark.objects.store import TEMP, Entry

LOCKS = "_ee_spark/locks"
TRIES = 3
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}

log = logging.getLogger(__name__)


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
            return self._publish(name, data, lambda temp: self._link(temp, name))

    def replace(self, name: str, data: bytes, generation: str | None) -> bool:
        """Replace ``name`` if it still has ``generation``."""
        target = self._root / name
        with _store_errors(target), self._locked(name):
            if _generation(target) != generation:
                return False
            return self._publish(name, data, lambda temp: self._rename(temp, name))

    def send(self, name: str, path: Path) -> None:
        """Publish a copy of a file as ``name``, whatever had the name."""
        target = self._root / name
        temp = target.with_name(f".{target.name}-{uuid.uuid4().hex}")
        with _store_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(path, temp)
                temp.replace(target)
            finally:
                temp.unlink(missing_ok=True)

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
        with _store_errors(self._root / folder):
            return sorted(_entries(self._root / folder, f"{folder}/" if folder else "", stem), key=lambda e: e.name)

    def delete(self, name: str) -> None:
        """Remove ``name`` if it is there."""
        with _store_errors(self._root / name):
            (self._root / name).unlink(missing_ok=True)

    def clear_temp(self) -> None:
        """Remove every temporary file."""
        for entry in self.list(f"{TEMP}/"):
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

    def _publish(self, name: str, data: bytes, step: Callable[[Path], bool]) -> bool:
        """Write a temporary and take the one ``step`` that publishes it, again where the temporary has vanished."""
        folder = (self._root / name).parent
        for _ in range(TRIES):
            temp = self._write_temp(data)
            if not folder.is_dir():
                folder.mkdir(parents=True, exist_ok=True)
            try:
                done = step(temp)
            except FileNotFoundError:  # another run has cleared the folder of temporaries
                continue
            finally:
                temp.unlink(missing_ok=True)
            if done:
                _sync(folder)
            return done
        raise StoreError(
            f"{self._root / name}: its temporary file vanished {TRIES} times; find out what clears {TEMP} there"
        )

    def _link(self, temp: Path, name: str) -> bool:
        try:
            os.link(temp, self._root / name)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
        else:
            return True
        if not self._warned:
            log.warning("%s cannot link files: parts are renamed into place, safe for one writer at a time", self.root)
            self._warned = True
        with self._locked(name):
            return not (self._root / name).exists() and self._rename(temp, name)

    def _rename(self, temp: Path, name: str) -> bool:
        os.replace(temp, self._root / name)
        return True

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        lock = self._root / LOCKS / name.replace("/", ".")
        lock.parent.mkdir(parents=True, exist_ok=True)
        with lock.open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def replace_file(path: Path, data: bytes) -> None:
    """Write a file by one rename in its own folder, where nothing else is left behind."""
    temp = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    with _store_errors(path):
        try:
            temp.write_bytes(data)
            temp.replace(path)
        finally:
            temp.unlink(missing_ok=True)


@contextmanager
def _store_errors(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"{target}: {error.strerror or error}") from error


def _entries(folder: Path, base: str, stem: str = "") -> Iterator[Entry]:
    """Yield the files in and below ``folder`` whose names in it begin with ``stem``; what vanishes meanwhile is left
    out.
    """
    try:
        with os.scandir(folder) as found:
            inside = [item for item in found if item.name.startswith(stem)]
    except FileNotFoundError:
        return
    for item in inside:
        if item.is_dir(follow_symlinks=False):
            yield from _entries(folder / item.name, f"{base}{item.name}/")
            continue
        try:
            stat = item.stat()
        except FileNotFoundError:
            continue
        yield Entry(base + item.name, stat.st_size, _stat_generation(stat))


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
