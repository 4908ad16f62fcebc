"""Environments of their own for what must not share one with Spark: made by the test that needs it, and kept."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest


def environment(name: str, *packages: str) -> Path:
    """Return the Python of an environment of its own with packages, made once and kept; skips where it cannot be."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ee_spark" / name
    python, stamp = home / "bin" / "python", home / ".packages"
    home.parent.mkdir(parents=True, exist_ok=True)
    with home.with_suffix(".lock").open("w") as lock:  # tests run side by side
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == "\n".join(packages):
            return python
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(home)],
            [str(python), "-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check", *packages],
        ):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                reason = next(iter(done.stderr.strip().splitlines()[-1:]), "")
                pytest.skip(f"{', '.join(packages)[:80]} cannot be installed: {reason}")
        stamp.write_text("\n".join(packages))
    return python
