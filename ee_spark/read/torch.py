"""A dataset as a torch ``IterableDataset``: each row group is read once per epoch, by one worker of one rank."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ee_spark.errors import ReadError, missing_extra
from ee_spark.read.block import Array, Blocks
from ee_spark.read.rows import RowGroup, Rows

try:
    import torch
    import torch.distributed
    from torch.utils.data import IterableDataset, get_worker_info
except ImportError:
    raise missing_extra("to_torch", "torch", "torch") from None

WIDER = {"uint16": np.int32, "uint32": np.int64}
"""Types that torch stores but hardly computes with."""


class PixelDataset(IterableDataset):  # type: ignore[misc]
    """The selection of a dataset as samples, each a mapping.

    ``pixels`` is (band, height, width), margins included; ``valid``, where the job fetched masks, is (1, height, width)
    or with ``mask: bands`` and ``mask: fill`` (band, height, width), bool; then come ``columns`` as they stand in the
    table.

    Row groups are dealt to all workers of all ranks (``torch.distributed``, where it is initialised), none twice. Ranks
    may get unequal numbers of samples.

    Args:
        dataset: what to read.
        shuffle: whether row groups, and the rows in each, come in another order each epoch: see :meth:`set_epoch`.
        seed: of that order; the same for all ranks.
        columns: key columns to hand on, e.g. ``("tile_id", "label")`` with a points file that has a ``label``.
        dtype: of ``pixels``, e.g. ``"float32"``; by default the type that holds all bands, uint16 as int32.
    """

    def __init__(
        self,
        dataset: Rows,
        *,
        shuffle: bool = False,
        seed: int = 0,
        columns: Sequence[str] = ("tile_id", "image_id"),
        dtype: str | None = None,
    ) -> None:
        unknown = [name for name in columns if name not in dataset.key_names]
        if unknown:
            raise ReadError(f"columns: no column {unknown[0]!r}; there are {', '.join(dataset.key_names)}")
        held: np.dtype[Any] = np.result_type(*dataset.bands.values())
        self.dataset, self.shuffle, self.seed, self.columns = dataset, shuffle, seed, tuple(columns)
        self.dtype = np.dtype(dtype) if dtype else np.dtype(WIDER.get(held.name, held))
        self.row_groups = dataset.row_groups()
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Shuffle in another order from the next iteration on."""
        self.epoch = epoch

    def mine(self) -> list[RowGroup]:
        """Return the row groups of this worker of this rank, in the order of this epoch."""
        groups = list(self.row_groups)
        if self.shuffle:
            groups = [groups[index] for index in self._random().permutation(len(groups))]
        shard, shards = _shard()
        return groups[shard::shards]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        order = self._random(*_shard())
        for blocks in self.dataset.read(self.mine()):
            pixels = torch.from_numpy(self._stack(blocks.planes))
            valid = torch.from_numpy(_valid(blocks)) if self.dataset.rule.known else None
            keys = {name: blocks.keys[name].to_pylist() for name in self.columns}
            rows = order.permutation(len(blocks)) if self.shuffle else np.arange(len(blocks))
            for row in rows.tolist():
                sample = {"pixels": pixels[row], **{name: values[row] for name, values in keys.items()}}
                if valid is not None:
                    sample["valid"] = valid[row]
                yield sample

    def _random(self, *more: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.epoch, *more])

    def _stack(self, planes: Mapping[str, Array]) -> Array:
        first = next(iter(planes.values()))
        out = np.empty((len(first), len(planes), *first.shape[1:]), self.dtype)
        for index, plane in enumerate(planes.values()):
            out[:, index] = plane
        return out


def _valid(blocks: Blocks) -> Array:
    """Return validity as (n, band, height, width): one plane where it is the same for all bands."""
    bands = blocks.bands[:1] if blocks.rule and blocks.rule.mask == "band" else blocks.bands
    return np.stack([mask for band in bands if (mask := blocks.valid(band)) is not None], axis=1)


def _shard() -> tuple[int, int]:
    """Return which of how many shards this worker of this rank is."""
    rank, ranks = 0, 1
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        rank, ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()
    info = get_worker_info()
    worker, workers = (info.id, info.num_workers) if info else (0, 1)
    return rank * workers + worker, ranks * workers
