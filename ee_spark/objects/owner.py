"""The process that something belongs to, and whether it is known to be gone."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_SPACE = Path("/proc/self/ns/pid")


def owner() -> dict[str, Any]:
    """Return what names this process: its machine, since when that runs, the space of its number there, and that.

    Containers on one machine that share its name number their processes each for itself: the space tells them apart.
    """
    return {"host": _host(), "space": _space(), "pid": os.getpid()}


def is_dead(of: Mapping[str, Any]) -> bool:
    """Return True if a process, as :func:`owner` named it, is known to have ended: it ran on this machine."""
    pid, here = of.get("pid"), of.get("host") == _host() and of.get("space", _space()) == _space()
    return here and isinstance(pid, int) and pid > 0 and not _lives(pid)


@cache
def _host() -> str:
    boot = ""
    with suppress(OSError):
        boot = _BOOT.read_text().strip()
    return f"{socket.gethostname()}/{boot}"


@cache
def _space() -> str:
    with suppress(OSError):
        return os.readlink(_SPACE)
    return ""


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # somebody else's, or no number of a process: nothing is known
        pass
    return True
