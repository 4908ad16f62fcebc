"""Which stored images there are: asked for by pages, and only those that a source can want."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from ee_spark.boundary import shown
from ee_spark.client import Client, asset_name, understood
from ee_spark.errors import EESparkError, JobError, ServiceError, while_planning
from ee_spark.job import Source
from ee_spark.json_answers import pages
from ee_spark.planner.images import Images, iso, microseconds, moment
from ee_spark.planner.metadata import gather
from ee_spark.planner.probe import patiently

PAGE = 1000


def stored(client: Client, source: Source, area: dict[str, Any]) -> Images:
    """Return the stored images of an asset or collection, those whose footprint meets ``area`` (GeoJSON) at least.

    Raises:
        JobError: if the asset is not there, is not an image or collection, or an image of it is broken.
        StoppedError: if the service is away.
    """
    name = source.name
    try:
        asset = patiently(lambda: client.get(asset_name(name)))
        with understood(f"what the service says of {name!r} cannot be read"):
            if source.asset:
                _expect(asset, "IMAGE", "source.asset", name)
                return gather([asset])
            _expect(asset, "IMAGE_COLLECTION", "source.collection", name)
            dates = _Dates(source)
            found = gather(asset for asset in _listed(client, source, area) if dates.hold(asset))
            return replace(found, without_time=dates.without_time)
    except ServiceError as error:
        raise refused(f"source.{source.kind}", name, error) from None


def refused(key: str, name: str, error: ServiceError) -> EESparkError:
    """Return the error of what the service refused while the job was planned; an outage says to run again."""
    if error.status == 404:
        return JobError(f"{key}: asset {shown(name)} does not exist, or the caller may not read it ({error.message})")
    return while_planning(f"{key}: {shown(name)}", error)


def _expect(asset: dict[str, Any], kind: str, key: str, name: str) -> None:
    found = asset.get("type", "?")
    if found != kind:
        other = {"IMAGE": "source.asset", "IMAGE_COLLECTION": "source.collection", "TABLE": "region.table"}.get(found)
        raise JobError(f"{key}: {name!r} is of type {found}, not {kind}" + (f"; write {other}" if other else ""))


def _listed(client: Client, source: Source, area: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every asset of a collection, page by page; dates go by start time only, never the listing's own endTime."""
    terms = []
    if source.start:
        terms.append(f'startTime >= "{iso(microseconds(source.start))}"')
    if source.end:
        terms.append(f'startTime < "{iso(microseconds(source.end))}"')
    terms.append(f"intersects({json.dumps(json.dumps(area))})")
    if source.filter:
        terms.append(source.filter)  # OR binds closer than AND (https://google.aip.dev/160)
    where, wanted = f"{asset_name(source.name)}:listAssets", " AND ".join(terms)

    def ask(token: str | None) -> dict[str, Any]:
        return patiently(partial(client.get, where, pageSize=PAGE, pageToken=token, filter=wanted, view="FULL"))

    for assets in pages(ask, "assets"):
        yield from (asset for asset in assets if asset.get("type") == "IMAGE")


class _Dates:
    """The dates and months that a source wants, and how many images without a start time they left out."""

    def __init__(self, source: Source) -> None:
        self.without_time = 0
        self._start = microseconds(source.start) if source.start else None
        self._end = microseconds(source.end) if source.end else None
        self._months = source.months

    def hold(self, asset: dict[str, Any]) -> bool:
        """Return True if an asset's start time is wanted, or none is asked for."""
        if self._start is None and self._end is None and not self._months:
            return True
        if "startTime" not in asset:
            self.without_time += 1
            return False
        time = microseconds(asset["startTime"])
        return (
            (self._start is None or time >= self._start)
            and (self._end is None or time < self._end)
            and (not self._months or moment(time).month in self._months)
        )
