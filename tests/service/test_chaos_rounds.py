"""Twenty chaos rounds: kills, zombies, full disks, clock skew, outages, links, overwrites; nothing is lost or doubled.

More of them: ``make chaos SEEDS=0:1000``; what they do is in tests/support/chaos.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from places import REPO

SUPPORT = REPO / "tests/support"


@pytest.mark.skipif(sys.platform != "linux", reason="rounds fork, adopt orphans and exchange names as Linux does")
def test_twenty_rounds_lose_double_and_leave_nothing(tmp_path: Path) -> None:
    command = [sys.executable, str(SUPPORT / "chaos.py"), "--seeds", "0:20", "--keep", str(tmp_path)]
    paths = os.pathsep.join([str(REPO), str(SUPPORT)])
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-6000:]
    assert done.stdout.startswith("20 rounds in "), done.stdout
