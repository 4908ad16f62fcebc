"""The boundary to what users write: whatever is raised while it is read becomes one line that says where.

What is read as data is bounded before it is used: its size, its depth, its numbers and its texts. Files are bounded
where they are read (``objects``), the user's code where it runs (``planner.child``), plans by ``planner.limits``.
"""

from __future__ import annotations

import datetime as dt
import logging
import math
import reprlib
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from ee_spark.errors import EESparkError, JobError, one_line, told

P = ParamSpec("P")
T = TypeVar("T")

SHOWN = 120
"""Characters of a value that a message repeats."""
LONGEST = 299
"""Characters of a message: its value is cut, then its middle."""
LEAST = 60
"""Characters of a fact that are told before a long way out."""
DEEPEST = 40
"""Lists and mappings within each other."""
MOST_VALUES = 50_000
"""Values of a job file, those that an alias repeats too."""
LONGEST_TEXT = 20_000
"""Characters of one text: a WKT has a few thousand. What ``args`` hold may be as long as the job file."""
LARGEST = 2**63
INTERRUPTED = 130

log = logging.getLogger(__name__)


@contextmanager
def reading(key: str, value: object = None, what: str = "cannot be read", *, code: bool = False) -> Iterator[None]:
    """Turn any error of the block into ``JobError("key: value: what (the error in one line)")``.

    What only a programmer understands is left out of the line. Our own errors pass. ``code``: the block runs the user's
    own code, so the error's type and where it was raised are told too, and ``sys.exit`` is an error like any other. The
    traceback is logged, at the level debug.

    Raises:
        JobError: for whatever the block raises.
    """
    try:
        yield
    except EESparkError:
        raise
    except (Exception, SystemExit) as error:
        place = key if value is None else f"{key}: {shortened(value)}"
        if code:
            raise failed(place, what, error) from None
        log.debug("%s: %s", key, what, exc_info=True)
        why = told(error, SHOWN)
        raise JobError(f"{place}: {what} ({why})" if why else f"{place}: {what}") from None


def failed(place: str, what: str, error: BaseException, file: str = "") -> JobError:
    """Return the error of the user's own code: what it raised and where, in its ``file`` if it was there.

    The traceback is logged, at the level debug.
    """
    log.debug("%s: %s", place, what, exc_info=error)
    return JobError(f"{place}: {what}: {type(error).__name__}: {one_line(error, SHOWN)} ({_place(error, file)})")


def in_one_line(command: Callable[P, T]) -> Callable[P, T]:
    """Return a click command's function that tells an error as one line on stderr and ends with its exit code.

    Errors that nobody foresaw are told so too, as the last resort, and end with 1; an interrupt ends with 130.
    """

    @wraps(command)
    def wrapped(*args: P.args, **options: P.kwargs) -> T:
        import click  # not by workers, who read no commands

        try:
            return command(*args, **options)
        except EESparkError as error:
            log.debug("refused", exc_info=error)
            click.echo(cut(one_line(error, None)), err=True)
            sys.exit(error.exit_code)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise  # click tells its own
        except KeyboardInterrupt:
            click.echo("interrupted; what was published holds: run again, and it resumes", err=True)
            sys.exit(INTERRUPTED)
        except MemoryError as error:
            log.debug("out of memory", exc_info=error)
            click.echo(f"not enough memory ({_place(error)}); use a machine with more, or a smaller job", err=True)
            sys.exit(1)
        except Exception as error:
            click.echo(cut(_unexpected(error)), err=True)
            sys.exit(1)

    return wrapped


def _unexpected(error: BaseException) -> str:
    log.debug("unexpected", exc_info=error)
    return f"unexpected {type(error).__name__}: {one_line(error)} ({_place(error)}); this should not happen: report it"


def cut(text: str) -> str:
    """Return a message of at most 299 characters: where it is longer its middle is left out, not the way out.

    That is what follows the last semicolon, whole where the fact keeps as much as :data:`LEAST`.
    """
    if len(text) <= LONGEST:
        return text
    half = (LONGEST - 3) // 2
    fact, _, way = text.rpartition("; ")
    room = LONGEST - len(f" …; {way}")
    if fact and LEAST <= room < half:
        return f"{_head(fact, room)} …; {way}"
    tail = text[-half:]
    return f"{_head(text, half)} … {tail.partition(' ')[2] or tail}"


