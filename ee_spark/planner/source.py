"""The images that a job computes, as graphs that workers can send.

Every function is called once for each image, by a child process of the driver, and its image serialised there
(https://developers.google.com/earth-engine/guides/client_server). For stored images the graph is a template: the id and
version of the image stand in it as placeholders. What the job does with its bands is put around these texts.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import ee
import numpy as np

from ee_spark.client import Service
from ee_spark.errors import JobError
from ee_spark.job import Pixels, Source
from ee_spark.objects import INPUTS, Inputs
from ee_spark.planner.footprint import Footprints
from ee_spark.planner.frozen import Band, fill_values
from ee_spark.planner.function import (
    connect,
    expression_task,
    function_task,
    geometry,
    graphs_of,
    placeholder,
    serialised,
)
from ee_spark.planner.graph import SOURCE, framed
from ee_spark.planner.images import NO_TIME, Images, instant, microseconds
from ee_spark.planner.validity import Validity
from ee_spark.where import Stratify

__all__ = [
    "Graphs",
    "all_bands",
    "class_graph",
    "computed_images",
    "connect",
    "digest",
    "periods",
    "select",
    "stored_graph",
]

_REGION = {"type": "Polygon", "coordinates": [[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 0.0]]]}
_PERIOD = ("2001-02-03", "2002-03-04")


MOST_PERIODS = 50_000
"""Each is a call of the function, and an image with a graph of its own."""


@dataclass(frozen=True)
class Graphs:
    """The images of a source as graphs (JSON text), before bands are chosen.

    One of a stored image, with its placeholders, or one for each computed image. ``identity`` is the text of what is
    computed, with placeholders for region, period and image.
    """

    images: tuple[str, ...]
    identity: str


def stored_graph(source: Source, pixels: Pixels, service: Service, inputs: Inputs = INPUTS) -> Graphs:
    """Return the graph of one stored image of the source, with its resampling and the job's ``map``.

    Raises:
        JobError, StoppedError: as :func:`computed_images` does.
    """
    if source.map:
        task = function_task("source.map", source.map, inputs)
        [graph] = graphs_of(replace(task, calls=(({"stored": pixels.resample},),), args=source.args), service, inputs)
    else:
        graph = serialised("source", placeholder(pixels.resample))
    return Graphs((graph,), graph)


def class_graph(classes: Stratify, area: dict[str, Any], service: Service, inputs: Inputs = INPUTS) -> str:
    """Return the graph of a sample's classes and where they are valid, as the bands BAND and ``valid``.

    Raises:
        JobError, StoppedError: as :func:`computed_images` does.
    """
    connect(service)
    task = function_task("region.sample.stratify.image", classes.image, inputs)
    graphs = graphs_of(replace(task, calls=(({"area": area},),)), service, inputs)
    band = _source().select([classes.band])
    frame = serialised("region.sample.stratify", band.addBands(band.mask().gt(0).rename("valid").toUint8()))
    return next(framed(frame, graphs))


def computed_images(
    source: Source, area: dict[str, Any], service: Service, inputs: Inputs = INPUTS
) -> tuple[Images, Graphs]:
    """Return the images that a function or an expression computes: one, or with ``every`` one for each period.

    ``area`` is the job's region as a GeoJSON geometry in planar lon/lat.

    Raises:
        JobError: if the function is not there, raises, ends its process, takes too long or returns no image; if the
            expression cannot be read.
        StoppedError: if it asks the service for something, which is away.
    """
    if source.expression:
        [graph] = graphs_of(expression_task("source.expression", source.expression, inputs), service, inputs)
        return _unstored([("", NO_TIME, NO_TIME)]), Graphs((graph,), graph)
    task = replace(function_task("source.image", str(source.image), inputs), args=source.args)
    here, anywhere = {"area": area}, {"area": _REGION}
    if not source.every:
        image, identity = graphs_of(replace(task, calls=((here,), (anywhere,))), service, inputs)
        return _unstored([("", NO_TIME, NO_TIME)]), Graphs((image,), identity)
    spans = periods(str(source.start), str(source.end), source.every)
    calls = (*((here, *span) for span in spans), (anywhere, *_PERIOD))
    *images, identity = graphs_of(replace(task, calls=calls), service, inputs)
    rows = [(f"{start}/{end}", microseconds(start), microseconds(end)) for start, end in spans]
    return _unstored(rows), Graphs(tuple(images), identity)


def periods(start: str, end: str, every: str) -> list[tuple[str, str]]:
    """Return the periods [start, end) of ``every`` (n days, months or years) from ``start`` on, as ISO texts in UTC.

    They begin at the time of day of ``start``, and months and years are those of its offset; a text is a date where
    that is midnight UTC. Only whole periods count: one that would go beyond ``end`` is left for a later run.
    """
    count, unit = int(every.split()[0]), every.split()[1].rstrip("s")
    first, last = instant(start), instant(end)
    if unit != "day" and first.day > 28:
        raise JobError(f"source.start: {start} is not in every month; with every: {every} begin on day 1 to 28")
    about = (last - first).days / (count * {"day": 1, "month": 28, "year": 365}[unit])
    if about > MOST_PERIODS:
        raise JobError(
            f"source.every: {every} from {start} to {end} is about {about:,.0f} images, and a plan computes at most "
            f"{MOST_PERIODS:,}; write fewer"
        )
    spans, step = [], 0
    while True:
        try:
            begin, stop = _advance(first, step * count, unit), _advance(first, (step + 1) * count, unit)
            span = _text(begin), _text(stop)
        except (OverflowError, ValueError):  # after the year 9999
            break
        if stop > last:
            break
        spans.append(span)
        step += 1
    if not spans:
        raise JobError(f"source.every: no whole period of {every} lies between {start} and {end}")
    return spans


def _text(time: dt.datetime) -> str:
    """Return a moment as a date, where it is one in UTC, else to the second or millisecond."""
    utc = time.astimezone(dt.UTC)
    if utc.time() == dt.time():
        return utc.date().isoformat()
    return utc.isoformat(timespec="milliseconds" if utc.microsecond else "seconds").replace("+00:00", "Z")


def all_bands(graph: str) -> str:
    """Return the graph of all of an image's bands; it fails where the image is null, as tiles would."""
    return next(framed(serialised("source", _source().select(".*")), [graph]))


