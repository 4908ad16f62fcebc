"""What a path or URL that somebody wrote names: this machine's files or another store, and whether it can be written.

Nothing in a path is expanded, so what looks as if it should be is refused, unless it is there by that name.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from ee_spark.errors import JobError
from ee_spark.objects.names import SEGMENT_BYTES, has_control

PATH_BYTES = 4095 - 2 * SEGMENT_BYTES
"""Bytes of a path (``PATH_MAX``, https://man7.org/linux/man-pages/man3/realpath.3.html) that leave room for what comes
below it."""
SYSTEM = ("dev", "proc", "sys")
MEMORY = ("dev", "shm")
_VARIABLE = re.compile(r"\$(?:[A-Za-z_]|\{)")
SHOWN = 120


def is_local(path: str, key: str = "") -> bool:
    """Return True if a text names a file or folder of this machine: a plain path, or ``file:``.

    Raises:
        JobError: if it cannot be a path or URL at all.
    """
    return split_url(path, key).scheme in ("", "file")


def split_url(path: str, key: str = "") -> SplitResult:
    """Return the parts of a path or URL.

    Raises:
        JobError: if it cannot be one.
    """
    _check_text(path, key)
    try:
        return urlsplit(path)
    except ValueError as error:
        raise _wrong(path, key, f"is not a valid path or URL ({error})") from None


def local_path(path: str, key: str = "") -> Path:
    """Return the path of this machine that a plain path or a ``file://`` URL names.

    Raises:
        JobError: if it names none.
    """
    parts = split_url(path, key)
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise _wrong(path, key, f"names the host {parts.netloc!r}; write file:///PATH, with three slashes")
        if not parts.path.startswith("/") or parts.query or parts.fragment:
            raise _wrong(path, key, "is not a whole file: URL; write file:///PATH, with %3F for ? and %23 for #")
        path = unquote(parts.path)
        _check_text(path, key)
    steps = path.split("/")
    for index, step in enumerate(steps):
        if (step == "~" or (step.startswith("~") and not index) or _VARIABLE.match(step)) and not os.path.lexists(
            "/".join(steps[: index + 1])
        ):
            raise _wrong(
                path, key, f"is taken as it is written, and there is no {step[:SHOWN]!r}; write the whole path"
            )
    if len(os.fsencode(path)) > PATH_BYTES or any(len(os.fsencode(step)) > SEGMENT_BYTES for step in steps):
        raise _wrong(path, key, f"is too long; a name has up to {SEGMENT_BYTES} bytes, a path {PATH_BYTES}")
    return Path(path)


def check_folder(path: Path, key: str = "") -> None:
    """Make sure that a path is a folder, or could become one.

    Raises:
        JobError: if it, or what is above it, is a file, or belongs to the system.
    """
    _refuse_system(path, key)
    for place in (path, *path.absolute().parents):
        try:
            facts = place.stat()
        except (FileNotFoundError, NotADirectoryError):
            if place.is_symlink():
                raise _wrong(str(path), key, f"{place} is a link to nothing; write another path") from None
            continue
        except PermissionError:
            return  # told by what is tried there
        except OSError as error:
            raise _wrong(str(path), key, f"cannot be opened ({error.strerror}); write another path") from None
        if not stat.S_ISDIR(facts.st_mode):
            what = "is a file, not a folder" if place == path else f"lies below {str(place)!r}, which is a file"
            raise _wrong(str(path), key, f"{what}; write the path of a folder")
        return


def check_file(path: Path, key: str = "") -> None:
    """Make sure that a path names a file in a folder that is there, or a new one.

    Raises:
        JobError: if not.
    """
    _refuse_system(path, key)
    if not path.absolute().parent.is_dir() or path.is_dir() or (path.exists() and not path.is_file()):
        raise JobError(f"{key}: cannot write {str(path)!r}; name a file in a folder that is there")


def _refuse_system(path: Path, key: str) -> None:
    steps = Path(os.path.realpath(path)).parts[1:]
    if steps and steps[0] in SYSTEM and (steps[:2] != MEMORY or len(steps) < 3):
        raise _wrong(str(path), key, f"lies in /{steps[0]}, which is the system's; write another path")


def _check_text(path: str, key: str) -> None:
    if not path.strip():
        raise _wrong(path, key, "is empty; write a path")
    if has_control(path):
        raise _wrong(path, key, "holds a control character; write a path without")


def _wrong(path: str, key: str, what: str) -> JobError:
    shown = path if len(path) <= SHOWN else f"{path[:SHOWN]}…"
    return JobError(f"{key}: {shown!r} {what}" if key else f"{shown!r} {what}")
