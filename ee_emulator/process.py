"""The emulator as a child process that lives no longer than its parent."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import IO

_READY = "listening on "
_START_SECONDS = 120.0
_STOP_SECONDS = 5.0


class Emulator:
    """A running emulator: `url` is its address. Ends with `stop`, at the end of a `with`, or with this process."""

    def __init__(self, arguments: list[str]) -> None:
        package = Path(__file__).resolve().parents[1]
        paths = [str(package), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        # Closed with the process; a file, since a pipe that is not read would fill up.
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "ee_emulator", "--with-parent", *arguments],  # -P: no code from the directory
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
        line = self._first_line()
        if not line.startswith(_READY):
            self._process.kill()
            self._process.wait()
            why = self._last_error() or f"no answer within {_START_SECONDS:.0f} s"
            self.stop()
            raise RuntimeError(f"the emulator did not start: {why}")
        self.url = line.removeprefix(_READY).strip()

    def _first_line(self) -> str:
        """The first line on its stdout, or nothing when it ended or took too long."""
        output = self._process.stdout
        assert output is not None
        found: list[bytes] = []
        reader = threading.Thread(target=lambda: found.append(output.readline()), daemon=True)
        reader.start()
        reader.join(_START_SECONDS)
        if not found or not found[0]:
            try:
                self._process.wait(1.0 if found else 0.0)
            except subprocess.TimeoutExpired:
                return ""
        return found[0].decode(errors="replace") if found else ""

    def _last_error(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    def stop(self) -> None:
        """End the emulator; a second call does nothing."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None and self._process.poll() is not None:
                stream.close()
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    stream.close()
        self._errors.close()

    def __enter__(self) -> Emulator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.stop()


def start(
    catalog: str | os.PathLike[str] | None = None,
    *,
    latency_ms: float | None = None,
    port: int | None = None,
    quota: int | None = None,
    requests_per_minute: int | None = None,
    jitter: float | None = None,
    faults: str | None = None,
    cache_mb: int | None = None,
    seed: int | None = None,
) -> Emulator:
    """Start the emulator in a process of its own and wait until it listens, at most two minutes.

    The options are those of the command; None leaves its default (no latency, no limits, no faults, a free port, the
    packaged catalog). Raises RuntimeError with the process's last line on stderr when it does not start.
    """
    given = {
        "--catalog": None if catalog is None else os.fspath(catalog),
        "--latency-ms": latency_ms,
        "--port": port,
        "--quota": quota,
        "--requests-per-minute": requests_per_minute,
        "--jitter": jitter,
        "--faults": faults,
        "--cache-mb": cache_mb,
        "--seed": seed,
    }
    return Emulator([part for name, value in given.items() if value is not None for part in (name, str(value))])
