"""The service without its wires: one request in, one reply out. Nothing here waits, so any thread may call it.

https://developers.google.com/earth-engine/reference/rest
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any

from ..algorithms import Context, call
from ..catalog.folder import Catalog
from ..errors import ServiceError, not_implemented
from ..evaluation.graph import Graph
from ..evaluation.signature import described, packaged
from ..values import limit as limits
from ..values.block import BlockCache, Held, NotHeldError
from ..values.description import describe
from ..values.element import Collection
from ..values.image import Image
from ..values.limit import Deadline
from . import fields, listing
from .message import JSON, Reply, Request, answered, content_of
from .rendering import Admission, Rendering, prepare
from .thumbnail import Thumbnails

_TAG = re.compile(r"[a-z0-9]([-_a-z0-9]{0,61}[a-z0-9])?")
_ASSET = re.compile(r"(?P<name>projects/[^/]+/assets/.+?)(?::(?P<verb>\w+))?")
_PROJECT = re.compile(r"projects/(?P<project>[^/:]+)(?P<rest>[/:].*)?")
_PIXEL_KEYS = {"expression", "fileFormat", "grid", "bandIds", "visualizationOptions", "workloadTag"}
_SHORT = 1 << 14
"""Bytes of a request body that is worth reading before it is known what it costs."""
_THUMBNAIL_KEYS = _PIXEL_KEYS | {"name", "region", "filenamePrefix"}


class Service:
    """Earth Engine over one catalog.

    `admit` gets the counted bytes of each pixel request and may refuse it by raising ServiceError.
    """

    def __init__(self, catalog: Catalog, cache: BlockCache, admit: Admission = lambda size: None) -> None:
        self._catalog = catalog
        self._cache = cache
        self._held = Held(cache)
        self._admit = admit
        self._thumbnails = Thumbnails()
        self._call = partial(_call, Context(catalog, cache))

    def answer(self, request: Request) -> Reply:
        """The reply to a request. ServiceError for what the service refuses."""
        path = request.path.strip("/")
        if path == "$discovery/rest":
            host = request.headers.get("host", "127.0.0.1")
            return Reply(200, JSON, _discovery(request.query.get("version", "v1"), host))
        version, _, path = path.partition("/")
        if version not in ("v1", "v1alpha"):
            raise ServiceError(f"Method not found: {request.method} {request.path:.200}", 404)
        asset = _ASSET.fullmatch(path)
        if asset:
            return self._asset(request, asset["name"], asset["verb"])
        project = _PROJECT.fullmatch(path)
        rest = project["rest"] if project else None
        if rest == "/algorithms" and request.method == "GET":
            return Reply(200, JSON, algorithms())
        if project and rest == "/thumbnails" and request.method == "POST":
            return self._create_thumbnail(request, project["project"])
        if rest and rest.startswith("/thumbnails/") and path.endswith(":getPixels") and request.method == "GET":
            return self._thumbnail_pixels(path.removesuffix(":getPixels"))
        if rest == ":listAssets" and request.method == "GET":
            return _partial(self._listed(path.partition(":")[0], request.query, "assets"), request)
        compute = {"/value:compute": self._value, "/image:computePixels": self._pixels}
        compute["/table:computeFeatures"] = self._features
        if rest in compute:
            if request.method != "POST":
                raise ServiceError(f"{rest[1:]} needs POST, got {request.method}.", 405)
            return compute[rest](content_of(request.body))
        raise not_implemented(f"Method '{request.method} {path:.200}'")

    def at_once(self, request: Request) -> Reply | None:
        """The reply to a short getPixels whose blocks are all in memory, on the pixels of its CRS; None for others.

        It takes a few milliseconds, but for the first one after the catalog changed. ServiceError as `answer`.
        """
        if request.method != "POST" or not request.path.endswith(":getPixels") or len(request.body) > _SHORT:
            return None
        asset = _ASSET.fullmatch(request.path.strip("/").partition("/")[2])
        if asset is None:
            return None
        rendering = self._get_pixels(asset["name"], content_of(request.body))
        if not rendering.simple:
            return None
        try:
            return Reply(200, *rendering.file(self._held))
        except NotHeldError:
            return None

    def _asset(self, request: Request, name: str, verb: str | None) -> Reply:
        if verb == "getPixels":
            if request.method != "POST":
                raise ServiceError(f"getPixels needs POST, got {request.method}.", 405)
            return Reply(200, *self._get_pixels(name, content_of(request.body)).file(self._cache))
        if request.method != "GET":
            raise not_implemented(f"Method '{request.method} {name:.200}'")
        if verb in ("listAssets", "listImages"):
            return _partial(self._listed(name, request.query, "assets" if verb == "listAssets" else "images"), request)
        if verb == "listFeatures":
            table = self._catalog.table(name)
            if table is None:
                raise self._missing(name)
            return _partial(listing.features(table.elements, request.query), request)
        if verb is not None:
            raise not_implemented(f"Method 'assets.{verb}'")
        resource = self._catalog.resource(name)
        if resource is None:
            raise self._missing(name)
        return _partial(resource, request)

    def _listed(self, name: str, query: Mapping[str, str], key: str) -> dict[str, Any]:
        members, others = self._catalog.members(name), self._catalog.inside(name)
        if members is not None:
            return listing.images(members, others or [], query, key)
        if others is None or key == "images":
            raise self._missing(name)
        return listing.resources(others, query)

    def _missing(self, name: str) -> ServiceError:
        if name.startswith("projects/earthengine-legacy/assets/"):
            return ServiceError(f'Asset "{name}" not found.', 404)
        return ServiceError(f"Asset '{name}' does not exist or doesn't allow this operation.", 404)

    def _get_pixels(self, name: str, body: dict[str, Any]) -> Rendering:
        _known(body, _PIXEL_KEYS - {"expression"} | {"region"})
        image = self._catalog.image(name)
        if image is None:
            if self._catalog.members(name) is not None:
                raise ServiceError(f"Asset '{name}' is not an Image.")
            raise self._missing(name)
        return prepare(image, body, "Image.load", self._admit)

    def _pixels(self, body: dict[str, Any]) -> Reply:
        _known(body, _PIXEL_KEYS)
        value = self._evaluate(body)
        if not isinstance(value, Image):
            raise ServiceError(f"Expected an expression of type Image, got {type(value).__name__}.")
        return Reply(200, *prepare(value, body, "Image.select", self._admit).file(self._cache))

    def _thumbnail(self, body: bytes) -> Rendering:
        """What the body of a thumbnail request is to draw; a 400 for what is wrong with it."""
        content = content_of(body)
        _known(content, _THUMBNAIL_KEYS)
        value = self._evaluate(content)
        if not isinstance(value, Image):
            raise ServiceError(f"Expected an expression of type Image, got {type(value).__name__}.")
        return prepare(value, content, "Image.select", self._admit, thumbnail=True)

    def _create_thumbnail(self, request: Request, project: str) -> Reply:
        self._thumbnail(request.body)
        return answered({"name": self._thumbnails.keep(project, request.body)})

    def _thumbnail_pixels(self, name: str) -> Reply:
        body = self._thumbnails.find(name)
        if body is None:
            raise ServiceError(f"Thumbnail '{name:.200}' not found; create it first.", 404)
        return Reply(200, *self._thumbnail(body).file(self._cache))

    def _value(self, body: dict[str, Any]) -> Reply:
        _known(body, {"expression", "workloadTag"})
        return answered({"result": describe(self._evaluate(body))})

    def _features(self, body: dict[str, Any]) -> Reply:
        _known(body, {"expression", "pageSize", "pageToken", "workloadTag"})
        value = self._evaluate(body)
        if not isinstance(value, Collection):
            raise ServiceError(f"Expected an expression of type FeatureCollection, got {type(value).__name__}.")
        return answered(listing.features(value.elements, body))

    def _evaluate(self, body: dict[str, Any]) -> Any:
        if "expression" not in body:
            raise ServiceError("Invalid request: 'expression' is required.")
        return Graph(body["expression"], partial(self._call, Deadline())).evaluate()


def _call(context: Context, deadline: Deadline, name: str, arguments: Mapping[str, Callable[[], Any]]) -> Any:
    value = call(name, arguments, context)
    limits.check(value)
    deadline.check()
    return value


def _partial(content: dict[str, Any], request: Request) -> Reply:
    """A good reply with what the request's `fields` leave of an answer."""
    mask = request.query.get("fields")
    return answered(fields.picked(content, fields.parse(mask)) if mask else content)


