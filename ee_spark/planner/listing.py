"""Which stored images there are: asked for by pages, and only those that a source can want."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from ee_spark.boundary import shown
from ee_spark.client import Client, asset_name, understood
from ee_spark.errors import EESparkError, JobError, ServiceError, while_planning
from ee_spark.job import Source
from ee_spark.json_answers import pages
from ee_spark.planner.frozen import Note
from ee_spark.planner.images import Images, iso, microseconds, moment
from ee_spark.planner.metadata import gather
from ee_spark.planner.polygon import Box, Polygons, polygons_of_geojson
from ee_spark.planner.probe import patiently
from ee_spark.planner.vicinity import PAD, filter_text, meets, reach, rings

T = TypeVar("T")
PAGE = 1000
"""Images of a page: no more are given with view FULL."""
FIELDS = "assets(type,name,startTime,endTime,updateTime,properties,geometry,bands(id,dataType,grid)),nextPageToken"
"""What of an answer is read by ``metadata.gather``; the rest is not sent (https://developers.google.com/drive/api/guides/
performance#partial)."""
Listed = Callable[[int], None]
"""Is told how many images are listed so far."""


def stored(client: Client, source: Source, area: dict[str, Any], listed: Listed = lambda count: None) -> Images:
    """Return the stored images of an asset or collection, those whose footprint meets ``area`` (GeoJSON) at least.

    Which of them touch it, and where, is decided afterwards. ``listed`` is told how many images are listed so far.

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
            boxes = Polygons(polygons_of_geojson(area)).boxes
            listing = _Listing(client, source, boxes, listed)
            near = partial(meets, boxes=boxes)
            found = gather(asset for asset in listing.assets() if near(asset.get("geometry")) and dates.hold(asset))
            return replace(found, without_time=dates.without_time, notes=tuple(listing.notes))
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


class _Listing:
    """The listing of a collection: its pages, each asked for until it comes, for images near some boxes at least.

    ``notes`` say what the plan should tell of it.
    """

    def __init__(self, client: Client, source: Source, boxes: Sequence[Box], listed: Listed) -> None:
        self.notes: list[Note] = []
        self._client, self._where, self._boxes = client, f"{asset_name(source.name)}:listAssets", boxes
        self._listed = listed
        self._terms = []  # dates go by start time only, never the listing's own endTime
        if source.start:
            self._terms.append(f'startTime >= "{iso(microseconds(source.start))}"')
        if source.end:
            self._terms.append(f'startTime < "{iso(microseconds(source.end))}"')
        if source.filter:
            self._terms.append(source.filter)  # OR binds closer than AND (https://google.aip.dev/160)

    def assets(self) -> Iterator[dict[str, Any]]:
        """Yield every image, page by page."""
        pad, place = PAD, filter_text(self._boxes, PAD)
        while True:
            following = self._pages(place)
            first = next(following)
            wanted = reach(asset.get("geometry") for asset in first) if place else pad
            if wanted <= pad:
                break
            pad, place = wanted, filter_text(self._boxes, wanted)
        if place and not first:
            rest = list(itertools.islice(following, 1))  # a page of nothing may be on the way
            following = itertools.chain(rest, following) if rest else self._elsewhere()
        count = 0
        for page in itertools.chain([first], _ahead(following)):
            yield from page
            count += len(page)
            self._listed(count)

    def _elsewhere(self) -> Iterator[list[dict[str, Any]]]:
        """Look for images where none is near the region: note that, or yield those that say nowhere where they are."""
        pages = self._pages("")
        page = next(pages)
        bounded = [asset for asset in page if next(rings(asset.get("geometry")), None) is not None]
        if not page:
            self.notes.append(("images", "none", "with these dates and this filter the collection has none anywhere"))
        elif len(bounded) == len(page):
            self.notes.append(("images", "none", "others of these dates and this filter lie elsewhere"))
        else:
            self.notes.append(("images", "everywhere", "listed without the region: they have no readable footprints"))
            yield page
            yield from pages

    def _pages(self, place: str) -> Iterator[list[dict[str, Any]]]:
        wanted = " AND ".join([*self._terms, place] if place else self._terms) or None

        def ask(token: str | None) -> dict[str, Any]:
            query = partial(self._client.get, self._where, pageSize=PAGE, pageToken=token, filter=wanted, view="FULL")
            return patiently(partial(query, fields=FIELDS))

        for assets in pages(ask, "assets"):
            yield [asset for asset in assets if asset.get("type") == "IMAGE"]


def _ahead(pages: Iterator[T]) -> Iterator[T]:
    """Yield pages, each asked for while the one before it is read."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, pages, None)
        while (page := coming.result()) is not None:
            coming = pool.submit(next, pages, None)
            yield page


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
