"""What may become a path: names of objects, ids of runs, and ids from data as one segment of a path.

Limits are those of the file systems that datasets lie on: 255 bytes a segment (``NAME_MAX``), the names that Windows
keeps for devices, which SMB mounts refuse
(https://learn.microsoft.com/windows/win32/fileio/naming-a-file#naming-conventions), and those that ignore case. A name
of 1,024 bytes is what S3 and Cloud Storage take.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Literal
from urllib.parse import quote, unquote_to_bytes

from ee_spark.errors import JobError, StoreError

SEGMENT_BYTES = 255
NAME_BYTES = 1024
RUN_ID_LENGTH = 100
ROOM = 40
"""Bytes of a segment that :func:`segment` leaves for what a file's name has beside it: an ending, a number."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_RUN_ID = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{RUN_ID_LENGTH + 19}}}")  # with the -2 of a name that is taken
_DEVICES = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE)
_ORDINARY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?:/[A-Za-z0-9._-]+)*")
_BUCKET = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,254}")
_TEMPORARY = re.compile(r"\.(?:probe-|ee-spark-)?[0-9a-f]{32}")
_CUT = "~"
"""What stands before the digest in a segment that does not tell its text alone; no other segment holds it."""


def has_control(text: str) -> bool:
    """Return True if a text holds a NUL, another control character, or half of a surrogate pair: no path may."""
    return bool(_CONTROL.search(text))


def check(name: str, *, prefix: bool = False) -> str:
    """Return ``name`` if it names an object below a store's root and nothing else; a ``prefix`` may end anywhere.

    Raises:
        StoreError: if not.
    """
    parts = name.split("/")
    if prefix and not parts[-1]:
        parts = parts[:-1]
    wrong = (
        any(part in ("", ".", "..") or len(part.encode(errors="replace")) > SEGMENT_BYTES for part in parts)
        or has_control(name)
        or len(name.encode(errors="replace")) > NAME_BYTES
    )
    if wrong:
        raise StoreError(
            f"{name[:120]!r} is not a valid name of an object: it is too long, holds control characters, or has a part "
            "that is empty, '.' or '..'; find out who wrote it"
        )
    return name


def is_bucket(text: str) -> bool:
    """Return True if a text may be the name of a bucket, of Cloud Storage, S3 or what speaks as they do.

    https://cloud.google.com/storage/docs/buckets#naming and
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html, where old ones have capital letters.
    """
    return bool(_BUCKET.fullmatch(text))


def temporary(mark: Literal["", "probe-", "ee-spark-"] = "") -> str:
    """Return a file's name that nobody has and nobody can guess; ``ee-spark-`` marks those among a user's own files."""
    return f".{mark}{uuid.uuid4().hex}"


def is_temporary(name: str) -> bool:
    """Return True if a file's name is one that :func:`temporary` gives."""
    return bool(_TEMPORARY.fullmatch(name))


def is_run_id(text: str) -> bool:
    """Return True if a text may be the id of a run."""
    return bool(_RUN_ID.fullmatch(text)) and ".." not in text


def check_run_id(text: str) -> None:
    """Make sure that a text may be the id of a run.

    Raises:
        JobError: if not.
    """
    if not is_run_id(text) or len(text) > RUN_ID_LENGTH:
        raise JobError(
            f"--run-id: {text[:120]!r} is not a valid id; write up to {RUN_ID_LENGTH} of A-Z a-z 0-9 . _ -, a letter "
            "or digit first, without '..'"
        )


def run_folder(run_id: str, nonce: str) -> str:
    """Return the name of the folder of a run's notes: its id, with a nonce that nobody knows before the run begins."""
    return f"{run_id}{_CUT}{nonce}" if nonce else run_id


def run_of(folder: str) -> str | None:
    """Return the id of the run whose notes lie in a folder of this name; None if that is not such a name."""
    run_id = folder.partition(_CUT)[0]
    return run_id if is_run_id(run_id) else None


def segment(text: str) -> str:
    """Return one segment of a path that stands for a text, whatever that holds; :func:`text_of` is its inverse.

    What is not A-Z a-z 0-9 . _ - is percent-encoded, as is what would hide a file or look like an option at its
    beginning, a point at its end, and the names of devices. A text that is too long is cut and told apart by its
    digest.
    """
    found = quote(text.encode(errors="surrogatepass"), safe="")
    found = found.replace("~", "%7E")  # which quote leaves
    if not found:
        return "%"
    if found[0] in "._-" or _DEVICES.fullmatch(found):
        found = _escaped(found[0]) + found[1:]
    if found[-1] == ".":
        found = f"{found[:-1]}%2E"
    return found if len(found) <= SEGMENT_BYTES - ROOM else _tagged(found, text)


def text_of(found: str) -> str:
    """Return the text that a segment stands for.

    Raises:
        ValueError: if it was cut, so that it does not tell its text, or is none.
    """
    stem, cut, tag = found.partition(_CUT)
    try:
        text = unquote_to_bytes("" if stem == "%" else stem).decode(errors="surrogatepass")
    except UnicodeDecodeError:  # cut amid a character
        text = ""
    if (cut and tag != _digest(text)) or (not cut and segment(text) != found):
        raise ValueError(f"{found!r} does not tell the text that it stands for")
    return text


def segments(texts: Iterable[str], first: Callable[[str], str] = segment) -> dict[str, str]:
    """Return a segment for each text, such that no two are alike, on file systems that ignore case neither.

    Each is what ``first`` makes of the text where that is its alone, else :func:`segment`, else that with a digest.
    """
    left, found = sorted(set(texts)), dict[str, str]()
    for form in (first, segment, lambda text: _tagged(segment(text).partition(_CUT)[0], text)):
        forms = {text: form(text) for text in left}
        count = Counter(name.lower() for name in [*forms.values(), *found.values()])
        found |= {text: name for text, name in forms.items() if count[name.lower()] == 1}
        left = [text for text in left if text not in found]
    return found


def file_stem(text: str) -> str:
    """Return the stem of the file that is named after an id: as people know it, ``/`` as ``_``, where it is ordinary.

    Several ids may come to one stem: :func:`segments` tells them apart.
    """
    found = text.replace("/", "_")
    ordinary = _ORDINARY.fullmatch(text) and not _DEVICES.fullmatch(found) and not found.endswith(".")
    return found if ordinary and len(found) <= SEGMENT_BYTES - ROOM else segment(text)


def _escaped(character: str) -> str:
    return f"%{ord(character):02X}"


def _tagged(found: str, text: str) -> str:
    digest = f"{_CUT}{_digest(text)}"
    kept = found[: SEGMENT_BYTES - ROOM - len(digest)]
    return re.sub(r"%[0-9A-F]?$", "", kept) + digest if found != "%" else found + digest


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]
