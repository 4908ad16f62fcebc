"""An object of a remote store as a file: what is read of it is asked for, and nothing else."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

TAIL = 1 << 18
"""Bytes read at once when an object is opened: a Parquet footer with its ledger, or a small object whole."""


class RangeFile(io.RawIOBase):
    """A read-only file of ``size`` bytes whose end is held as ``tail``; ``fetch(start, stop)`` brings the rest."""

    def __init__(self, size: int, tail: bytes, fetch: Callable[[int, int], bytes]) -> None:
        super().__init__()
        self._size, self._tail, self._fetch = size, tail, fetch
        self._at = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position of the next read."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to ``offset`` from the start, from here, or from the end."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer`` as far as the object goes."""
        view = memoryview(buffer).cast("B")
        start, stop = self._at, min(self._at + len(view), self._size)
        if start >= stop:
            return 0
        held = self._size - len(self._tail)
        data = self._tail[start - held : stop - held] if start >= held else self._fetch(start, stop)
        view[: len(data)] = data
        self._at += len(data)
        return len(data)
