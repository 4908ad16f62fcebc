"""Locks among the writers of one folder: by ``flock``, or by link where the file system has none.

There are a few lock files, whatever number of names they guard: removing a lock that others may wait for is not safe,
so none ever is. Nobody holds two at once. Nobody waits without end: ``flock`` is given to whoever may read the file,
and what a lock guards takes milliseconds.

**By link** (Lustre mounted without ``-o flock``, DVS): a file that names its process is linked to the lock's name,
which fails if that is taken (https://man7.org/linux/man-pages/man2/open.2.html, on O_EXCL and NFS). A lock whose
process is known dead, or that is older than :data:`LONGEST_HELD` by the file system's own clock, is stale, and is
removed by whoever gets the right to remove that very lock: a lock of its own, by the same rule, whose name has the
nonce of what it removes. Nonces never come again, and only the owner of the right removes, so nobody removes the lock
of a successor. A holder gives up its own lock by the same right.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import random
import stat
import time
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from ee_spark.errors import StoreError
from ee_spark.objects.folders import folder, new_file, regular_file, remove
from ee_spark.objects.owner import is_dead, owner
from ee_spark.objects.store import TEMP

LOCKS = "_ee_spark/locks"
SLOTS = 16
LONGEST_HELD = 120.0
"""Seconds after which a lock by link is stale, whoever holds it: what it guards takes milliseconds."""
LONGEST_WAIT = 0.1
MODE = 0o660
"""Of a lock file: who may write there may lock it, and who is of another group may not even read it."""
NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
_NO_FLOCK = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}

log = logging.getLogger(__name__)


class Locks:
    """The locks of one folder, ``where`` for messages."""

    longest = 2 * LONGEST_HELD
    """Seconds that a lock is waited for: a stale one is taken over before."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._by_link = False

    @contextmanager
    def held(self, root: int, name: str) -> Iterator[None]:
        """Hold the lock that guards ``name``, in the folder that is open as ``root``."""
        slot = zlib.crc32(name.encode()) % SLOTS
        waits = _waits(self.longest)
        with folder(root, LOCKS, make=True) as locks:
            if not self._by_link:
                lock = f"lock-{slot:02d}"
                file = _lock_file(locks, lock)
                try:
                    if self._flock(file, lock, waits):
                        yield
                        return
                finally:
                    os.close(file)
            with folder(root, TEMP, make=True) as temps, _Linked(locks, temps, f"held-{slot:02d}", waits).taken():
                yield

    def _flock(self, file: int, name: str, waits: Iterator[float]) -> bool:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                _wait(name, waits)
            except OSError as error:
                if error.errno not in _NO_FLOCK:
                    raise
                log.warning("%s has no flock (%s): its writers lock by link", self._where, error.strerror)
                self._by_link = True
                return False
            else:
                return True


def _waits(seconds: float) -> Iterator[float]:
    """Yield what to wait before each next try of a lock, for so many seconds in all."""
    until, wait = time.monotonic() + seconds, 0.001
    while time.monotonic() < until:
        yield random.uniform(0, wait)
        wait = min(2 * wait, LONGEST_WAIT)


def _wait(name: str, waits: Iterator[float]) -> None:
    """Wait before the next try of the lock ``name``.

    Raises:
        StoreError: if it was waited for long enough.
    """
    wait = next(waits, None)
    if wait is None:
        raise StoreError(
            f"{LOCKS}/{name} is held by another process all the time, and is needed for milliseconds; find out which "
            "(fuser -v, or lslocks, on every machine that mounts it) and end it, then run the same command again"
        )
    time.sleep(wait)


def _lock_file(locks: int, name: str) -> int:
    flags = os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK  # a pipe would wait for whoever made it
    try:
        file = os.open(name, flags | os.O_RDWR, MODE, dir_fd=locks)
    except PermissionError:  # another user's: flock needs no more than reading, but on NFS
        file = os.open(name, flags | os.O_RDONLY, MODE, dir_fd=locks)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise StoreError(f"{LOCKS}/{name} is not a regular file; find out who put it there, and remove it")
    return file


@dataclass(frozen=True)
class _Holder:
    """Whose lock it is, and when it was taken, by the file system's clock."""

    nonce: str
    process: dict[str, Any]
    since: float


class _Linked:
    """One attempt of one thread to hold one lock by link."""

    def __init__(self, locks: int, temps: int, name: str, waits: Iterator[float]) -> None:
        self._locks, self._temps, self._name, self._waits = locks, temps, name, waits
        self._nonce, self._mine = uuid.uuid4().hex, ""

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Hold the lock."""
        try:
            while not self._take(self._name):
                other = self._read(self._name)
                if other is not None and not self._end(self._name, other):
                    _wait(self._name, self._waits)
            try:
                yield
            finally:
                mine = self._read(self._name)
                if mine is None or mine.nonce != self._nonce or not self._end(self._name, mine):
                    log.warning("%s was taken over after more than %g s", self._name, LONGEST_HELD)
        finally:
            if self._mine:
                remove(self._temps, self._mine)

    def _take(self, name: str) -> bool:
        """Link this process's file to ``name``; True too where that was done, and its answer was lost."""
        self._now()
        try:
            os.link(self._mine, name, src_dir_fd=self._temps, dst_dir_fd=self._locks, follow_symlinks=False)
        except FileExistsError:
            found = self._read(name)
            return found is not None and found.nonce == self._nonce
        except FileNotFoundError:  # another run has cleared the folder of temporaries
            return False
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            raise StoreError(
                f"the file system has neither flock nor links ({error.strerror}), so writers cannot exclude each "
                "other; write to another one, or mount it with flock"
            ) from error
        return True

    def _end(self, name: str, holder: _Holder) -> bool:
        """Remove the lock ``name`` of ``holder``, if it is this process's own, or stale; return True if it is gone."""
        if holder.nonce != self._nonce and not self._stale(holder):
            return False
        right = f"end-{holder.nonce}"
        if not self._take(right):
            other = self._read(right)
            return other is None or self._end(right, other)
        try:
            found = self._read(name)
            if found is not None and found.nonce == holder.nonce:
                remove(self._locks, name)
        finally:
            remove(self._locks, right)
        return True

    def _stale(self, holder: _Holder) -> bool:
        return is_dead(holder.process) or self._now() - holder.since > LONGEST_HELD

    def _now(self) -> float:
        """Return the file system's time; this process's file, which is made where it is not there, has it too."""
        while True:
            if not self._mine:
                data = json.dumps({"nonce": self._nonce, "process": owner()}).encode()
                self._mine = new_file(self._temps, [data])
            try:
                os.utime(self._mine, dir_fd=self._temps, follow_symlinks=False)
                return os.stat(self._mine, dir_fd=self._temps, follow_symlinks=False).st_mtime
            except FileNotFoundError:
                self._mine = ""

    def _read(self, name: str) -> _Holder | None:
        """Return who holds the lock ``name``; None if nobody does."""
        with suppress(FileNotFoundError), regular_file(self._locks, name) as file:
            since, nonce, process = os.fstat(file).st_mtime, name, {}
            with suppress(ValueError, KeyError, TypeError, AttributeError):  # damaged: it is stale when it is old
                data = json.loads(os.read(file, 1 << 16))
                nonce, process = uuid.UUID(data["nonce"]).hex, dict(data["process"])
            return _Holder(nonce, process, since)
        return None
