"""The torch dataset: every block once an epoch over all workers and ranks, in an order that a seed decides."""

from __future__ import annotations

import datetime as dt
import multiprocessing
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from read_data import ORIGIN, Image, holes, texture, write_dataset

import ee_spark
from ee_spark.errors import ReadError

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'ee-spark[torch]'")

SHAPE = (1024, 1024)


Array = np.ndarray[Any, Any]
SIDE = 64
GOOD = holes(SHAPE, 5)
PLANES = {name: texture(SHAPE, "uint16", seed) * GOOD for seed, name in enumerate("ab")}
MAY = dt.datetime(2021, 5, 3, tzinfo=dt.UTC)


def under(plane: Array, tile: str) -> Array:
    """Return a raster's pixels under a tile, by the row and column in its name."""
    row, column = (int(number) for number in tile.partition("/r")[2].split("c"))
    top, left = (row - ORIGIN[0]) * SIDE, (column - ORIGIN[1]) * SIDE
    return plane[top : top + SIDE, left : left + SIDE]


TILES = [f"EPSG-32610/r{ORIGIN[0] + row}c{ORIGIN[1] + column}" for row in range(16) for column in range(16)]
STORED = {tile for tile in TILES if under(GOOD, tile).any()}
"""The tiles with a valid pixel: the others are empty, and have no row."""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("torch")
    write_dataset(root, [Image("scene", MAY, PLANES, {"valid": GOOD})], tile=(SIDE, SIDE), part_tiles=30)
    return root


def test_samples_are_the_rasters(path: Path) -> None:
    dataset = ee_spark.open_dataset(path)
    samples = list(dataset.to_torch())
    assert sorted(sample["tile_id"] for sample in samples) == sorted(STORED)
    for sample in samples:
        tile = sample["tile_id"]
        assert sample["pixels"].dtype == torch.int32, "torch hardly computes with uint16"
        np.testing.assert_array_equal(sample["pixels"].numpy(), np.stack([under(PLANES[band], tile) for band in "ab"]))
        np.testing.assert_array_equal(sample["valid"].numpy(), under(GOOD, tile)[None] != 0)
    assert next(iter(dataset.to_torch(dtype="float32")))["pixels"].dtype == torch.float32
    with pytest.raises(ReadError, match="no column 'label'"):
        dataset.to_torch(columns=["label"])


@pytest.mark.parametrize("mask", ["bands", "fill", "none"])
def test_validity_is_one_plane_per_band(tmp_path: Path, mask: str) -> None:
    good = {band: holes(SHAPE, seed)[:SIDE, SIDE * 8 : SIDE * 10] for seed, band in enumerate("ab")}
    outside = 9 if mask == "fill" else 0
    planes = {band: np.where(one, texture(one.shape, "int16", 3), np.int16(outside)) for band, one in good.items()}
    validity = {f"valid_{band}": one for band, one in good.items()} if mask == "bands" else {}
    fill = 9.0 if mask == "fill" else None
    write_dataset(tmp_path, [Image("i", MAY, planes, validity)], tile=(SIDE, SIDE), mask=mask, fill=fill)
    samples = list(ee_spark.open_dataset(tmp_path).to_torch())
    assert len(samples) == 2
    for sample in samples:
        expected = {band: under(one, sample["tile_id"]) != 0 for band, one in good.items()}
        if mask == "none":
            assert "valid" not in sample
        else:
            np.testing.assert_array_equal(sample["valid"].numpy(), np.stack([expected["a"], expected["b"]]))


def test_shuffled_by_seed_and_epoch(path: Path) -> None:
    dataset = ee_spark.open_dataset(path)
    plain = [sample["tile_id"] for sample in dataset.to_torch()]
    orders = []
    for seed, epoch in ((1, 0), (1, 0), (1, 1), (2, 0)):
        shuffled = dataset.to_torch(shuffle=True, seed=seed)
        shuffled.set_epoch(epoch)
        orders.append([sample["tile_id"] for sample in shuffled])
    assert set(plain) == STORED
    assert orders[0] == orders[1]
    assert len({tuple(order) for order in (plain, *orders)}) == 4
    assert all(sorted(order) == sorted(plain) for order in orders)


def test_workers_share_the_row_groups(path: Path) -> None:
    dataset = ee_spark.open_dataset(path)
    loader: Any = torch.utils.data.DataLoader(
        dataset.to_torch(shuffle=True), batch_size=16, num_workers=2, multiprocessing_context="spawn"
    )
    seen: Counter[str] = Counter()
    for batch in loader:
        assert batch["pixels"].shape[1:] == (2, 64, 64)
        seen.update(batch["tile_id"])
    assert seen == Counter(STORED)


def rank_of(path: Path, rank: int, port: int, results: Any) -> None:
    torch.distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    results.put([sample["tile_id"] for sample in ee_spark.open_dataset(path).to_torch(shuffle=True)])
    torch.distributed.destroy_process_group()


def test_ranks_share_the_row_groups(path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    ranks = [context.Process(target=rank_of, args=(path, rank, port, results)) for rank in range(2)]
    for process in ranks:
        process.start()
    found = [results.get(timeout=120) for _ in ranks]
    for process in ranks:
        process.join(60)
    assert all(found), "each rank has some"
    assert Counter(found[0] + found[1]) == Counter(STORED)
