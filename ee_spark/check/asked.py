"""Whom ``verify --refetch`` asks, and as whom: what the user says, never what the dataset does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ee_spark.boundary import shortened
from ee_spark.client import Service, default_project
from ee_spark.config import load, parse, with_settings
from ee_spark.errors import JobError
from ee_spark.hosts import is_endpoint, is_google
from ee_spark.job import JobConfig
from ee_spark.planner.plan import service_identity
from ee_spark.store.manifest import Manifest

NO_PROJECT = "none-given"
_GIVEN = ("earth_engine.", "storage.")


def job_of(path: str | None, settings: Sequence[str], dataset: str) -> JobConfig:
    """Return the user's job file, or without one a job that says only how service and storage are reached.

    Raises:
        JobError: with the key's path, what was given and what to write instead.
    """
    if path is not None:
        return load(path, settings)
    for setting in settings:
        if not setting.startswith(_GIVEN):
            raise JobError(
                f"--set {shortened(setting)}: without --config write earth_engine.KEY=VALUE or storage.KEY=VALUE"
            )
    bare: dict[str, Any] = {
        "name": "verify",
        "earth_engine": {"project": NO_PROJECT},
        "source": {"asset": "none"},
        "region": {"bbox": [-1, -1, 1, 1]},
        "grid": {"crs": "EPSG:4326", "resolution": 1},
        "output": {"path": dataset},
    }
    return parse(with_settings(bare, settings), label="--set")


def same_service(job: Manifest, config: JobConfig, service: Service, root: str) -> Service:
    """Return the service to ask: the one that is given, which must be the one that the dataset came from.

    Raises:
        JobError: if it is another one, or nobody says whose quota is used.
    """
    mine, theirs = service_identity(config.earth_engine, service), str(job.identity.get("earth_engine"))
    if mine != theirs:
        raise JobError(
            f"--refetch: {root} was fetched from {shortened(theirs)}, and {shortened(mine)} would be asked; "
            f"{_way_out(theirs)}"
        )
    if service.project != NO_PROJECT or not is_google(service.url):
        return service
    project = default_project()
    if not project:
        raise JobError("earth_engine.project: missing; write --set earth_engine.project=PROJECT, whose quota is used")
    return replace(service, project=project)


def _way_out(theirs: str) -> str:
    kind, _, catalog = theirs.partition(", catalog ")
    if theirs == "Earth Engine":
        return "write --set earth_engine.endpoint=high-volume"
    if kind == "emulator":
        also = "" if catalog == "of the package" else f" --set earth_engine.emulator.catalog={shortened(catalog)}"
        return f"write --set earth_engine.endpoint=emulator{also}"
    if is_endpoint(theirs):
        return f"if you trust it, write --set earth_engine.endpoint={shortened(theirs)}"
    return "which is not a valid endpoint"
