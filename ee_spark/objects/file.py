"""Objects as files in a directory of a local or mounted file system."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from ee_spark.errors import DamagedError, StoreError
from ee_spark.limits import MAX_OBJECT
from ee_spark.objects.folders import folder, new_file, regular_file, remove, root_folder, status
from ee_spark.objects.lock import NO_LINKS, Locks
from ee_spark.objects.names import check, is_temporary, run_of
from ee_spark.objects.store import OWN, TEMP, Entry, check_size

TRIES = 3
DEEPEST = 64
"""Folders in folders that a listing goes down."""
COPY_BYTES = 1 << 20
_WAYS_OUT = {
    errno.ENOSPC: "make room there: what was published holds",
    errno.EDQUOT: "make room there or raise the quota: what was published holds",
    errno.EFBIG: "raise the limit of a file's size, or make output.part_size smaller",
    errno.EROFS: "mount it writable, or write to another path",
    errno.EIO: "look at the disk or mount: what was published holds",
    errno.EISDIR: "a folder has an object's name; find out who made it, and move it away",
    errno.ENOTDIR: "a file has a folder's name; find out who made it, and move it away",
}
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""What a disk that is full or failing refuses with; nothing that the user wrote is wrong."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Step:
    """What one publish has at hand: its temporary, and the descriptors of the root and of both folders."""

    root: int
    temps: int
    temp: str
    into: int
    last: str
    name: str

    def rename(self) -> bool:
        """Give the temporary its name, whatever had it."""
        os.rename(self.temp, self.last, src_dir_fd=self.temps, dst_dir_fd=self.into)
        return True


class FileStore:
    """A directory of a local or mounted file system.

    An object is created by writing a temporary file under ``_ee_spark/tmp``, syncing it and linking it to its name,
    which fails if the name is taken. Where the mount cannot link, the temporary is renamed instead, which is safe for
    one writer at a time only. A conditional replace holds a lock while it compares and renames. Below the root nothing
    is followed through a link (:mod:`ee_spark.objects.folders`); the root may be one.
    """

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self._root = root
        self._warned = False
        self._locks = Locks(self.root)

    def create(self, name: str, data: bytes) -> bool:
        """Publish ``data`` as ``name``; False if the name is taken."""
        with self._errors(name):
            return self._publish(name, data, self._link)

    def replace(self, name: str, data: bytes, generation: str | None) -> bool:
        """Replace ``name`` if it still has ``generation``."""
        with self._errors(name):
            if self._generation(name) != generation:
                return False
            return self._publish(name, data, lambda step: self._exchange(step, generation))

    def send(self, name: str, path: Path) -> None:
        """Publish a copy of a file as ``name``, whatever had the name."""
        with self._errors(name), self._above(name, make=True) as (at, last), path.open("rb") as file:
            _put(at, last, iter(lambda: file.read(COPY_BYTES), b""))

    def read(self, name: str, most: int = MAX_OBJECT) -> tuple[bytes, str] | None:
        """Return the bytes and generation of ``name``, at most ``most``, or None."""
        with self._errors(name), suppress(FileNotFoundError), self._file(name) as file:
            facts = os.fstat(file)
            check_size(facts.st_size, most)
            return _content(file, facts.st_size, most), _stat_generation(facts)
        return None

    def open(self, name: str) -> pa.NativeFile:
        """Open ``name`` for random access."""
        with self._errors(name), self._file(name) as file:
            return _native(file)

    def list(self, prefix: str) -> list[Entry]:
        """Return the objects whose name begins with ``prefix``, sorted by name; a link is one, and leads nowhere."""
        with (
            self._errors(prefix, prefix=True),
            suppress(FileNotFoundError),
            self._above(prefix, listed=True) as (at, stem),
        ):
            found = _entries(at, prefix.removesuffix(stem), stem)
            return sorted(found, key=lambda entry: entry.name)
        return []

    def delete(self, name: str) -> None:
        """Remove ``name`` if it is there."""
        with self._errors(name), suppress(FileNotFoundError), self._above(name) as (at, last):
            remove(at, last)

    def clear_temp(self) -> None:
        """Remove every temporary file, and the folders of runs that are empty."""
        with self._errors(TEMP), suppress(FileNotFoundError), self._above(f"{TEMP}/", listed=True) as (temps, _):
            for name in _names(temps, folders=False):
                if is_temporary(name):
                    remove(temps, name)
        with self._errors(OWN), suppress(FileNotFoundError), self._above(f"{OWN}/", listed=True) as (own, _):
            for name in _names(own, folders=True):
                with folder(own, name, listed=True) as at:
                    _remove_empty(at)

    def _write_temp(self, temps: int, data: bytes) -> str:
        return new_file(temps, [data], sync=True)

    def _publish(self, name: str, data: bytes, step: Callable[[_Step], bool]) -> bool:
        """Write a temporary and take the one ``step`` that publishes it, again where the temporary has vanished."""
        above, _, last = name.rpartition("/")
        for _ in range(TRIES):
            with (
                root_folder(self._root, make=True) as root,
                folder(root, TEMP, make=True) as temps,
                folder(root, above, make=True, listed=True) as into,
            ):
                temp = self._write_temp(temps, data)
                try:
                    done = step(_Step(root, temps, temp, into, last, name))
                except FileNotFoundError:  # another run has cleared the folder of temporaries
                    continue
                finally:
                    remove(temps, temp)
                if done:
                    _sync(into)
                return done
        raise StoreError(f"its temporary file vanished {TRIES} times; find out what clears {TEMP} there")

    def _exchange(self, step: _Step, generation: str | None) -> bool:
        with self._locks.held(step.root, step.name):
            return _generation(step.into, step.last) == generation and step.rename()

    def _link(self, step: _Step) -> bool:
        try:
            os.link(step.temp, step.last, src_dir_fd=step.temps, dst_dir_fd=step.into, follow_symlinks=False)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
        else:
            return True
        if not self._warned:
            log.warning("%s cannot link files: parts are renamed into place, safe for one writer at a time", self.root)
            self._warned = True
        with self._locks.held(step.root, step.name):
            return status(step.into, step.last) is None and step.rename()

    @contextmanager
    def _above(self, name: str, *, make: bool = False, listed: bool = False) -> Iterator[tuple[int, str]]:
        """Yield the descriptor of the folder that a name lies in, and the name in it."""
        above, _, last = name.rpartition("/")
        with root_folder(self._root, make=make) as root, folder(root, above, make=make, listed=listed) as at:
            yield at, last

    @contextmanager
    def _file(self, name: str) -> Iterator[int]:
        with self._above(name) as (at, last), regular_file(at, last) as file:
            yield file

    def _generation(self, name: str) -> str | None:
        with suppress(FileNotFoundError), self._above(name) as (at, last):
            return _generation(at, last)
        return None

    @contextmanager
    def _errors(self, name: str, *, prefix: bool = False) -> Iterator[None]:
        check(name, prefix=prefix)
        with store_errors(self._root / name):
            yield


def replace_file(path: Path, data: bytes) -> None:
    """Write a file by one rename in its own folder, where nothing else is left behind."""
    with store_errors(path), root_folder(path.parent) as at:
        _put(at, path.name, [data])


def is_full(error: BaseException) -> bool:
    """Return True if an error came of a disk that is full, or fails: the same command may do when that is mended."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in FULL


