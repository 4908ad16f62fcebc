"""Datasets that somebody made up or damaged: an answer or one line, no hang, nothing outside, no markup in the page."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hostile_datasets import injected
from places import REPO

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
