"""A table of images that cannot be read stops a run with one line, and a repair names the images from their tiles."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from places import REPO

from ee_spark.cli import main
from ee_spark.errors import DamagedError
from ee_spark.objects import FileStore
from ee_spark.planner.images import NO_TIME, Images
from ee_spark.store import pins

OLDER = REPO / "tests" / "data" / "datasets-0.1" / "ndvi-band" / "dataset"
TABLE = "images/part-0.parquet"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLDER, tmp_path / "dataset"))


def images(names: list[str]) -> Images:
    """Images as a plan has them, of a later version than those that are pinned."""
    none = np.full(len(names), NO_TIME, np.int64)
    later = np.full(len(names), 1_900_000_000_000_000, np.int64)
    return Images(tuple(names), none, none, later, none, ((),), (None,) * len(names), ('{"a": 1}',) * len(names))


@pytest.mark.parametrize("data", [b"", b"garbage" * 100, b"PAR1" + bytes(8) + b"PAR1", None])
def test_garbage_is_one_line_repaired_and_keeps_versions(data: bytes | None, dataset: Path) -> None:
    whole = pq.read_table(dataset / TABLE)
    tiles = set(pq.read_table(dataset / "tiles", columns=["image_id"])["image_id"].to_pylist())
    before = dict(zip(whole["image_id"].to_pylist(), whole["version"].to_pylist(), strict=True))
    if data is None:
        pq.write_table(whole.slice(0, 0), dataset / TABLE)
    else:
        (dataset / TABLE).write_bytes(data)
        with pytest.raises(DamagedError, match="verify --repair, then run again") as caught:
            pins.publish(FileStore(dataset), images(sorted(tiles)))
        assert caught.value.exit_code == 2
    found = CliRunner().invoke(main, ["verify", "--dataset", str(dataset), "--repair"])
    assert f"it names {len(tiles)} images anew" in found.stderr
    assert found.exit_code == 0, found.stderr
    mended = pq.read_table(dataset / TABLE)
    assert mended.schema == whole.schema
    assert dict(zip(mended["image_id"].to_pylist(), mended["version"].to_pylist(), strict=True)) == {
        name: before[name] for name in tiles
    }
    pinned = pins.publish(FileStore(dataset), images(sorted(tiles)))
    told = pq.read_table(dataset / TABLE).sort_by("image_id")
    assert told["properties"].to_pylist() == ['{"a": 1}'] * len(tiles)
    assert told["version"].to_pylist() == [before[name] for name in sorted(tiles)]
    assert pinned.version.tolist() == told["version"].cast("int64").to_pylist()
