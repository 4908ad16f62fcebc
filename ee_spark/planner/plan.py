"""The plan: which requests a job comes to, decided and explained before any pixel is asked for."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from ee_spark.client import Client, Service
from ee_spark.config import storage_of
from ee_spark.errors import JobError, ServiceError
from ee_spark.hosts import is_google
from ee_spark.job import DEFAULT_TILE, EarthEngine, JobConfig
from ee_spark.limits import MAX_BYTES
from ee_spark.objects import FUNCTIONS, Functions, Inputs
from ee_spark.planner import source as ee_source
from ee_spark.planner.alignment import Layer, choose_lattices
from ee_spark.planner.bands import choose_bands, some_of
from ee_spark.planner.choice import Choice, choose, footprint_notes
from ee_spark.planner.chunk import Pairs, block_side, bucket_days, by_time, cut
from ee_spark.planner.frozen import Band, Frozen, Note, fill_values
from ee_spark.planner.images import Images
from ee_spark.planner.intersection import patch_runs, region_runs, tile_runs
from ee_spark.planner.limits import check, check_asked, check_graphs, check_grid
from ee_spark.planner.listing import Listed, refused, stored
from ee_spark.planner.points import Points
from ee_spark.planner.polygon import Polygons
from ee_spark.planner.probe import Field, Probes
from ee_spark.planner.region import load as load_region
from ee_spark.planner.request import Recipe, TileRequest, graph_of, is_nothing, pack_size
from ee_spark.planner.standing import Standing
from ee_spark.planner.tile import Shape
from ee_spark.planner.typed import Known
from ee_spark.planner.unseen import check_seen, unseen
from ee_spark.planner.versions import Versions


@dataclass(frozen=True)
class Plan:
    """Images × tiles of one run, and why they are what they are.

    ``graphs`` are the graphs to send: none for getPixels, the template of all stored images, or one for each computed
    image. ``notes`` explain each decision as (what, value, why). ``spared`` are pairs that an image's raster
    touches and only its footprint took away, cut as ``pairs`` are. ``resumed``: a dataset's first plan was made before.
    ``latency`` is what a probe of one pixel took, in seconds; ``standing`` what the dataset has of the pairs, where
    that was looked at and there is one.
    """

    config: JobConfig
    service: Service
    region: Polygons | Points
    images: Images
    frozen: Frozen
    graphs: tuple[str, ...]
    pairs: Pairs
    untouched: int
    tiles: int
    identity: dict[str, Any]
    notes: tuple[Note, ...]
    spared: Pairs
    resumed: bool = False
    latency: float | None = None
    standing: Standing | None = None

    @property
    def fingerprint(self) -> str:
        """The sha256 (hex) of the identity: a dataset holds one job."""
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()

    @property
    def recipe(self) -> Recipe:
        """How the pixels of each image are asked for."""
        names = [band.old if self.frozen.method == "getPixels" else band.name for band in self.frozen.bands]
        return Recipe(
            self.frozen.method,
            self.service.project,
            (*names, *self.frozen.validity),
            self.config.pixels.format,
            self.config.name if is_google(self.service.url) else None,
        )

    @property
    def request_bytes(self) -> int:
        """Bytes of one request as the service counts them."""
        width, height = self.frozen.shape.stored
        return width * height * self.frozen.counted_bytes

    @property
    def fill(self) -> dict[str, float]:
        """What stands for masked samples in each band, with ``mask: fill``; else empty."""
        return fill_values([band.name for band in self.frozen.bands], self.config.pixels)

    @property
    def points(self) -> Points | None:
        """The points, where the region is one of points."""
        return self.region if isinstance(self.region, Points) else None

    @property
    def points_without_image(self) -> list[str]:
        """The ids of the points that no image covers."""
        points = self.points
        return [points.ids[index] for index in unseen(points, self.pairs).tolist()] if points else []

    @property
    def decides(self) -> bool:
        """False for a first plan that saw no image: it cannot know bands and types, and must not freeze any."""
        return bool(self.frozen.bands) and bool(len(self.images) or self.resumed)

    @property
    def pack(self) -> int:
        """How many images of one tile go into one request at most."""
        return pack_size(
            self.config.pixels.images_per_request,
            self.frozen.method,
            len(self.recipe.bands),
            self.frozen.tile_bytes,
            self.request_bytes,
            max(map(len, self.graphs), default=0),
        )

    @property
    def pins(self) -> bool:
        """True where images keep their versions: sent with each load, or (getPixels takes none) only noted."""
        return self.config.source.pin is not False and (
            self.frozen.method == "getPixels" or self.frozen.versions is not False
        )

    @property
    def requests(self) -> int:
        """How many requests a first run comes to, if none is split or asked for again."""
        return self.pairs.requests(self.pack)

    def spared_of(self, images: Collection[int]) -> Pairs:
        """Return the spared pairs of some images (indices)."""
        return self.spared.where(np.isin(self.spared.image, np.fromiter(images, np.int64)))

    def with_spared(self, images: Collection[int]) -> Plan:
        """Return the plan of the same images where the footprints of some (indices) take nothing away.

        It is the plan that :func:`make` makes ``by_raster`` of their ids.
        """
        more = self.spared_of(images)
        rest = self.spared.where(~np.isin(self.spared.image, np.fromiter(images, np.int64)))
        pairs, untouched = self.pairs.with_others(more), self.untouched - more.count
        return replace(self, pairs=pairs, spared=rest, untouched=untouched)

    def graph(self, image: int) -> str | None:
        """Return the graph of one image: its own, the template of all, or none."""
        return graph_of(self.graphs, image)


def make(
    config: JobConfig,
    service: Service,
    frozen: Frozen | None = None,
    *,
    functions: Functions = FUNCTIONS,
    region: Polygons | Points | None = None,
    listed: Listed = lambda count: None,
    by_raster: Collection[str] = (),
) -> Plan:
    """Plan a run of ``config``; ``frozen`` is what the dataset's first plan decided, if there is one.

    ``functions`` says how the job's are called. ``region`` is the job's, where it was read before: a sample that was
    drawn and kept. ``listed`` is told how many images are listed so far. ``by_raster`` are ids of images that are
    planned by their rasters alone, whatever their footprints.

    Asks the service for metadata and for one pixel, so that what would fail for all tiles fails here.

    Raises:
        JobError: for everything that is wrong with the job, in one line.
        StoppedError: if the service is away, or its quota is used up: run again.
    """
    check_grid(config.grid)
    check_asked(config.source.bands)
    client = Client(service, config.earth_engine.concurrent_requests)
    inputs = Inputs(storage_of(config), functions)
    region = region or load_region(config.region, client, inputs, Known.of(frozen, binding=not config.output.overwrite))
    computed = config.source.kind in ("image", "expression")
    method, why_method = choose_method(config)
    if method == "computePixels":
        ee_source.connect(service)
    area = region.geojson()
    graphs: ee_source.Graphs | None
    if computed:
        images, graphs = ee_source.computed_images(config.source, area, service, inputs)
    else:
        images = stored(client, config.source, area, listed)
        computes = method == "computePixels"
        graphs = ee_source.stored_graph(config.source, config.pixels, service, inputs) if computes else None
    check_graphs(graphs.images if graphs else ())
    versions = Versions(
        config.source.pin, frozen.versions if frozen else None, applies=method == "computePixels" and not computed
    )
    notes = [("method", method, why_method), *images.notes, *(region.notes if isinstance(region, Points) else ())]
    alignment = choose_lattices(config, images, frozen, region)
    probes = Probes(client, config.pixels.format)
    bands = choose_bands(config, probes, images, graphs, region, alignment.layers, frozen, versions)
    shape, why_tile = choose_shape(config, bands, frozen)
    notes += [*alignment.notes, *why_tile, *_type_notes(bands, config)]
    life = frozen.life if frozen else uuid.uuid4().hex
    nans, exact = (frozen.nans, frozen.exact) if frozen else (True, True)
    fixed = Frozen(method, bands, config.pixels.mask, shape, alignment.common, alignment.align, 1, 0, life, nans, exact)
    fixed = replace(fixed, side=block_side(fixed.tile_bytes, points=isinstance(region, Points)))
    choice = choose(config, images, bands, by_raster)
    pairs, spared, tiles, possible = _pairs(region, images, alignment.layers, fixed, choice, snap=config.grid.snap)
    packed = method == "computePixels" and config.pixels.images_per_request != 1
    days = frozen.days if frozen else bucket_days(pairs, images.time, fixed.tile_bytes, packed=packed)
    fixed = replace(fixed, days=days)
    notes += footprint_notes(config, images, spared.count)
    if isinstance(region, Points) and not computed:
        seen = partial(_covers_some, config, client, frozen, fixed, choice)
        notes += check_seen(config, region, pairs, seen)
    clip = area if config.region.clip else None
    plan = Plan(
        config=config,
        service=service,
        region=region,
        images=images,
        frozen=fixed,
        graphs=ee_source.select(graphs.images, bands, config.pixels, clip) if graphs else (),
        pairs=by_time(pairs, images.time, days),
        untouched=possible - pairs.count,
        tiles=tiles,
        identity=_identity(config, service, fixed, region, graphs.identity if graphs else None),
        notes=tuple(notes),
        spared=by_time(spared, images.time, days),
        resumed=frozen is not None,
    )
    check(fixed, config.pixels, plan.graphs, resumed=plan.resumed)
    if pairs.count:
        _probe_last(plan, probes, versions)
    return replace(
        plan,
        frozen=replace(plan.frozen, versions=versions.known),
        notes=(*plan.notes, *versions.notes()),
        latency=probes.latency,
    )


def choose_method(config: JobConfig) -> tuple[str, str]:
    """Return getPixels where nothing needs computing, else computePixels, and why."""
    source, pixels = config.source, config.pixels
    if source.method != "auto":
        return source.method, "asked for"
    if source.kind in ("image", "expression"):
        return "computePixels", f"the source is an {source.kind} to compute"
    reasons = [
        (bool(source.map), "map computes"),
        (pixels.mask != "none", f"mask: {pixels.mask} needs the images' masks"),
        (pixels.resample != "nearest", f"resample: {pixels.resample} needs computing"),
        (bool(pixels.dtype), "dtype needs casting"),
        (pixels.images_per_request not in ("auto", 1), "images_per_request packs"),
        (config.region.clip, "clip masks"),
    ]
    why = [text for applies, text in reasons if applies]
    return ("computePixels", ", ".join(why)) if why else ("getPixels", "stored pixels, nothing to compute")


def choose_shape(config: JobConfig, bands: Sequence[Band], frozen: Frozen | None) -> tuple[Shape, list[Note]]:
    """Return the tiles' size: the job file's, or the largest default that a request can hold."""
    margin = config.grid.margin
    if config.grid.size:
        return Shape(*config.grid.size, margin), []
    if frozen:
        return Shape(frozen.shape.width, frozen.shape.height, margin), []
    probe_shape = Frozen("", tuple(bands), config.pixels.mask, Shape(1, 1), None, "", 1, 0)
    side = DEFAULT_TILE
    while side > 16 and (side + 2 * margin) ** 2 * probe_shape.counted_bytes > MAX_BYTES:
        side //= 2
    return Shape(side, side, margin), [("tile", f"{side} pixels", "proposed: grid.tile is not given")]


def _pairs(
    region: Polygons | Points, images: Images, layers: Sequence[Layer], frozen: Frozen, choice: Choice, *, snap: bool
) -> tuple[Pairs, Pairs, int, int]:
    """Return the pairs and the spared ones before any cut by time, of tiles, and of pairs if all touched all."""
    lattices = [layer.lattice for layer in layers]
    if isinstance(region, Points):
        touched, corners = patch_runs(region, images, layers, frozen.shape, snap=snap, choice=choice)
        pairs, spared = (cut(lattices, found, frozen.side, corners) for found in touched)
        return pairs, spared, len(region.ids), len(region.ids) * len(images)
    wanted = region_runs(region, layers, frozen.shape)
    pairs, spared = (
        cut(lattices, found, frozen.side) for found in tile_runs(region, images, layers, wanted, frozen.shape, choice)
    )
    tiles = [runs.count for runs in wanted]
    possible = sum(count * len(layer.images) for count, layer in zip(tiles, layers, strict=True))
    return pairs, spared, sum(tiles), possible


def _covers_some(
    config: JobConfig, client: Client, frozen: Frozen | None, fixed: Frozen, choice: Choice, points: Points
) -> bool:
    """Return True if an image of the job's source touches the patch of one of these points."""
    images = stored(client, config.source, points.geojson())
    try:
        layers = choose_lattices(config, images, frozen, points).layers
        pairs, *_ = _pairs(points, images, layers, fixed, choice, snap=config.grid.snap)
    except JobError:  # the lattice does not show them
        return False
    return pairs.count > 0


