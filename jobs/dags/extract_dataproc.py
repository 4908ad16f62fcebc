"""An incremental extraction every day, as a Dataproc Serverless batch.

The connection ``google_cloud_default`` says as whom. ``prepare`` stages the job; the batch's message is the one that
``submit_dataproc.sh`` sends, and a retry attaches to a batch that lives and follows one that failed.
"""

from __future__ import annotations

import datetime as dt
import os

import incremental
from airflow.providers.google.cloud.operators.dataproc import DataprocCreateBatchOperator
from airflow.sdk import DAG, CronDataIntervalTimetable, Param, task
from google.api_core.exceptions import NotFound

from ee_spark.dataproc import batch


class ExtractBatch(DataprocCreateBatchOperator):
    """A batch that is named when it begins: ``batch_id`` is its stem until then."""

    def execute(self, context):
        """Submit the batch, or attach to the one that lives."""
        self.batch_id, _ = batch.choose(self.batch_id, self._state)
        self.request_id = batch.request_id(self.batch_id)
        return super().execute(context)

    def _state(self, name: str) -> str | None:
        try:
            return self.hook.get_batch(batch_id=name, region=self.region, project_id=self.project_id).state.name
        except NotFound:
            return None


def place(name: str, default: str, title: str) -> Param:
    """Return a parameter whose default is the environment's ``EE_SPARK_<NAME>``."""
    return Param(os.environ.get(f"EE_SPARK_{name.upper()}", default), type="string", title=title)


with DAG(
    dag_id="ee_spark_extract_dataproc",
    description="Earth Engine pixels of each day into a dataset, on Dataproc Serverless",
    schedule=CronDataIntervalTimetable("0 6 * * *", timezone="UTC"),
    start_date=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    catchup=False,
    max_active_runs=1,  # two runs would share one quota, and neither would know
    params={
        "job_file": place("job", "gs://my-bucket/jobs/job.yaml", "Job file"),
        "overrides": Param([], type="array", items={"type": "string"}, title="KEY=VALUE of the job file"),
        "lookback_days": Param(incremental.LOOKBACK_DAYS, type="integer", minimum=0),
        "project": place("project", "my-project", "Cloud project of the batch"),
        "region": place("region", "us-central1", "Region"),
        "staging": place("staging", "gs://my-bucket/ee_spark", "Folder for what is shipped"),
        "image": place("image", "", "Container image with the dependencies"),
        "version": place("version", "", "Runtime version"),
        "service_account": place("service_account", "", "As whom the batch runs"),
        "package": place("package", "gs://my-bucket/ee_spark/ee_spark.zip", "ee_spark as a zip"),
        "main": place("main", "gs://my-bucket/ee_spark/dataproc.py", "jobs/dataproc.py"),
    },
    default_args={"retries": 3, "retry_delay": dt.timedelta(minutes=5), "retry_exponential_backoff": True},
    tags=["earth-engine"],
) as dag:

    @task(multiple_outputs=True)
    def prepare(data_interval_start=None, data_interval_end=None, params=None):
        """Read the job file, stage what it names, and build the batches' messages."""
        run = incremental.prepare(
            params["job_file"], params["overrides"], data_interval_start, data_interval_end, params["lookback_days"]
        )
        names = ("project", "region", "staging", "image", "version", "service_account")
        options = batch.Options(**{name: params[name] for name in names}, labels={"scheduler": "airflow"})
        code = batch.Code(params["main"], params["package"])
        return run | incremental.batches(params["job_file"], run, code, options)

    prepared = prepare()
    where = {"project_id": "{{ params.project }}", "region": "{{ params.region }}", "deferrable": True}
    extract = ExtractBatch(
        task_id="extract", batch=prepared["batch"], batch_id=prepared["stem"], pool=incremental.POOL, **where
    )
    verify = ExtractBatch(task_id="verify", batch=prepared["check"], batch_id=prepared["check_stem"], **where)

    @task(trigger_rule="all_done", retries=0)
    def report(prepared, params=None):
        """Say how the run ended; fails, with the reason, where it did not end well: a batch only succeeds or fails."""
        return incremental.said(params["job_file"], prepared)

    prepared >> extract >> [verify, report(prepared)]
