"""Decoded blocks of rasters, kept in one bounded memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, Protocol

from numpy.typing import NDArray

_Key = tuple[Hashable, int, int]
Block = tuple[NDArray[Any], NDArray[Any] | None]
"""Decoded values and mask (None: every pixel is valid) of a part of a raster."""


class Blocks(Protocol):
    """What is made of blocks: one band of one file at one level."""

    @property
    def identity(self) -> Hashable:
        """Equal where the blocks are."""

    def make_block(self, at_row: int, at_column: int, cache: BlockCache) -> Block:
        """Make the block at that place of the blocks, with a cache for those that it is made of."""


class BlockCache:
    """Decoded blocks, at most `limit` bytes, the least recently used dropped first. Safe from any thread."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._size = 0
        self._blocks: OrderedDict[_Key, Block] = OrderedDict()
        self._making: dict[_Key, threading.Event] = {}
        self._lock = threading.Lock()

    def block(self, band: Blocks, at_row: int, at_column: int) -> Block:
        """The block at that place of the band's blocks; made once, whoever else asks meanwhile waits for it."""
        key = band.identity, at_row, at_column
        while True:
            with self._lock:
                found = self._find(key)
                if found is not None:
                    return found
                made = self._making.get(key)
                if made is None:
                    self._making[key] = threading.Event()
                    break
            made.wait()
        try:
            block = band.make_block(at_row, at_column, self)
            self._keep(key, block)
        finally:
            with self._lock:
                self._making.pop(key).set()
        return block

    def held(self, band: Blocks, at_row: int, at_column: int) -> Block | None:
        """As `block`, None when it would have to be made."""
        with self._lock:
            return self._find((band.identity, at_row, at_column))

    def _find(self, key: _Key) -> Block | None:
        found = self._blocks.get(key)
        if found is not None:
            self._blocks.move_to_end(key)
        return found

    def _keep(self, key: _Key, block: Block) -> None:
        with self._lock:
            self._blocks[key] = block
            self._size += _nbytes(block)
            while self._size > self.limit and len(self._blocks) > 1:
                _, old = self._blocks.popitem(last=False)
                self._size -= _nbytes(old)


class NotHeldError(Exception):
    """A block is not in the cache."""


class Held(BlockCache):
    """What is in a cache; NotHeldError is raised for the rest."""

    def __init__(self, cache: BlockCache) -> None:
        super().__init__(cache.limit)
        self._cache = cache

    def block(self, band: Blocks, at_row: int, at_column: int) -> Block:
        """The block at that place, if it is there."""
        found = self._cache.held(band, at_row, at_column)
        if found is None:
            raise NotHeldError
        return found


def _nbytes(block: Block) -> int:
    return block[0].nbytes + (0 if block[1] is None else block[1].nbytes)
