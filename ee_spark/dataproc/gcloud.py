"""The command lines of ``gcloud`` that submit what :mod:`ee_spark.dataproc.batch` builds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ee_spark.dataproc.batch import Options, request_id


def batch_command(batch: Mapping[str, Any], name: str, options: Options) -> list[str]:
    """Return the ``gcloud`` command that submits ``batch`` as ``name`` and waits for it; flags go before its ``--``."""
    workload, runtime = batch["pyspark_batch"], batch["runtime_config"]
    environment = batch["environment_config"]
    execution = environment["execution_config"]
    history = environment.get("peripherals_config", {}).get("spark_history_server_config", {})
    flags = {
        "project": options.project,
        "region": options.region,
        "batch": name,
        "request-id": request_id(name),
        "version": runtime.get("version", ""),
        "container-image": runtime.get("container_image", ""),
        "py-files": joined(workload["python_file_uris"]),
        "archives": joined(workload.get("archive_uris", [])),
        "properties": joined(f"{key}={value}" for key, value in runtime["properties"].items()),
        "service-account": execution.get("service_account", ""),
        "network": execution.get("network_uri", ""),
        "subnet": execution.get("subnetwork_uri", ""),
        "tags": joined(execution.get("network_tags", [])),
        "ttl": execution["ttl"],
        "history-server-cluster": history.get("dataproc_cluster", ""),
        "labels": joined(f"{key}={value}" for key, value in batch["labels"].items()),
    }
    command = ["gcloud", "dataproc", "batches", "submit", "pyspark", workload["main_python_file_uri"]]
    return [*command, *_flags(flags), "--", *workload["args"]]


def job_command(job: Mapping[str, Any], options: Options) -> list[str]:
    """Return the ``gcloud`` command that submits a job to its cluster: each call is a new job, and resumes."""
    workload = job["pyspark_job"]
    flags = {
        "project": options.project,
        "region": options.region,
        "cluster": job["placement"]["cluster_name"],
        "py-files": joined(workload["python_file_uris"]),
        "archives": joined(workload.get("archive_uris", [])),
        "properties": joined(f"{key}={value}" for key, value in workload["properties"].items()),
        "labels": joined(f"{key}={value}" for key, value in job["labels"].items()),
    }
    command = ["gcloud", "dataproc", "jobs", "submit", "pyspark", workload["main_python_file_uri"]]
    return [*command, *_flags(flags), "--", *workload["args"]]


def joined(words: Iterable[str]) -> str:
    """Return words as one flag's value, with another delimiter where they hold commas (``gcloud topic escaping``)."""
    words = list(words)
    if not any("," in word for word in words):
        return ",".join(words)
    mark = next(mark for mark in ("|", ";", "~", "@@", "%%%") if not any(mark in word for word in words))
    return f"^{mark}^{mark.join(words)}"


def _flags(flags: Mapping[str, str]) -> list[str]:
    return [f"--{name}={value}" for name, value in flags.items() if value]