def _known(body: dict[str, Any], keys: set[str]) -> None:
    for key in body:
        if key not in keys:
            raise ServiceError(f'Invalid JSON payload received. Unknown name "{key:.60}": Cannot find field.')
    tag = body.get("workloadTag")
    if tag and not (isinstance(tag, str) and _TAG.fullmatch(tag)):
        raise ServiceError(f"Invalid value at 'workloadTag': '{tag!s:.80}'.")


@lru_cache(maxsize=1)
def algorithms() -> bytes:
    """The reply of algorithms.list: the list that earthengine-api ships."""
    return json.dumps({"algorithms": list(described().values())}, separators=(",", ":")).encode()


@lru_cache(maxsize=16)
def _discovery(version: str, host: str) -> bytes:
    """The discovery document for a client that talks to `host`: the shipped one, with its gaps filled."""
    if version not in ("v1", "v1alpha"):
        raise ServiceError(f"Discovery document not found for version '{version}'.", 404)
    text = packaged("cloud_api_discovery_document.json").read_text(encoding="utf-8")
    document = json.loads(text.replace("v1alpha", version))
    root = f"http://{host}/"
    document |= {"rootUrl": root, "baseUrl": root, "version": version}
    # The shipped document lacks what the client of the same release sends.
    projects = document["resources"]["projects"]
    features = projects["resources"]["assets"]["methods"]["listFeatures"]
    features["path"] = features["path"].replace("{+parent}", "{+asset}")
    features["parameters"]["asset"] = features["parameters"].pop("parent")
    features["parameterOrder"] = ["asset"]
    for methods in (projects["methods"], projects["resources"]["assets"]["methods"]):
        parameters = methods["listAssets"]["parameters"]
        for name in ("filter", "view"):
            parameters.setdefault(name, {"type": "string", "location": "query"})
    return json.dumps(document, separators=(",", ":")).encode()
