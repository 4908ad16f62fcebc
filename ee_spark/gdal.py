"""GDAL for what is in memory or on this machine."""

from __future__ import annotations

from typing import Any

import rasterio
from rasterio.session import DummySession


def local_gdal(**options: Any) -> rasterio.Env:
    """Return an environment of GDAL, with options of its own, that reaches for no cloud.

    Outside of one, rasterio makes a boto3 session of the variables ``AWS_*`` for each single call, 15 to 40 ms of CPU,
    wherever there are such variables: on every worker of a job that writes to s3://.
    """
    return rasterio.Env(session=DummySession(), **options)
