"""The boundary to what users write: whatever is raised while it is read becomes one line that says where."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ee_spark.errors import EESparkError, JobError, one_line

SHOWN = 120
"""Characters of a value that a message repeats."""

log = logging.getLogger(__name__)


@contextmanager
def reading(key: str, value: object = None, what: str = "cannot be read", *, code: bool = False) -> Iterator[None]:
    """Turn any error of the block into ``JobError("key: value: what (the error in one line)")``.

    Our own errors pass. ``code``: the block runs the user's own code, so the error's type and where it was raised are
    told too, and ``sys.exit`` is an error like any other. The traceback is logged, at the level debug.

    Raises:
        JobError: for whatever the block raises.
    """
    try:
        yield
    except EESparkError:
        raise
    except (Exception, SystemExit) as error:
        log.debug("%s: %s", key, what, exc_info=True)
        place = key if value is None else f"{key}: {shortened(value)}"
        said = f": {type(error).__name__}: {one_line(error)} ({_place(error)})" if code else f" ({_said(error)})"
        raise JobError(f"{place}: {what}{said}") from None


def unexpected(error: BaseException) -> str:
    """Return one line for an error that nobody foresaw, for the last resort of a command."""
    log.debug("unexpected", exc_info=error)
    return f"unexpected {type(error).__name__}: {one_line(error)} ({_place(error)}); this should not happen: report it"


def shortened(value: object) -> str:
    """Return a value's text in one line, cut where it is long."""
    text = one_line(value, None)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _said(error: BaseException) -> str:
    if isinstance(error, KeyError):
        return f"no {one_line(error)}"
    return one_line(error)


def _place(error: BaseException) -> str:
    """Return where an error was raised, e.g. ``maps.py line 3``."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name} line {frames[-1].lineno}" if frames else "nowhere"
