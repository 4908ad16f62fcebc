"""A driver of a chaos round: the program itself, in a process of its own, with its lanes in processes or in Spark."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import time_machine

from ee_spark import config, extract
from ee_spark.errors import EESparkError
from ee_spark.lane import work
from ee_spark.lane.deal import Share
from ee_spark.lane.lane import Lane


@dataclass(frozen=True)
class Processes:
    """Lanes as processes, forked from the driver: what :class:`ee_spark.lane.engine.Engine` asks for.

    ``copies``: each lane runs so often at once, as with speculation. ``retry``: a lane that died is tried once more, as
    Spark does. The processes' ids are files in ``folder``; they live on when their driver dies, as on a cluster.
    """

    folder: Path
    lanes: int
    copies: int = 1
    retry: bool = False
    host: str = "127.0.0.1"

    def slots(self) -> int:
        return self.lanes

    def held(self, shares: list[Share]) -> list[Share]:
        return shares

    def run(self, shares: list[Share]) -> str | None:
        lanes = [share.lane(None) for share in shares]
        running = {self._start(lane, 0): (lane, 0) for lane in lanes for _ in range(self.copies)}
        ended, died = set[int](), set[int]()
        while running:
            pid, status = os.wait()
            if pid not in running:
                continue
            lane, attempt = running.pop(pid)
            if status == 0:
                ended.add(lane.index)
            elif self.retry and attempt == 0:
                running[self._start(lane, 1)] = lane, 1
            else:
                died.add(lane.index)
        return f"lanes died: {sorted(died - ended)}" if died - ended else None

    def _start(self, lane: Lane, attempt: int) -> int:
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            (self.folder / f"lane-{os.getpid()}").write_text("")
            work(lane, attempt)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)


@dataclass(frozen=True)
class Driver:
    """One run of a job: its process, and where it tells what became of it."""

    pid: int
    folder: Path
    engine: str

    @classmethod
    def start(cls, job: dict[str, Any], folder: Path, draw: dict[str, Any]) -> Driver:
        """Start the program for a job. ``draw`` has engine, lanes, copies, retry, skew (seconds), options."""
        folder.mkdir()
        pid = os.fork()
        if pid:
            return cls(pid, folder, draw["engine"])
        try:
            os.setsid()
            _drive(job, folder, draw)
        finally:
            os._exit(70)

    def lanes(self) -> list[int]:
        """Return the ids of the processes in which its lanes live."""
        if self.engine == "processes":
            found = [int(path.name.removeprefix("lane-")) for path in self.folder.glob("lane-*")]
            return [pid for pid in found if alive(pid)]
        try:
            below = psutil.Process(self.pid).children(recursive=True)
            daemons = {process.pid for process in below if "pyspark.daemon" in " ".join(process.cmdline())}
            return [process.pid for process in below if process.pid in daemons and process.ppid() in daemons]
        except psutil.Error:
            return []

    def alive(self) -> bool:
        return alive(self.pid)

    def kill(self, *, lanes: bool) -> None:
        """kill -9 the driver, and its lanes too, or not."""
        for pid in [self.pid, *(self.lanes() if lanes else ())]:
            signalled(pid, signal.SIGKILL)

    def result(self) -> dict[str, Any] | None:
        """Return the report, or the error, with the exit code; None if the driver was killed."""
        told = self.folder / "told.json"
        return dict(json.loads(told.read_text())) if told.exists() else None

    def said(self) -> str:
        """Return the end of what it wrote on stderr; nothing where it was killed before it could."""
        file = self.folder / "stderr"
        return file.read_text(errors="replace")[-3000:] if file.exists() else ""


def _drive(job: dict[str, Any], folder: Path, draw: dict[str, Any]) -> None:
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(folder / name, os.O_CREAT | os.O_WRONLY | os.O_APPEND), number)
    skewed = time_machine.travel(time.time() + draw["skew"]) if draw["skew"] else nullcontext()
    options = extract.Options(progress="none", **draw["options"])
    told: dict[str, Any]
    try:
        with skewed:
            if draw["engine"] == "processes":
                engine = Processes(folder, draw["lanes"], draw["copies"], draw["retry"])
                report = extract.run_on(config.parse(job), lambda _: engine, options)
            else:
                report = extract.run(job, options=options)
        told = {"exit_code": report.exit_code, "report": dict(report)}
    except EESparkError as error:
        told = {"exit_code": error.exit_code, "error": str(error)}
    except BaseException:
        traceback.print_exc()
        told = {"exit_code": 70, "error": traceback.format_exc()[-1500:]}
    temporary = folder / "told.tmp"
    temporary.write_text(json.dumps(told, default=str))
    temporary.rename(folder / "told.json")
    os._exit(told["exit_code"])


def alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def signalled(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