def _probe_last(plan: Plan, probes: Probes, versions: Versions) -> None:
    """Ask for one pixel exactly as the tiles will be asked for; of another where there is no image."""
    chunk = plan.pairs.chunk(0)
    fields: Sequence[Field] = ()
    for image in some_of(np.unique(chunk.image).tolist()):
        run = chunk.run(int(np.flatnonzero(chunk.image == image)[0]))
        tiles, _, _ = run.pairs(plan.frozen.shape, plan.points, snap=plan.config.grid.snap)
        name, version, graph = plan.images.ids[image], int(plan.images.version[image]), plan.graph(image)
        asked = TileRequest(None, name, version, graph, tiles.window(len(tiles) // 2)).window
        pixel = asked.part(asked.width // 2, asked.height // 2, 1, 1)
        asking = partial(plan.recipe.call, name, graph=graph, window=pixel)
        try:
            fields = versions.probe(partial(probes.image, asking), name, version, graph)
            break
        except ServiceError as error:
            if not is_nothing(error, name, graph):
                source = plan.config.source
                raise refused(f"source.{source.kind}", source.name, error) from None
    for band, field in zip(plan.frozen.bands, fields, strict=False):
        if not np.can_cast(field.dtype, band.dtype, "safe"):
            raise JobError(
                f"source.bands: {band.name!r} is {field.dtype} and its column {band.dtype}; write pixels.dtype: "
                f"{{{band.name}: {band.dtype}}}, or another output.path"
            )


def _type_notes(bands: Sequence[Band], config: JobConfig) -> list[Note]:
    notes = [("bands", ", ".join(f"{band.name} {band.dtype}" for band in bands), "")]
    wide = [band.name for band in bands if band.dtype == "float64" and band.name not in config.pixels.dtype]
    if wide:
        notes.append(
            ("float64", ", ".join(wide), "nobody asked for it: pixels.dtype: {band: float32} halves the bytes")
        )
    if config.pixels.mask == "none":
        notes.append(("mask", "none", "masked pixels are zeros like any other; valid_count and statistics are null"))
    return notes


def _identity(
    config: JobConfig, service: Service, frozen: Frozen, region: Polygons | Points, graph: str | None
) -> dict[str, Any]:
    """Return what makes this job the one that a dataset belongs to, in keys that a person can compare."""
    grid, pixels, source, lattice = config.grid, config.pixels, config.source, frozen.lattice
    columns = region.columns.schema if isinstance(region, Points) else ()
    return {
        "earth_engine": service_identity(config.earth_engine, service),
        f"source.{source.kind}": source.name
        if source.kind in ("collection", "asset")
        else source.name.rpartition("/")[2],
        "source.graph": ee_source.digest(graph)
        if graph and (source.map or source.kind in ("image", "expression"))
        else None,
        "source.every": source.every,
        "source.args": source.args,
        "source.bands": {band.name: band.old for band in frozen.bands},
        "source.method": frozen.method,
        "grid.crs": lattice.crs if lattice else "native",
        "grid.resolution": [lattice.res_x, lattice.res_y] if lattice else None,
        "grid.offset": [lattice.x0, lattice.y0] if lattice else None,
        "grid.like": grid.like,
        "grid.tile": [frozen.shape.width, frozen.shape.height],
        "grid.margin": frozen.shape.margin,
        "grid.snap": grid.snap,
        "region": "points" if isinstance(region, Points) else "tiles",
        "region.clip": area_digest(region.geojson()) if config.region.clip else None,
        "region.columns": {field.name: str(field.type) for field in columns},
        "pixels.format": pixels.format,
        "pixels.mask": pixels.mask,
        "pixels.fill": pixels.fill,
        "pixels.resample": pixels.resample,
        "pixels.dtype": pixels.dtype,
    }


def area_digest(area: dict[str, Any]) -> str:
    """Return 16 hex digits that name an area: what is clipped to one holds no pixels of another."""
    return hashlib.sha256(json.dumps(area, sort_keys=True).encode()).hexdigest()[:16]


def service_identity(engine: EarthEngine, service: Service) -> str:
    """Return Earth Engine, the emulator with its catalog, or the URL of another endpoint."""
    if engine.endpoint == "emulator":
        return f"emulator, catalog {engine.emulator.get('catalog') or 'of the package'}"
    return "Earth Engine" if is_google(service.url) else service.url