@contextmanager
def store_errors(target: Path) -> Iterator[None]:
    """Turn what the system raises into a StoreError that names ``target``, and says what to do where that is known."""
    try:
        yield
    except DamagedError as error:
        raise DamagedError(f"{target}: {error}") from None
    except StoreError as error:
        raise StoreError(f"{target}: {error}") from error.__cause__
    except OSError as error:
        way_out = _WAYS_OUT.get(error.errno or 0, "")
        raise StoreError(f"{target}: {error.strerror or error}{'; ' if way_out else ''}{way_out}") from error


def _put(at: int, name: str, chunks: Iterable[bytes]) -> None:
    """Write a file in the folder ``at`` under another name, and rename it."""
    temp = new_file(at, chunks, mark="ee-spark-")
    try:
        os.rename(temp, name, src_dir_fd=at, dst_dir_fd=at)
    except OSError:
        remove(at, temp)
        raise


def _entries(at: int, base: str, stem: str = "", depth: int = 0) -> Iterator[Entry]:
    """Yield the files in and below the folder ``at`` whose names in it begin with ``stem``; what vanishes meanwhile is
    left out.
    """
    if depth > DEEPEST:
        raise StoreError(f"{base}: has more than {DEEPEST} folders in folders; find out who made them")
    with os.scandir(at) as found:
        for item in [item for item in found if item.name.startswith(stem)]:
            with suppress(FileNotFoundError):
                if item.is_dir(follow_symlinks=False):
                    with folder(at, item.name, listed=True) as below:
                        yield from _entries(below, f"{base}{item.name}/", depth=depth + 1)
                else:
                    facts = item.stat(follow_symlinks=False)
                    yield Entry(base + item.name, facts.st_size, _stat_generation(facts))


def _remove_empty(at: int) -> None:
    """Remove the folders in the folder ``at`` that are named as runs and are empty."""
    for name in _names(at, folders=True):
        if run_of(name) is not None:
            with suppress(OSError):  # somebody has filled it, or removed it
                os.rmdir(name, dir_fd=at)


def _names(at: int, *, folders: bool) -> list[str]:
    """Return the names of what lies in the folder ``at``: folders, or else files."""
    with os.scandir(at) as found:
        kind = "is_dir" if folders else "is_file"
        return [item.name for item in found if getattr(item, kind)(follow_symlinks=False)]


def _content(file: int, size: int, most: int) -> bytes:
    """Return what is left of a file of ``size`` bytes, or some more, but never without end."""
    parts, taken = [], 0
    while part := os.read(file, max(1, size - taken)):
        parts.append(part)
        taken += len(part)
        check_size(taken, most)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _native(file: int) -> pa.NativeFile:
    """Return an open file for Arrow's own readers, which need a name for it where the system has one."""
    try:
        return pa.OSFile(f"/proc/self/fd/{file}", "rb")
    except OSError:
        return pa.PythonFile(os.fdopen(os.dup(file), "rb"), "r")


def _stat_generation(facts: os.stat_result) -> str:
    return f"{facts.st_ino}.{facts.st_mtime_ns}.{facts.st_size}"


def _generation(at: int, name: str) -> str | None:
    facts = status(at, name)
    return None if facts is None else _stat_generation(facts)


def _sync(at: int) -> None:
    try:
        os.fsync(at)
    except OSError as error:  # some mounts have no sync for folders: then there is none to ask for
        if error.errno not in (errno.EINVAL, errno.EBADF, *NO_LINKS):
            raise
