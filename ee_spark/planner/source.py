"""The user's functions and expressions as graphs that workers can send: the only module that imports ``ee``.

Every function is called here, on the driver, and its image serialised once
(https://developers.google.com/earth-engine/guides/client_server). For stored images the graph is a template: the id and
version of the image stand in it as placeholders.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import importlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any
from urllib.parse import urlsplit

import ee
import numpy as np

from ee_spark.boundary import reading
from ee_spark.client import Client, Service
from ee_spark.errors import JobError
from ee_spark.job import Pixels, Source, Stratify
from ee_spark.objects import INPUTS, Inputs
from ee_spark.planner.frozen import Band, fill_values
from ee_spark.planner.images import ID, NO_TIME, VERSION, Images, microseconds
from ee_spark.planner.validity import Validity

_REGION = {"type": "Polygon", "coordinates": [[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 0.0]]]}
_PERIOD = ("2001-02-03", "2002-03-04")


@dataclass(frozen=True)
class Graphs:
    """The images of a source as graphs, before bands are chosen.

    One of a stored image, with its placeholders, or one for each computed image. ``identity`` is the text of what is
    computed, with placeholders for region, period and image.
    """

    images: tuple[ee.Image, ...]
    identity: str


def connect(service: Service) -> None:
    """Initialise the official client for this process.

    Raises:
        JobError: if the service cannot be reached or refuses the caller.
    """
    logging.getLogger("googleapiclient.http").setLevel(logging.CRITICAL)  # what it warns of, we raise
    credentials, transport = Client(service, connections=4).official()
    with reading("earth_engine.endpoint", what=f"{service.url} cannot be used"):
        ee.data.setMaxRetries(1)  # its own five take three quarters of a minute to say that nobody answers
        ee.Initialize(credentials, project=service.project or None, url=service.url, http_transport=transport)
        ee.data.setDeadline(60_000)


def stored_graph(source: Source, pixels: Pixels, inputs: Inputs = INPUTS) -> Graphs:
    """Return the graph of one stored image of the source, with its resampling and the job's ``map``."""
    image = ee.Image.load(ID, VERSION)
    if pixels.resample in ("bilinear", "bicubic"):
        image = image.resample(pixels.resample)
    elif pixels.resample == "mean":
        image = image.reduceResolution(ee.Reducer.mean(), bestEffort=True, maxPixels=65536)
    if source.map:
        image = _called("source.map", source.map, image, args=source.args, inputs=inputs)
    return Graphs((image,), _serialised("source.map", image))


def class_graph(classes: Stratify, area: dict[str, Any], service: Service, inputs: Inputs = INPUTS) -> str:
    """Return the graph of a sample's classes and where they are valid, as the bands BAND and ``valid``.

    Raises:
        JobError: as :func:`computed_images` does.
    """
    connect(service)
    image = _called("region.sample.stratify.image", classes.image, _geometry(area), inputs=inputs)
    band = image.select([classes.band])
    return text(band.addBands(band.mask().gt(0).rename("valid").toUint8()))


def computed_images(source: Source, area: dict[str, Any], inputs: Inputs = INPUTS) -> tuple[Images, Graphs]:
    """Return the images that a function or an expression computes: one, or with ``every`` one for each period.

    ``area`` is the job's region as a GeoJSON geometry in planar lon/lat.

    Raises:
        JobError: if the function is not there, raises, or returns no image; if the expression cannot be read.
    """
    if source.expression:
        image = _read_expression(source.expression, inputs)
        return _unstored([("", NO_TIME, NO_TIME)]), Graphs((image,), _serialised("source.expression", image))
    name = str(source.image)
    called = partial(_called, "source.image", name, args=source.args, inputs=inputs)
    if not source.every:
        image = called(_geometry(area))
        identity = _serialised("source.image", called(_geometry(_REGION)))
        return _unstored([("", NO_TIME, NO_TIME)]), Graphs((image,), identity)
    spans = periods(str(source.start), str(source.end), source.every)
    images = tuple(called(_geometry(area), start, end) for start, end in spans)
    identity = _serialised("source.image", called(_geometry(_REGION), *_PERIOD))
    rows = [(f"{start}/{end}", microseconds(start), microseconds(end)) for start, end in spans]
    return _unstored(rows), Graphs(images, identity)


