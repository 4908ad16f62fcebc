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
from read_data import Image, holes, texture, write_dataset

import ee_spark
from ee_spark.errors import ReadError

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'ee-spark[torch]'")

SHAPE = (1024, 1024)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("torch")
    good = holes(SHAPE, 5)
    planes = {name: texture(SHAPE, "uint16", seed) * good for seed, name in enumerate("ab")}
    image = Image("scene", dt.datetime(2021, 5, 3, tzinfo=dt.UTC), planes, {"valid": good})
    write_dataset(root, [image], tile=(64, 64), part_tiles=30)
    return root


def test_samples_are_the_blocks(path: Path) -> None:
    dataset = ee_spark.open_dataset(path)
    samples = list(dataset.to_torch())
    blocks = list(dataset)
    assert len(samples) == len(blocks) == dataset.counts["ok"]
    for sample, block in zip(samples, blocks, strict=True):
        assert sample["tile_id"] == block.tile_id
        assert sample["pixels"].dtype == torch.int32, "torch hardly computes with uint16"
        np.testing.assert_array_equal(sample["pixels"].numpy(), np.stack([block["a"], block["b"]]))
        np.testing.assert_array_equal(sample["valid"].numpy()[0], block.valid("a"))
    assert next(iter(dataset.to_torch(dtype="float32")))["pixels"].dtype == torch.float32
    with pytest.raises(ReadError, match="no column 'label'"):
        dataset.to_torch(columns=["label"])


def test_shuffled_by_seed_and_epoch(path: Path) -> None:
    dataset = ee_spark.open_dataset(path)
    plain = [sample["tile_id"] for sample in dataset.to_torch()]
    orders = []
    for seed, epoch in ((1, 0), (1, 0), (1, 1), (2, 0)):
        shuffled = dataset.to_torch(shuffle=True, seed=seed)
        shuffled.set_epoch(epoch)
        orders.append([sample["tile_id"] for sample in shuffled])
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
    assert seen == Counter(block.tile_id for block in dataset)


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
    assert Counter(found[0] + found[1]) == Counter(block.tile_id for block in ee_spark.open_dataset(path))
