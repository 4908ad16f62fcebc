"""What a process has used so far, by the kernel's own count."""

from __future__ import annotations

import resource
from pathlib import Path


def used() -> tuple[float, float]:
    """Return this process's CPU seconds so far, and its peak resident memory in MB, its parent's not counted."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    status = Path("/proc/self/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    return usage.ru_utime + usage.ru_stime, peak * 1024 / 1e6