def periods(start: str, end: str, every: str) -> list[tuple[str, str]]:
    """Return the periods [start, end) of ``every`` (n days, months or years) from ``start`` on, as ISO dates.

    Only whole periods count: one that would go beyond ``end`` is left for a later run.
    """
    count, unit = int(every.split()[0]), every.split()[1].rstrip("s")
    first, last = dt.date.fromisoformat(start[:10]), dt.date.fromisoformat(end[:10])
    if unit != "day" and first.day > 28:
        raise JobError(f"source.start: {start} is not in every month; with every: {every} begin on day 1 to 28")
    spans, step = [], 0
    while True:
        begin, stop = _advance(first, step * count, unit), _advance(first, (step + 1) * count, unit)
        if stop > last:
            break
        spans.append((begin.isoformat(), stop.isoformat()))
        step += 1
    if not spans:
        raise JobError(f"source.every: no whole period of {every} lies between {start} and {end}")
    return spans


def all_bands(image: ee.Image) -> str:
    """Return the graph of all of an image's bands as JSON text; it fails where the image is null, as tiles would."""
    return text(image.select(".*"))


def text(image: ee.Image) -> str:
    """Return the graph of an image as JSON text."""
    return _serialised("source", image)


def digest(graph: str) -> str:
    """Return 16 hex digits that name a graph, whatever versions it pins."""
    return hashlib.sha256(graph.encode()).hexdigest()[:16]


def select(image: ee.Image, bands: Sequence[Band], pixels: Pixels, clip: dict[str, Any] | None = None) -> str:
    """Return the graph, as JSON text, of an image's bands as the job asks for them: renamed, clipped, cast, filled.

    Validity bands come last. They are 1 where the mask is above 0: a fraction is ordinary
    (https://developers.google.com/earth-engine/guides/scale) and means that there is a value. ``clip`` is a GeoJSON
    geometry: what is not in it by half at least is masked.
    """
    names = [band.name for band in bands]
    image = image.select([band.old for band in bands], names)
    if clip:
        image = image.updateMask(ee.Image(1).clip(_geometry(clip)).mask().gte(0.5))
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
    return text(image.select([*names, *valid]))


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


def _read_expression(path: str, inputs: Inputs) -> ee.Image:
    data = inputs.read(path, "source.expression")
    with reading("source.expression", what=f"{path!r} is not what ee.Image.serialize() writes"):
        return ee.Image(ee.deserializer.decode(json.loads(data)))


def _geometry(area: dict[str, Any]) -> ee.Geometry:
    build = ee.Geometry.Polygon if area["type"] == "Polygon" else ee.Geometry.MultiPolygon
    return build(area["coordinates"], None, False)


def _called(
    key: str, name: str, *values: Any, args: Mapping[str, Any] = MappingProxyType({}), inputs: Inputs
) -> ee.Image:
    """Call the user's function and return its image."""
    function = _function(key, name, inputs)
    with reading(key, what=f"{name} failed", code=True):
        image = function(*values, **args)
    if not isinstance(image, ee.ComputedObject):
        raise JobError(f"{key}: {name} returned {type(image).__name__}; return an ee.Image")
    return image if isinstance(image, ee.Image) else ee.Image(image)


def _function(key: str, name: str, inputs: Inputs) -> Callable[..., Any]:
    module_name, colon, attribute = name.rpartition(":")
    if not colon or not module_name:
        raise JobError(f"{key}: {name!r} does not name a function; write FILE.py:FUNCTION or MODULE:FUNCTION")
    if urlsplit(module_name).scheme not in ("", "file") and not inputs.remote_code:
        raise JobError(
            f"{key}: {module_name} would run code from object storage on this machine; if you trust whoever can write "
            "there, run with --allow-remote-code"
        )
    with reading(key, what=f"cannot import {module_name!r}", code=True):
        if module_name.endswith(".py"):
            module = ModuleType(Path(module_name).stem)
            module.__file__ = module_name
            exec(compile(inputs.read(module_name, key), module_name, "exec"), module.__dict__)
        else:
            module = importlib.import_module(module_name)
    function = getattr(module, attribute, None)
    if not callable(function):
        found = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise JobError(f"{key}: {module_name!r} has no function {attribute!r}, only {', '.join(found) or 'none'}")
    result: Callable[..., Any] = function
    return result


def _serialised(key: str, image: ee.Image) -> str:
    with reading(key, what="its image cannot be serialised"):
        return str(image.serialize())


def _unstored(rows: list[tuple[str, int, int]]) -> Images:
    count = len(rows)
    return Images(
        ids=tuple(row[0] for row in rows),
        time=np.array([row[1] for row in rows], np.int64),
        end=np.array([row[2] for row in rows], np.int64),
        version=np.full(count, -1, np.int64),
        signature=np.zeros(count, np.int64),
        signatures=((),),
        footprints=(None,) * count,
        properties=("{}",) * count,
    )


def _advance(date: dt.date, count: int, unit: str) -> dt.date:
    if unit == "day":
        return date + dt.timedelta(days=count)
    months = date.year * 12 + date.month - 1 + count * (12 if unit == "year" else 1)
    return date.replace(year=months // 12, month=months % 12 + 1)
