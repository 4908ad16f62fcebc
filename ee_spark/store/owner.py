"""Whether the driver that a run belongs to is known to be gone."""

from __future__ import annotations

import datetime as dt
from typing import Any

from ee_spark.objects.owner import is_dead, owner

__all__ = ["LONGEST", "is_gone", "owner"]

LONGEST = dt.timedelta(days=14)
"""What no run outlasts: it is all that Dataproc gives a batch.

Source: https://cloud.google.com/dataproc-serverless/docs/reference/rest/v1/EnvironmentConfig#ExecutionConfig.
"""


def is_gone(run: dict[str, Any] | None) -> bool:
    """Return True if a run, given by its record, has ended, or its driver has died: here, or long ago."""
    if run is None or run.get("report") is not None:
        return True
    try:
        began = dt.datetime.fromisoformat(run["started_at"])
        if dt.datetime.now(dt.UTC) - began > LONGEST:
            return True
        return is_dead(run.get("owner", {}))
    except (ValueError, KeyError, TypeError, AttributeError):  # no record of a run: nobody knows of one
        return True
