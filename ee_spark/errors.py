"""The errors of ee_spark: each states the fact with its value, then the way out, and knows its exit code."""

from __future__ import annotations

from typing import Literal

Kind = Literal["transient", "damaged", "overload", "daily", "too_big", "access", "permanent"]
"""What to do about a refused request.

``transient`` and ``damaged``: ask again, counted as an attempt. ``overload``: ask again later and more slowly, not
counted. ``daily``: no pixels before tomorrow, stop the run. ``too_big``: ask for quadrants. ``access``: credentials,
permission or project, stop the run. ``permanent``: this request will never succeed.
"""


class EESparkError(Exception):
    """Base of every error that ee_spark raises on purpose; its text is one line for the user."""

    exit_code = 1


class JobError(EESparkError):
    """The job file, the usage or what they name is wrong; found before any tile is asked for."""

    exit_code = 2


class StoppedError(EESparkError):
    """The run cannot go on, but what it published holds: run it again and it resumes."""


class StoreError(EESparkError):
    """The output cannot be read or written."""


class LedgerError(StoreError):
    """A part has no readable ledger, so nobody knows which tiles are final in it."""


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
