"""The driver that a run belongs to, and whether it is known to be gone."""

from __future__ import annotations

import datetime as dt
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

LONGEST = dt.timedelta(days=14)
"""What no run outlasts: it is all that Dataproc gives a batch.

Source: https://cloud.google.com/dataproc-serverless/docs/reference/rest/v1/EnvironmentConfig#ExecutionConfig.
"""
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def owner() -> dict[str, Any]:
    """Return what names this process: its machine, since when that runs, and its number there."""
    return {"host": _host(), "pid": os.getpid()}


def is_gone(run: dict[str, Any] | None) -> bool:
    """Return True if a run, given by its record, has ended, or its driver has died: here, or long ago."""
    if run is None or run.get("report") is not None or "started_at" not in run:
        return True
    began = dt.datetime.fromisoformat(run["started_at"])
    if dt.datetime.now(dt.UTC) - began > LONGEST:
        return True
    of = run.get("owner", {})
    return of.get("host") == _host() and not _lives(of["pid"])


def _host() -> str:
    boot = ""
    with suppress(OSError):
        boot = _BOOT.read_text().strip()
    return f"{socket.gethostname()}/{boot}"


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        pass
    return True
