"""The boundary to what users write: whatever is raised while it is read becomes one line that says where."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

from ee_spark.errors import EESparkError, JobError, one_line

P = ParamSpec("P")
T = TypeVar("T")

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


def in_one_line(command: Callable[P, T]) -> Callable[P, T]:
    """Return a click command's function that tells an error as one line on stderr and ends with its exit code.

    Errors that nobody foresaw are told so too, as the last resort, and end with 1.
    """

    @wraps(command)
    def wrapped(*args: P.args, **options: P.kwargs) -> T:
        import click  # not by workers, who read no commands

        try:
            return command(*args, **options)
        except EESparkError as error:
            click.echo(one_line(error, None), err=True)
            sys.exit(error.exit_code)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise  # click tells its own
        except Exception as error:
            click.echo(_unexpected(error), err=True)
            sys.exit(1)

    return wrapped


def _unexpected(error: BaseException) -> str:
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
