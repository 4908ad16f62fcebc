"""The OpenMetrics form of a run report under its old name."""

from ee_spark.report import openmetrics
from ee_spark.status import Status, TileStatus

__all__ = ["STATUSES", "TILES", "openmetrics"]

TILES = tuple(TileStatus)
STATUSES = tuple(Status)
