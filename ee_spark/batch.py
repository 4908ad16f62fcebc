"""The Dataproc batch under its old name, which users' copies of our DAGs import."""

from ee_spark.dataproc.batch import *  # noqa: F403