def digest(graph: str) -> str:
    """Return 16 hex digits that name a graph, whatever versions it pins."""
    return hashlib.sha256(graph.encode()).hexdigest()[:16]


def select(
    graphs: Sequence[str], bands: Sequence[Band], pixels: Pixels, clip: dict[str, Any] | None = None
) -> tuple[str, ...]:
    """Return the graphs of images' bands as the job asks for them: renamed, clipped, cast, filled.

    Validity bands come last. They are 1 where the mask is above 0: a fraction is ordinary
    (https://developers.google.com/earth-engine/guides/scale) and means that there is a value. ``clip`` is a GeoJSON
    geometry: what is not in it by half at least is masked.
    """
    return tuple(framed(_selection(bands, pixels, clip), graphs))


def _source() -> ee.Image:
    """Return what stands, in a frame, for the image that is put into it."""
    return ee.Image.load(SOURCE)


def _selection(bands: Sequence[Band], pixels: Pixels, clip: dict[str, Any] | None) -> str:
    names = [band.name for band in bands]
    image = _source().select([band.old for band in bands], names)
    if clip:
        image = image.updateMask(ee.Image(1).clip(geometry(clip)).mask().gte(0.5))
    masks = image.mask().unmask(0, False).gt(0)  # beyond a band's footprint its mask is itself masked
    fills = fill_values(names, pixels)
    cast = {band.name: _EE_TYPES[band.dtype] for band in bands if band.name in pixels.dtype or band.name in fills}
    if fills:
        filled = [image.select([name]).unmask(value, False) for name, value in fills.items()]
        image = ee.Image.cat(*filled) if len(filled) > 1 else filled[0]
    if cast:
        image = image.cast(cast)
    valid = list(Validity(pixels.mask, tuple(names)).columns)
    flag = _EE_TYPES[bands[0].dtype if pixels.format == "GEO_TIFF" else "uint8"]
    if pixels.mask == "band":
        image = image.addBands(masks.reduce(ee.Reducer.min()).rename(valid).cast({valid[0]: flag}))
    elif pixels.mask == "bands":
        image = image.addBands(masks.rename(valid).cast(dict.fromkeys(valid, flag)))
    return serialised("source", image.select([*names, *valid]))


_EE_TYPES = {
    "uint8": "uint8",
    "int8": "int8",
    "uint16": "uint16",
    "int16": "int16",
    "uint32": "uint32",
    "int32": "int32",
    "float32": "float",
    "float64": "double",
}


def _unstored(rows: list[tuple[str, int, int]]) -> Images:
    count = len(rows)
    return Images(
        ids=tuple(row[0] for row in rows),
        time=np.array([row[1] for row in rows], np.int64),
        end=np.array([row[2] for row in rows], np.int64),
        version=np.full(count, -1, np.int64),
        signature=np.zeros(count, np.int64),
        signatures=((),),
        footprints=Footprints.none(count),
        properties=("{}",) * count,
    )


def _advance(date: dt.datetime, count: int, unit: str) -> dt.datetime:
    if unit == "day":
        return date + dt.timedelta(days=count)
    months = date.year * 12 + date.month - 1 + count * (12 if unit == "year" else 1)
    return date.replace(year=months // 12, month=months % 12 + 1)
