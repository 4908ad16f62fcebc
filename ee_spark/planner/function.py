"""The user's functions and expression files, as the child process has them: called, and their images serialised.

https://developers.google.com/earth-engine/guides/client_server: a function is called once, and what it returns is a
description of an image, which needs no function any more.
"""

from __future__ import annotations

import importlib
import inspect
import json
import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar
from urllib.parse import urlsplit

import ee

from ee_spark.boundary import failed, reading, shown
from ee_spark.client import Client, Service
from ee_spark.errors import JobError, ServiceError, one_line, stops, while_planning
from ee_spark.logs import Logs, log_as
from ee_spark.objects import Inputs
from ee_spark.planner import child
from ee_spark.planner.graph import checked
from ee_spark.planner.images import ID, VERSION
from ee_spark.refusals import Kind, classify

T = TypeVar("T")

EXPRESSION_SECONDS = 60.0
"""An expression file is decoded and written again in milliseconds."""
_MAIN = f"from {__name__} import main; main()"
_WIRES = ("requests", "urllib3", "httplib2", "socket")
"""Whose errors mean that there was no answer."""


@dataclass(frozen=True)
class Task:
    """Calls of one function, or (without calls) an expression's image; JSON can hold it.

    ``code`` is the text of the function's file, or of the expression. An argument that is a mapping stands for an
    object of the client: ``{"area": GEOJSON}``, or ``{"stored": RESAMPLE}`` for a stored image's placeholder.
    """

    key: str
    name: str
    code: str | None
    calls: tuple[tuple[Any, ...], ...] = ()
    args: dict[str, Any] | None = None


def graphs_of(task: Task, service: Service, inputs: Inputs) -> list[str]:
    """Return the graph of each of a task's images, made by a child process.

    Raises:
        JobError: whatever the user's code does instead of returning an image.
        StoppedError: where it asked the service for something, and the service is away.
    """
    label = f"{task.key}: {task.name}"
    seconds = inputs.functions.seconds if task.calls else min(inputs.functions.seconds, EXPRESSION_SECONDS)
    limits = child.Limits(label, seconds)
    if child.FORKS:
        found = child.forked(partial(_texts, task), limits)
    else:
        debug = logging.getLogger("ee_spark").isEnabledFor(logging.DEBUG)
        found = child.fresh(_MAIN, {"task": asdict(task), "service": asdict(service), "debug": debug}, limits)
    if len(found) != max(1, len(task.calls)):
        raise JobError(f"{label}: gave {len(found)} images for {len(task.calls)} calls; print nothing into its pipe")
    for text in found:
        checked(text, task.key, task.name)
    return found


def main() -> None:
    """Answer as a fresh interpreter, which is told on its standard input what to do."""
    told = json.load(sys.stdin)
    if told["debug"]:
        log_as(Logs("debug"))

    def work() -> Iterator[str]:
        connect(Service(**told["service"]))
        yield from _texts(Task(**told["task"]))

    child.serve(work)


def connect(service: Service) -> None:
    """Initialise the official client for this process.

    Raises:
        JobError: if the service refuses the caller.
        StoppedError: if it is away.
    """
    logging.getLogger("googleapiclient.http").setLevel(logging.CRITICAL)  # what it warns of, we raise
    credentials, transport = Client(service, connections=4).official()
    with reading("earth_engine.endpoint", what=f"{service.url} cannot be used"):
        try:
            ee.data.setMaxRetries(1)  # its own five take three quarters of a minute to say that nobody answers
            ee.Initialize(credentials, project=service.project or None, url=service.url, http_transport=transport)
            ee.data.setDeadline(60_000)
        except Exception as error:
            _refuse_outage("earth_engine.endpoint", service.url, error)
            raise


def placeholder(resample: str) -> ee.Image:
    """Return the stored image whose id and version are filled in per image, resampled."""
    image = ee.Image.load(ID, VERSION)
    if resample in ("bilinear", "bicubic"):
        return image.resample(resample)
    if resample == "mean":
        return image.reduceResolution(ee.Reducer.mean(), bestEffort=True, maxPixels=65536)
    return image


def geometry(area: dict[str, Any]) -> ee.Geometry:
    """Return a GeoJSON polygon or multipolygon whose edges are straight in lon/lat as the client's."""
    build = ee.Geometry.Polygon if area["type"] == "Polygon" else ee.Geometry.MultiPolygon
    return build(area["coordinates"], None, False)


def serialised(key: str, image: ee.Image) -> str:
    """Return the graph of an image as JSON text."""
    with reading(key, what="its image cannot be serialised"):
        if issubclass(type(image), ee.ComputedObject):  # and does not only say so
            _share(image)
        return str(image.serialize())


def function_task(key: str, name: str, inputs: Inputs) -> Task:
    """Return the task of the function that a job file names, as yet without calls; its file is read here.

    Raises:
        JobError: if it names none, or one that may not run here.
    """
    file, colon, attribute = name.rpartition(":")
    if not colon or not file or not attribute:
        raise JobError(f"{key}: {name!r} does not name a function; write FILE.py:FUNCTION or MODULE:FUNCTION")
    with reading(key, what=f"{shown(file)} is not a path"):
        remote = urlsplit(file).scheme not in ("", "file")
    if remote and not inputs.functions.remote:
        raise JobError(
            f"{key}: {file} would run code from object storage on this machine; if you trust whoever can write there, "
            "run with --allow-remote-code"
        )
    return Task(key, name, inputs.read(file, key).decode("latin-1") if file.endswith(".py") else None)


