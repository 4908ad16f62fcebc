"""GDAL on this machine alone: no cloud's session, whatever the variables, and options that end with it."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import rasterio
from rasterio.env import getenv
from rasterio.session import DummySession
from rasterio.warp import transform

from ee_spark.gdal import local_gdal


def test_no_session_of_a_cloud_is_made_whatever_the_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    made: list[str] = []

    def watch(frame: object, event: str, _: object) -> None:
        name = frame.f_code.co_filename  # type: ignore[attr-defined]
        if event == "call" and "/boto" in name:
            made.append(name)

    sys.setprofile(watch)
    try:
        with local_gdal(GDAL_CACHEMAX=32) as env:
            assert isinstance(env.session, DummySession)
            assert getenv()["GDAL_CACHEMAX"] == 32
            x, y = transform("EPSG:4326", "EPSG:3857", [180.0], [0.0])
    finally:
        sys.setprofile(None)
    assert made == []
    np.testing.assert_allclose((x[0], y[0]), (np.pi * 6378137, 0), atol=1e-6)
    assert not rasterio.env.hasenv()
