"""What a refusal of Earth Engine means: read from where its text begins, never from names that a user chose.

A message is the service's own sentence, after the names of the algorithms that it came through, and may quote any name
of the user's (a band called ``daily_quota``). So a sentence is known by its beginning, and what a quota is about by the
metric that the service names. Real texts with their sources: ``tests/data/recorded/errors.json``, and
https://developers.google.com/earth-engine/guides/debugging and https://developers.google.com/earth-engine/guides/usage.
"""

from __future__ import annotations

import re
from typing import Literal

Kind = Literal["transient", "damaged", "unavailable", "overload", "daily", "deadline", "too_big", "access", "permanent"]
"""What to do about a refused request.

``transient`` and ``damaged``: ask again, counted as an attempt. ``unavailable``: ask again later, not counted.
``overload``: ask again later and more slowly, not counted. ``daily``: no pixels before a quota of the day or the month
is reset, stop the run. ``deadline``: it took too long, perhaps by chance: ask again a few times, then for quadrants.
``too_big``: ask for quadrants. ``access``: credentials, permission or project, stop the run. ``permanent``: this
request will never succeed.
"""

_HEAD = (  # "Error: ", "Collection.first: Error in map(ID=1_1_LE07):\n", "From Earth Engine: ", "Image.load: "
    r"(?:(?:Error|Tile error|From Earth Engine|[A-Z]\w*(?:\.\w+)?): |Error in map\(ID=[^()]*\):\s+)*"
)


def _beginning(*sentences: str) -> re.Pattern[str]:
    return re.compile(f"{_HEAD}(?:{'|'.join(sentences)})", re.I)


_QUOTA = _beginning(r"(?:custom )?quota exceeded\b", r"your (?:usage|project|account)\b[^'\"]{0,60}\bexceeded\b")
# Text decides before status: most requests that are too big come back as 400, some overload as 403 or 500.
_SENTENCES: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    (
        "too_big",
        _beginning(
            r"Total request size \(\d+ bytes\) must be less",
            r"Pixel grid dimensions \(\d+x\d+\) must be less",
            r"User memory limit exceeded",
            r"Computation timed out",
            r"Output of image computation is too large",
            r"Object too large",
            r"Reprojection output too large",
        ),
    ),
    ("deadline", _beginning(r"Deadline (?:expired|exceeded)")),
    (
        "overload",
        _beginning(
            r"Too many concurrent aggregations",
            r"Earth Engine (?:memory )?capacity exceeded",
            r"Too Many Requests",
            r"(?:User )?Rate ?Limit ?Exceeded",
        ),
    ),
    ("transient", _beginning(r"An internal (?:server )?error has occurred")),
    ("unavailable", _beginning(r"The service is currently unavailable")),
    (
        "access",
        _beginning(
            r"Caller does not have (?:required )?permission",
            r"Permission '[\w.]+' denied on resource\b",
            r"Google Earth Engine API has not been used in project\b",
            r"Project \S+ is not registered to use Earth Engine",
            r"Not signed up for Earth Engine",
        ),
    ),
    ("permanent", _beginning(r"Collection query aborted after accumulating over \d+ elements")),
)
_ABSENT = _beginning(
    r"(?:(?:Image|ImageCollection|FeatureCollection|Table|Classifier) )?asset (?P<quote>['\"])(?P<name>.*?)(?P=quote) "
    r"(?:not found|does not exist)\b",
    r"Resource (?P<bare>\S+) could not be found",
    r"Permission '[\w.]+' denied on resource '(?P<denied>[^']+)' \(or it may not exist\)",
)
_FOLDER = re.compile(r"^projects/(?:earthengine-legacy|earthengine-public)/assets/")
_METRIC = re.compile(r"\b(?:metric|limit|quota for) '([^']*)'")
_NAMES = re.compile(r"'[^']*'|\"[^\"]*\"|\[[^\[\]]+\]|https?://\S+|\bprojects/\S+")
_MONTHLY = re.compile(r"month|non-?commercial", re.I)
_DAILY = re.compile(r"daily|\b(?:per|a) day\b|custom quota", re.I)


def classify(status: int, message: str) -> Kind:
    """Return what to do about an answer with this HTTP status and message."""
    if status == 401:
        return "access"
    for kind, sentence in _SENTENCES:
        if sentence.match(message):
            return kind
    if status == 429 or _QUOTA.match(message):
        return "daily" if resets(message) else "overload"
    if absent(message) is not None:
        return "permanent"
    if status == 504 and "deadline" in unquoted(message).lower():
        return "deadline"
    if status in (403, 407):
        return "access"
    if status in (502, 503, 504):
        return "unavailable"
    if status >= 500 or status == 408:
        return "transient"
    return "permanent"


def unquoted(message: str) -> str:
    """Return a message without the names that it quotes or lists, and addresses: only the service's own words."""
    return _NAMES.sub("", message)


def absent(message: str) -> str | None:
    """Return the id of the asset that a message says is not there, or may not be read; None if it says no such."""
    found = _ABSENT.match(message)
    return _FOLDER.sub("", found["name"] or found["bare"] or found["denied"]) if found else None


def resets(message: str) -> str:
    """Return when the quota that a message is about is reset, in words; empty for one of a minute or of the moment.

    The service says "the next day" and "every month", and of neither the hour
    (https://developers.google.com/earth-engine/guides/usage, https://developers.google.com/earth-engine/guides/noncommercial_tiers).
    """
    about = " ".join([unquoted(message), *_METRIC.findall(message)])
    if _MONTHLY.search(about):
        return "the project's monthly quota is reset (the next month)"
    return "the project's daily quota is reset (the next day)" if _DAILY.search(about) else ""
