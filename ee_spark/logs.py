"""Log lines that say where they come from: level, run, lane, tile and image, as text or as JSON, on standard error.

Only loggers of ``ee_spark`` go below warnings: what HTTP and credential libraries say at lower levels can hold tokens.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import sys
from dataclasses import dataclass
from typing import TextIO

from ee_spark.errors import one_line

LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True)
class Logs:
    """What is logged, and how: the least level (of :data:`LEVELS`), and whether each line is a JSON object."""

    level: str = "warning"
    as_json: bool = False


def log_as(logs: Logs, run: str = "", lane: int | None = None) -> None:
    """Log in this process from now on, all lines with this run and lane.

    Called again it replaces what it set before. In a JSON line are ``time`` (ISO, UTC), ``level``, ``logger``,
    ``message`` and, where there is one, ``run``, ``lane``, ``tile``, ``image`` and ``error`` (a traceback).
    """
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _StandardError)]:
        root.removeHandler(handler)
    handler = _StandardError()
    handler.setFormatter(_Line(logs.as_json, {"run": run, "lane": lane}))
    root.addHandler(handler)
    logging.getLogger("ee_spark").setLevel(logs.level.upper())


class _StandardError(logging.StreamHandler[TextIO]):
    """Writes to what is standard error when a line is written."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


class _Line(logging.Formatter):
    """One record as one line; ``place`` is where the process works."""

    def __init__(self, as_json: bool, place: dict[str, object]) -> None:
        super().__init__()
        self._as_json, self._place = as_json, place

    def format(self, record: logging.LogRecord) -> str:
        tile = {name: getattr(record, name, None) for name in ("tile", "image")}
        place = {name: value for name, value in {**self._place, **tile}.items() if value not in (None, "")}
        at = dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds")
        message = one_line(record.getMessage(), None)
        error = self.formatException(record.exc_info) if record.exc_info else None
        if not self._as_json:
            words = [at, record.levelname, record.name, *(f"{name}={value}" for name, value in place.items())]
            return f"{' '.join(words)}: {message}" + (f"\n{error}" if error else "")
        line = {"time": at, "level": record.levelname, "logger": record.name, **place, "message": message}
        return json.dumps({**line, "error": error} if error else line)
