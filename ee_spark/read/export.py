"""The exports under their old name, which users' copies of ``jobs/export.py`` import."""

from ee_spark.export import *  # noqa: F403
