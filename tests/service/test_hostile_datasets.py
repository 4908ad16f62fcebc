"""Datasets that somebody made up or damaged: an answer or one line, no hang, nothing outside, no markup in the page."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hostile_datasets import OLDER, injected
from places import REPO

from ee_spark.cli import main

COUNT = 200


@pytest.mark.timeout(1800)
def test_hostile_datasets_are_answered_or_told_in_a_line() -> None:
    command = [sys.executable, str(REPO / "tests" / "support" / "hostile_datasets.py"), "--count", str(COUNT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_markup_of_a_dataset_would_be_seen() -> None:
    assert injected("<p>a</p><script>x</script>") == ["<script>"]
    assert injected('<img alt="x" onerror="x" src="data:image/svg+xml;base64,">') == ["onerror=x"]
    assert injected('<p><a href="javascript:x">y</a></p>') == ["<a>", "href=javascript:x"]
    assert injected("<p>&lt;script&gt;</p>") == []


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLDER / "ndvi-band" / "dataset", tmp_path / "dataset"))


def verify(path: Path, *more: str) -> Result:
    return CliRunner().invoke(main, ["verify", "--dataset", str(path), *more])


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"null", b" " * 10**8, b"[" * 10**8], ids=range(6))
def test_a_manifest_that_is_none_is_told_in_a_line(dataset: Path, data: bytes) -> None:
    (dataset / "_ee_spark" / "job.json").write_bytes(data)
    for more in ([], ["--repair"]):
        done = verify(dataset, *more)
        assert done.exit_code == 2
        assert len(done.stderr.splitlines()) == 1
        assert len(done.stderr) < 300
        assert "_ee_spark/job.json: " in done.stderr


def test_repair_mends_a_torn_table_of_images_and_torn_tiles(dataset: Path) -> None:
    (dataset / "images" / "part-0.parquet").write_bytes(b"PAR1 garbage PAR1")
    folder = dataset / "tiles"
    tiles = next(path for path in folder.iterdir() if "schema" not in path.name)
    tiles.write_bytes(tiles.read_bytes()[:-99])
    before = verify(dataset)
    assert before.exit_code == 3
    assert json.loads(before.stdout)["problems"] == {"images": 1, "tiles": 1}
    done = verify(dataset, "--repair")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "clean"


def test_control_characters_of_a_dataset_do_not_reach_the_terminal(dataset: Path) -> None:
    (dataset / "pixels" / "a\x1b[31m\nb.parquet").write_bytes(b"PAR1")
    done = verify(dataset)
    assert done.exit_code == 3
    assert len(done.stderr.splitlines()) == 1
    assert "\x1b" not in done.stderr