def expression_task(key: str, path: str, inputs: Inputs) -> Task:
    """Return the task of an expression file, which is read and looked through here.

    Raises:
        JobError: if it cannot be read, or is not a graph.
    """
    data = inputs.read(path, key)
    with reading(key, what=f"{shown(path)} is not what ee.Image.serialize() writes"):
        newer = "values" in json.loads(data)  # the older form has its values inside each other
    if newer:
        checked(data, key, path)
    return Task(key, path, data.decode("latin-1"))


def _texts(task: Task) -> Iterator[str]:
    """Yield the graphs of a task; runs in the child."""
    if not task.calls:
        with reading(task.key, what=f"{shown(task.name)} is not what ee.Image.serialize() writes"):
            image = ee.Image(ee.deserializer.decode(json.loads((task.code or "").encode("latin-1"))))
        yield serialised(task.key, image)
        return
    function = _function(task)
    for values in task.calls:
        call = partial(function, *map(_argument, values), **(task.args or {}))
        image = _run(task, f"{task.name} failed", call)
        if inspect.iscoroutine(image):
            image.close()  # which else warns that nobody awaited it
        if not isinstance(image, ee.ComputedObject):
            kind = "None" if image is None else type(image).__name__
            raise JobError(f"{task.key}: {task.name} returned {kind}; return an ee.Image")
        yield serialised(f"{task.key}: {task.name}", image if isinstance(image, ee.Image) else ee.Image(image))


def _function(task: Task) -> Callable[..., Any]:
    file, _, attribute = task.name.rpartition(":")

    def load() -> tuple[Any, list[str]]:
        if task.code is None:
            module = importlib.import_module(file)
        else:
            module = ModuleType(Path(file).stem)
            module.__file__ = file
            exec(compile(task.code.encode("latin-1"), file, "exec"), module.__dict__)
        return getattr(module, attribute, None), [n for n, v in vars(module).items() if callable(v) and n[:1] != "_"]

    function, found = _run(task, f"cannot import {file!r}", load)
    if not callable(function):
        raise JobError(f"{task.key}: {file!r} has no function {attribute!r}, only {', '.join(found) or 'none'}")
    result: Callable[..., Any] = function
    return result


def _run(task: Task, what: str, call: Callable[[], T]) -> T:
    """Return what the user's code returns; whatever it raises is an error of the job's."""
    try:
        return call()
    except MemoryError:
        raise JobError(f"{task.key}: {what}: it takes more than {child.MEMORY >> 30} GB of memory") from None
    except BaseException as error:
        if _in_client(error):
            _refuse_outage(task.key, task.name, error)
        raise failed(task.key, what, error, task.name.rpartition(":")[0]) from None


def _argument(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return geometry(value["area"]) if "area" in value else placeholder(value["stored"])


def _share(image: ee.ComputedObject) -> None:
    """Make what is one object of what is one value: the client encodes each object anew that refers to a value.

    It copies an image wherever it is an argument, so that 30 levels of 10 references would be 10^30 objects.
    """
    known: dict[tuple[int, type], Any] = {}
    seen: set[int] = set()
    waiting: list[Any] = [image]

    def one(value: Any) -> Any:
        if isinstance(value, list):
            return [one(part) for part in value]
        if not isinstance(value, ee.ComputedObject) or not isinstance(value.args, dict):
            return value
        waiting.append(value)
        return known.setdefault((id(value.args), type(value)), value)

    while waiting:
        args = waiting.pop().args
        if isinstance(args, dict) and id(args) not in seen:
            seen.add(id(args))
            for name, part in args.items():
                args[name] = one(part)


def _refuse_outage(key: str, name: str, error: BaseException) -> None:
    """Raise StoppedError if an error of the official client means that the service is away, or its quota used up."""
    chain: BaseException | None = error
    while chain is not None:
        status = getattr(getattr(chain, "resp", None), "status", None)
        away = isinstance(chain, ConnectionError | TimeoutError) or type(chain).__module__.partition(".")[0] in _WIRES
        if isinstance(status, int) or away or type(chain).__name__ == "EEException":
            # An HTTP error's own text begins with the URL, its reason is what the service said.
            text = one_line(getattr(chain, "reason", None) or chain) if status else one_line(chain)
            kind: Kind = "unavailable" if away else classify(int(status or 400), text)
            said = f"no answer ({type(chain).__name__})" if away else text
            told = ServiceError(said, kind=kind, status=int(status or 0))
            if stops(told):
                raise while_planning(f"{key}: {name}", told) from None
        chain = chain.__cause__ or chain.__context__


def _in_client(error: BaseException) -> bool:
    """Return True if an error was raised while the official client asked the service."""
    asks = str(ee.data.__file__)
    return any(frame.filename == asks for frame in traceback.extract_tb(error.__traceback__))