def _head(text: str, room: int) -> str:
    """Return the beginning of a text, cut between words where there are some: half a URL leads nowhere."""
    whole = text[: room + 1].rpartition(" ")[0]
    return whole if len(whole) > room // 2 else text[:room]


def shortened(value: object) -> str:
    """Return a value's text in one line, cut where it is long."""
    text = one_line(value, None) if isinstance(value, str | Path) else one_line(shown(value), None)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def shown(value: object) -> str:
    """Return a value as Python writes it, cut where it is long, deep or wide; of numbers without end their length."""
    text = _Short().repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


class _Short(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 4, SHOWN, SHOWN
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = 10

    def repr_int(self, x: int, level: int) -> str:
        if abs(x) >> 128:
            return f"a number of about {int(x.bit_length() * math.log10(2)) + 1:,} digits"
        return repr(x)


def plain(data: Any, label: str) -> Any:
    """Return what a user wrote as values that JSON has, dates as ISO texts, and refuse what no job can hold.

    That is what is too deep, too much, not finite, not text where a key is; and texts with what no name may have.

    Raises:
        JobError: with the path of the key, the value, and what to write.
    """
    left = MOST_VALUES

    def walk(value: Any, path: str, depth: int) -> Any:
        nonlocal left
        left -= 1
        if depth > DEEPEST or left < 0:
            what = f"more than {DEEPEST} levels deep" if depth > DEEPEST else f"of more than {MOST_VALUES:,} values"
            raise JobError(f"{label}: {shortened(path) or 'job'}: it is {what}; write a flatter, smaller one")
        if isinstance(value, Mapping):
            for key in value:
                wrong = _wrong(key, LONGEST_TEXT) if isinstance(key, str) else "a key that is not text; write it quoted"
                if wrong:
                    raise refused(path, key, wrong)
            return {key: walk(part, f"{path}.{key}" if path else key, depth + 1) for key, part in value.items()}
        if isinstance(value, list | tuple):
            parts = [walk(part, f"{path}.{index}", depth + 1) for index, part in enumerate(value)]
            return parts if isinstance(value, list) else tuple(parts)
        if isinstance(value, dt.date):
            return _iso(value)
        if wrong := _wrong(value, sys.maxsize if path.startswith("source.args") else LONGEST_TEXT):
            raise refused(path, value, wrong)
        return value

    def refused(path: str, value: object, what: str) -> JobError:
        return JobError(f"{label}: {shortened(path) or 'job'}: got {shown(value)}: {what}")

    return walk(data, "", 0)


def _wrong(value: object, longest: int) -> str:
    """Return why no job can hold a single value; empty where one can."""
    if isinstance(value, str):
        if len(value) > longest:
            return f"a text of {len(value):,} characters; write one of at most {longest:,}"
        letter = next((letter for letter in value if letter == "\0" or "\ud800" <= letter <= "\udfff"), None)
        return f"a text with {letter!r}, which no name can have; leave it out" if letter else ""
    if isinstance(value, float):
        return "" if math.isfinite(value) else "not a finite number; write one"
    if isinstance(value, int):
        return "" if abs(value) < LARGEST else "a number that no job can hold; write one below 2^63"
    kind = type(value).__name__
    return "" if value is None else f"a value of type {kind}; write text, a number, true, false or a list"


def _iso(value: dt.date) -> str:
    """Dates are handed on as ISO text, in UTC."""
    if isinstance(value, dt.datetime):
        value = value.astimezone(dt.UTC) if value.tzinfo else value.replace(tzinfo=dt.UTC)
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    return value.isoformat()


def _place(error: BaseException, file: str = "") -> str:
    """Return where an error was raised, e.g. ``maps.py line 3``: the last line in ``file`` that led there, if any."""
    frames = traceback.extract_tb(error.__traceback__)
    mine = [frame for frame in frames if file and frame.filename == file] or list(frames)
    return f"{Path(mine[-1].filename).name} line {mine[-1].lineno}" if mine else "nowhere"
