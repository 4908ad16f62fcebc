"""Live progress of a run, and its summary for people: best effort, from datagrams that lanes send.

Losing or doubling one harms nothing: each carries a lane's counters so far, and the largest are kept.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import threading
import time
from collections import defaultdict, deque
from collections.abc import Mapping
from types import TracebackType
from typing import Any, TextIO

REDRAW_SECONDS = 0.5
LOG_SECONDS = 10.0
SILENT_SECONDS = 5.0
"""A lane that says nothing for so long has nothing in flight: it ended, or died."""
END_SECONDS = 2.0
RATE_SECONDS = 20.0
"""The rate is that of the last so many seconds: neither Spark's start nor an outage an hour ago is in it."""
PLAN_SECONDS = 3.0
_WIDTH = 24
_DONE = frozenset(("answers", "ok", "empty", "skipped", "failed"))
"""What is counted of pairs, each of which is done once."""
_LANE = re.compile(r"(.*)/([0-9]{1,9})\.([0-9]{1,9})\.([0-9]{1,9})")


class Planning:
    """Tells on ``out``, every few seconds, how far a plan is; nothing where ``mode`` is none."""

    def __init__(self, mode: str = "auto", out: TextIO | None = None) -> None:
        self._out, self._mode = out, mode
        self._told = time.monotonic()

    def __call__(self, count: int) -> None:
        """Take a count of images."""
        self._tell(f"planning: {count:,} images listed so far")

    def looked(self, done: int, chunks: int) -> None:
        """Take how many of a dataset's chunks were looked at."""
        self._tell(f"planning: what is there already: {done:,} of {chunks:,} chunks read")

    def _tell(self, line: str) -> None:
        if self._mode == "none" or time.monotonic() - self._told < PLAN_SECONDS:
            return
        self._told = time.monotonic()
        try:
            print(line, file=self._out or _terminal(), flush=True)
        except (OSError, ValueError):  # a closed terminal does not stop a plan
            self._mode = "none"


