"""Lanes: what one Spark partition does. No Spark in here: a lane is a value, and its work a plain function."""

from ee_spark.lane.lane import Brief, Lane
from ee_spark.lane.work import work

__all__ = ["Brief", "Lane", "work"]
