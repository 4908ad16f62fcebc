"""Wrong inputs over every command: one line, exit 2, within 10 s and 500 MB, nothing written, nothing left running."""

from __future__ import annotations

import subprocess
import sys

import pytest
from places import REPO

COUNT = 300


@pytest.mark.timeout(1800)
def test_each_wrong_input_is_one_line_and_exit_2(service_url: str) -> None:
    command = [sys.executable, str(REPO / "tests" / "support" / "wrong_inputs.py"), "--url", service_url]
    done = subprocess.run([*command, "--count", str(COUNT), "--seed", "1"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
