"""The Makefile on other people's machines: below a folder with a space in its name, and without a network."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pyspark
import pytest
from places import REPO


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The repository below a folder with a space in its name, without an environment."""
    folder = tmp_path / "my work"
    folder.mkdir()
    for entry in REPO.iterdir():
        if entry.name not in (".venv", ".git", "out"):
            (folder / entry.name).symlink_to(entry)
    return folder


def make(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    outer = {name: value for name, value in os.environ.items() if not name.startswith(("SPARK_", "PIP_", "MAKE"))}
    return subprocess.run(
        ["make", *arguments], cwd=folder, env={**outer, **environment}, capture_output=True, text=True, timeout=300
    )


def test_spark_starts_below_a_folder_with_a_space(copy: Path) -> None:
    (copy / ".venv").symlink_to(sys.prefix)
    done = make(copy, "--eval", "version: ; $(SPARK) $(BIN)/spark-submit --version", "version")
    assert done.returncode == 0, done.stderr
    assert f"version {pyspark.__version__}" in done.stderr


def test_without_a_network_make_says_so_and_leaves_nothing(copy: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        index = f"http://127.0.0.1:{taken.getsockname()[1]}/simple"
        done = make(
            copy,
            f"PYTHON={sys.executable}",
            "quickstart",
            PIP_INDEX_URL=index,
            PIP_CONFIG_FILE=os.devnull,
            PIP_RETRIES="0",
        )
    assert done.returncode == 2
    assert "make: installing failed, for the reason above; without a network" in done.stderr
    assert not (copy / ".venv").exists()
    assert not (copy / "out").exists()
