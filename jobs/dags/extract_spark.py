"""An incremental extraction every day, by spark-submit to a cluster of your own.

The connection ``spark_default`` names the master; ``EE_SPARK_PYTHON`` is the Python, on this machine, of an environment
with ee_spark and Spark, and its ``bin`` is first on the workers' PATH, so that ``spark-submit`` is that one.
"""

from __future__ import annotations

import datetime as dt
import os

import incremental
from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, CronDataIntervalTimetable, Param, task

PYTHON = os.environ.get("EE_SPARK_PYTHON", "python3")

with DAG(
    dag_id="ee_spark_extract_spark",
    description="Earth Engine pixels of each day into a dataset, by spark-submit",
    schedule=CronDataIntervalTimetable("0 6 * * *", timezone="UTC"),
    start_date=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    catchup=False,
    max_active_runs=1,  # two runs would share one quota, and neither would know
    params={
        "job_file": Param(os.environ.get("EE_SPARK_JOB", "/opt/jobs/job.yaml"), type="string", title="Job file"),
        "overrides": Param([], type="array", items={"type": "string"}, title="KEY=VALUE of the job file"),
        "lookback_days": Param(incremental.LOOKBACK_DAYS, type="integer", minimum=0),
    },
    default_args={"retries": 3, "retry_delay": dt.timedelta(minutes=5), "retry_exponential_backoff": True},
    tags=["earth-engine"],
) as dag:

    @task(multiple_outputs=True)
    def prepare(data_interval_start=None, data_interval_end=None, params=None):
        """Read the job file; what is wrong in it fails here, before a cluster is asked."""
        return incremental.prepare(
            params["job_file"], params["overrides"], data_interval_start, data_interval_end, params["lookback_days"]
        )

    prepared = prepare()
    # A retry is a plain run: it asks for what is not committed yet, failed tiles too.
    extract = SparkSubmitOperator(
        task_id="extract",
        application=str(incremental.JOBS / "extract.py"),
        application_args=prepared["arguments"],
        env_vars={"PYSPARK_PYTHON": PYTHON, "PYSPARK_DRIVER_PYTHON": PYTHON},
        pool=incremental.POOL,
    )
    verify = BashOperator(
        task_id="verify",
        bash_command='"$EE_SPARK_PYTHON" "$JOB" --dataset "$DATASET"',
        env={
            "EE_SPARK_PYTHON": PYTHON,
            "JOB": str(incremental.JOBS / "verify.py"),
            "DATASET": prepared["dataset"],
        },
        append_env=True,
    )

    @task(trigger_rule="all_done", retries=0)
    def report(prepared, params=None):
        """Say how the run ended; fails, with the reason, where it did not end well."""
        return incremental.said(params["job_file"], prepared)

    prepared >> extract >> [verify, report(prepared)]