class Progress:
    """Listens for lanes' datagrams and shows their sum on ``out``: a bar on a terminal, else a line now and then.

    ``mode`` is auto, bar, log or none. Lanes send to :attr:`address`, which is None where nothing is shown. What a
    lane had done that died is done anew, or skipped, by those that come after it: it is counted there and no more here.
    """

    def __init__(self, planned: int, mode: str = "auto", host: str = "127.0.0.1", out: TextIO | None = None) -> None:
        self.planned, self._out = planned, out or _terminal()
        self._mode = ("bar" if self._out.isatty() else "log") if mode == "auto" else mode
        self._lanes: dict[str, dict[str, int]] = defaultdict(dict)
        self._heard: dict[str, float] = {}
        self._end = threading.Event()
        self._answered: deque[tuple[float, int]] = deque()
        self._socket: socket.socket | None = None
        if self._mode != "none":
            try:
                self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                self._socket.bind((host, 0))
                self._socket.settimeout(0.2)
            except OSError:  # no progress is no reason not to run
                self._socket = None

    @property
    def address(self) -> tuple[str, int] | None:
        """Where lanes send their counters."""
        return self._socket.getsockname() if self._socket else None

    def __enter__(self) -> Progress:
        if self._socket:
            self._thread = threading.Thread(target=self._loop, args=(self._socket,), daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        if self._socket:
            self._thread.join(END_SECONDS)  # a terminal that takes nothing does not hold a job up
            self._socket.close()

    def grow(self, more: int) -> None:
        """Take that a run plans so many more pairs than when it began."""
        self.planned += more

    def line(self) -> str:
        """Return the state as one line: tiles, rate, requests in flight, retries, failed tiles, time to go."""
        sums: dict[str, int] = defaultdict(int)
        now, answers = time.monotonic(), 0
        lanes = {name: dict(counters) for name, counters in list(self._lanes.items())}
        over = _superseded(lanes)
        for lane, counters in lanes.items():
            answers += counters.get("answers", 0)
            for name, value in counters.items():
                silent = name == "in_flight" and now - self._heard[lane] >= SILENT_SECONDS
                if not silent and not (lane in over and name in _DONE):
                    sums[name] += value
        done = min(self.planned, sums["answers"] + sums["skipped"])
        rate = self._rate(now, answers)
        left = f"{(self.planned - done) / rate:.0f} s to go" if rate and done < self.planned else ""
        share = done / self.planned if self.planned else 1.0
        bar = "█" * round(share * _WIDTH) + "·" * (_WIDTH - round(share * _WIDTH))
        return (
            f"{bar} {done:,}/{self.planned:,} tiles  {share:4.0%}  {rate:,.0f}/s  {sums['in_flight']} in flight  "
            f"{sums['empty']:,} empty  {sums['retries']} retries  {sums['failed']} failed  {left}"
        )

    def _rate(self, now: float, answers: int) -> float:
        """Return answers per second since the first look that is young enough, at most since lanes were first heard."""
        if not self._answered:
            return 0.0
        self._answered.append((now, answers))
        while now - self._answered[0][0] > RATE_SECONDS and len(self._answered) > 2:
            self._answered.popleft()
        then, before = self._answered[0]
        return (answers - before) / max(1e-3, now - then)

    def _loop(self, listener: socket.socket) -> None:
        shown = time.monotonic() if self._mode == "log" else 0.0
        while not self._end.is_set():
            try:
                self._hear(json.loads(listener.recv(4096)))
            except TimeoutError:
                pass
            except (OSError, ValueError, LookupError, TypeError, AttributeError):
                self._end.wait(0.01)  # noise, or a socket that is ill: neither ends the progress, nor spins
            if time.monotonic() - shown >= (REDRAW_SECONDS if self._mode == "bar" else LOG_SECONDS):
                shown = time.monotonic()
                self._show(self.line())
        if self._mode == "bar":
            self._show(self.line())
            self._write("\n")

    def _hear(self, counters: dict[str, Any]) -> None:
        """Take one lane's counters; each attempt of a lane in each round is a lane of its own."""
        name = str(counters.pop("lane"))
        values = {key: int(value) for key, value in counters.items()}
        lane = self._lanes[name]
        lane.update({key: max(value, lane.get(key, 0)) for key, value in values.items()})
        lane["in_flight"] = values.get("in_flight", 0)
        self._heard[name] = time.monotonic()
        if not self._answered:
            self._answered.append((self._heard[name], 0))

    def _show(self, line: str) -> None:
        self._write(f"\r\x1b[K{line}" if self._mode == "bar" else f"{line}\n")

    def _write(self, text: str) -> None:
        try:
            self._out.write(text)
            self._out.flush()
        except (OSError, ValueError):  # a closed terminal does not stop a run
            self._mode = "none"


def _superseded(lanes: Mapping[str, Mapping[str, int]]) -> set[str]:
    """Return the lanes that never said that they end, and others came after them: in a later round, or in their place.

    Lanes are named ``deal/round.index.attempt``; of another name none is.
    """
    places = {name: place for name in lanes if (place := _place(name))}
    rounds: dict[str, int] = {}
    attempts: dict[tuple[str, int, int], int] = {}
    for deal, number, index, attempt in places.values():
        rounds[deal] = max(number, rounds.get(deal, 0))
        attempts[deal, number, index] = max(attempt, attempts.get((deal, number, index), 0))
    return {
        name
        for name, (deal, number, index, attempt) in places.items()
        if not lanes[name].get("ended") and (number < rounds[deal] or attempt < attempts[deal, number, index])
    }


def _place(lane: str) -> tuple[str, int, int, int] | None:
    match = _LANE.fullmatch(lane)
    return (match[1], int(match[2]), int(match[3]), int(match[4])) if match else None


def _terminal() -> TextIO:
    """Return stderr; under spark-submit, which hands a driver's stderr on through a pipe, the terminal behind it."""
    if sys.stderr.isatty() or "PYSPARK_GATEWAY_PORT" not in os.environ:
        return sys.stderr
    try:
        behind = open(f"/proc/{os.getppid()}/fd/2", "w")  # noqa: SIM115 (lives as long as the process)
    except OSError:  # not Linux, or closed
        return sys.stderr
    return behind if behind.isatty() else sys.stderr
