"""The errors of ee_spark: each states the fact with its value, then the way out, and knows its exit code."""

from __future__ import annotations

import datetime as dt
import json
from email.utils import parsedate_to_datetime

from ee_spark.refusals import Kind, classify, resets


class EESparkError(Exception):
    """Base of every error that ee_spark raises on purpose; its text is one line for the user."""

    exit_code = 1


class JobError(EESparkError):
    """The job file, the usage or what they name is wrong; found before any tile is asked for."""

    exit_code = 2


class ReadError(EESparkError, ValueError):
    """What was asked of a dataset cannot be read, drawn or exported so: a band that is not there, several lattices."""

    exit_code = 2


class MissingExtraError(EESparkError, ImportError):
    """Something needs a package that is not installed."""

    exit_code = 2


def missing_extra(what: str, package: str, extra: str) -> MissingExtraError:
    """Return the error of ``what`` that needs ``package``, which the extra ``extra`` brings."""
    return MissingExtraError(f"{what}: {package} is not installed; pip install 'ee-spark[{extra}]'")


class StoppedError(EESparkError):
    """The run cannot go on, but what it published holds: run it again and it resumes."""


class StoreError(EESparkError):
    """The output cannot be read or written."""


class AwayError(StoreError):
    """The host of an output or input does not answer: run again when it does."""


class DamagedError(ReadError, StoreError):
    """Something of a dataset cannot be what it says it is: it is damaged, or whoever can write there made it up."""


class LedgerError(StoreError):
    """A part has no readable ledger, so nobody knows which tiles are committed in it."""


class ServiceError(EESparkError):
    """Earth Engine refused a request, or its answer did not arrive whole.

    ``status`` is the HTTP status (0: no answer), ``kind`` says what to do about it, ``wait`` is the server's
    ``Retry-After`` in seconds, if it gave one. ``label`` is the ``error_class`` of a tile that fails by it.
    """

    def __init__(
        self, message: str, *, kind: Kind, status: int = 0, wait: float | None = None, label: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.kind: Kind = kind
        self.status = status
        self.wait = wait
        self.label = label or kind


REGISTER = "https://code.earthengine.google.com/register"
_AGAIN = "again; if it stays, look at earth_engine.endpoint"
_WAYS_OUT: dict[Kind, str] = {
    "transient": _AGAIN,
    "damaged": _AGAIN,
    "unavailable": _AGAIN,
    "overload": "the project's quota is used up: wait, or lower earth_engine.concurrent_requests",
    "deadline": "again; if it stays, write a smaller grid.tile, or make the function lighter",
    "access": "check earth_engine.credentials and project: enable earthengine.googleapis.com, register at "
    f"{REGISTER.removeprefix('https://')}, roles earthengine.viewer, serviceUsageConsumer",
}


_LIMITS = (
    ("Number of bands (", "let the function return fewer bands: image.select([...])"),
    ("Request payload size exceeds", "simplify the region's polygons, or keep what the function holds as an asset"),
)
"""Limits of one request that the plan does not see where only the service knows what a function returns."""


def way_out(error: ServiceError, verb: str = "try") -> str:
    """Return what the user can do about a refused request; empty where only the request itself is wrong.

    ``verb`` is what is done again where it passes: ``run``, say, where that was a run.
    """
    if error.status in (0, 407):
        return "run again if it is an outage, else look at earth_engine.endpoint, the network and proxies (HTTPS_PROXY)"
    if error.status == 401:
        return "run 'gcloud auth application-default login' again, or write other earth_engine.credentials"
    if error.kind == "daily":
        return f"run the same command again when {resets(error.message) or 'the quota is reset'}, or raise it"
    if error.kind == "permanent":
        return next((way for text, way in _LIMITS if error.message.startswith(text)), "")
    way = _WAYS_OUT.get(error.kind, "")
    return f"{verb} {way}" if way.startswith("again;") else way


def stops(error: ServiceError) -> bool:
    """Return True if a request was refused only for now: the service is away, or its quota is used up."""
    return error.kind in ("transient", "damaged", "unavailable", "overload", "daily", "deadline")


def while_planning(text: str, error: ServiceError) -> EESparkError:
    """Return the error of a plan that the service refused, with what can be done about it.

    An outage and a used-up quota pass: run again (:class:`StoppedError`). The rest is wrong in the job. Nobody can tell
    an outage from an endpoint that is misspelt, so both are named.
    """
    way = way_out(error, "run")
    kind = StoppedError if stops(error) else JobError
    return kind(f"{text}: {error.message}" + (f"; {way}" if way else ""))


def refusal(status: int, body: bytes, retry_after: str | None = None) -> ServiceError:
    """Return the typed error of a refused request: classified once, by the message's text and then by the status."""
    message = _message(status, body)
    return ServiceError(message, kind=classify(status, message), status=status, wait=seconds_of(retry_after))


def seconds_of(retry_after: str | None) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks for, as a number or a date (RFC 9110, 10.2.3)."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    date = date if date.tzinfo else date.replace(tzinfo=dt.UTC)
    return max(0.0, (date - dt.datetime.now(dt.UTC)).total_seconds())


def _message(status: int, body: bytes) -> str:
    try:
        error = json.loads(body)["error"]
        message = one_line(error["message"] if isinstance(error, dict) else error)
    except (ValueError, KeyError, TypeError, RecursionError):
        message = ""
    return message or f"HTTP {status} without a message"


def told(error: BaseException, limit: int) -> str:
    """Return what an error says, in one line; nothing of one that speaks of Python, as where a list is too short."""
    if isinstance(error, KeyError):
        return f"no {one_line(error)}"
    if isinstance(error, TypeError | IndexError | AttributeError) or "to unpack" in str(error):
        return ""
    return one_line(error, limit)


def _plainly(thing: object) -> str:
    """Return the text of an error, of some that Python raises in words for those who do not write it."""
    if isinstance(thing, UnicodeDecodeError):
        byte = thing.object[thing.start]
        return f"byte {byte:#04x} at {thing.start:,} is not {thing.encoding.upper()}: {thing.reason}"
    text = str(thing)
    if isinstance(thing, ValueError) and text.startswith("Exceeds the limit ("):
        return "a number of more than 4,300 digits"
    return text


def one_line(thing: object, limit: int | None = 500) -> str:
    """Return an error's or message's text as one line of at most ``limit`` characters; an error without one by name.

    Characters that do not print, which may hide a message or end it, are written as escapes. Nothing is raised.
    """
    try:
        text = _plainly(thing)
    except Exception:  # of the user's own error, or of a number of more digits than Python writes
        text = f"{type(thing).__name__} that cannot be written"
    text = " ".join(text[: 4 * limit if limit else None].split())[:limit]
    if not text.isprintable():
        text = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
    return text or (type(thing).__name__ if isinstance(thing, BaseException) else "")
