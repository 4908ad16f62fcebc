"""Which bands the tables have, and of what type: fixed for all images before the first tile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from ee_spark.boundary import shown
from ee_spark.errors import JobError, ServiceError
from ee_spark.job import JobConfig
from ee_spark.planner import source as ee_source
from ee_spark.planner import utm
from ee_spark.planner.alignment import Layer
from ee_spark.planner.columns import statistics_of
from ee_spark.planner.frozen import Band, Frozen
from ee_spark.planner.images import Images, Signature, StoredBand, names
from ee_spark.planner.limits import outside
from ee_spark.planner.listing import refused
from ee_spark.planner.naming import BandNamesError, column_names, refusal, why_not
from ee_spark.planner.points import Points
from ee_spark.planner.polygon import Polygons
from ee_spark.planner.probe import Probes
from ee_spark.planner.request import Recipe, is_nothing
from ee_spark.planner.versions import Versions
from ee_spark.planner.window import Window

PROBES = 9
"""How many images of one kind are asked for their bands, where those asked before turn out to be none."""


def choose_bands(
    config: JobConfig,
    probes: Probes,
    images: Images,
    graphs: ee_source.Graphs | None,
    region: Polygons | Points,
    layers: Sequence[Layer],
    frozen: Frozen | None,
    versions: Versions,
) -> tuple[Band, ...]:
    """Return the tables' bands with their types: the promotion over what all images have.

    Raises:
        JobError: if a band is not there, or is wider than its dataset's column.
        BandNamesError: if bands have names that no column can have.
    """
    source = config.source
    computes = bool(source.map) or source.kind in ("image", "expression") or config.pixels.resample != "nearest"
    if not len(images):
        return frozen.bands if frozen else _unseen_bands(config)
    if computes and graphs:
        kinds = _by_types(images)
        probed = [
            _probe_base(probes, config, images, graphs, some_of(alike), region, layers, versions) for alike in kinds
        ]
        owners = [alike for alike, signature in zip(kinds, probed, strict=True) if signature]
        found = [signature for signature in probed if signature]
    else:
        found = list(images.signatures)
        owners = [np.flatnonzero(images.signature == index).tolist() for index in range(len(found))]
    if not found:
        if frozen:
            return frozen.bands
        raise JobError(_nothing_found(config, images))
    renamed = _renamed(config, found, owners, images, frozen)
    bands = tuple(Band(new, old, config.pixels.dtype.get(new) or _promoted(old, found)) for new, old in renamed.items())
    unknown = set(config.pixels.dtype) - {band.name for band in bands}
    if unknown:
        raise JobError(f"pixels.dtype: there is no band {sorted(unknown)[0]!r}; the bands are {', '.join(renamed)}")
    _check_columns(bands, region, chosen=source.bands is not None)
    return _frozen_types(bands, frozen) if frozen else bands


def _by_types(images: Images) -> list[list[int]]:
    """Return the images of each distinct set of band names and types: what is computed of them is alike too."""
    kinds = [tuple((band.name, band.dtype) for band in signature) for signature in images.signatures]
    found: dict[tuple[tuple[str, str], ...], list[int]] = {}
    for image, signature in enumerate(images.signature.tolist()):
        found.setdefault(kinds[signature], []).append(image)
    return list(found.values())


def _probe_base(
    probes: Probes,
    config: JobConfig,
    images: Images,
    graphs: ee_source.Graphs,
    alike: Sequence[int],
    region: Polygons | Points,
    layers: Sequence[Layer],
    versions: Versions,
) -> Signature:
    """Ask for one pixel of all bands of a computed image, to learn their names and types.

    Where there is no image for one (``map`` drops it, a period is without any), the next that is like it is asked;
    empty where there is none for all.
    """
    for image in alike:
        layer = _layer_of(image, layers, region)
        graph = ee_source.all_bands(graphs.images[image if len(graphs.images) > 1 else 0])
        recipe = Recipe("computePixels", probes.client.service.project, (), config.pixels.format)
        name, window = images.ids[image], middle(region, layer)
        asking = partial(recipe.call, name, graph=graph, window=window)
        try:
            fields = versions.probe(partial(probes.image, asking), name, int(images.version[image]), graph)
        except ServiceError as error:
            if is_nothing(error, name, graph):
                continue
            raise refused(f"source.{config.source.kind}", config.source.name, error) from None
        return tuple(StoredBand(field.name, field.dtype, layer.lattice) for field in fields)
    return ()


def some_of(images: Sequence[int]) -> list[int]:
    """Return up to nine of some images, spread over all of them: the first, the last, the middle, then those between.

    A series may well begin before its first image, or end after its last.
    """
    places = np.unique(np.linspace(0, len(images) - 1, PROBES).round().astype(int)).tolist()
    return [images[place] for place in dict.fromkeys((places[0], places[-1], places[len(places) // 2], *places))]


def _nothing_found(config: JobConfig, images: Images) -> str:
    source, tried = config.source, len(some_of(range(len(images))))
    if source.map:
        tale = f"source.map: {source.map} gave no image for any of the {tried} images that were tried"
    else:
        tale = f"source.{source.kind}: {source.name} gave no bands for any of the {tried} periods that were tried"
    return f"{tale}, so that the bands are not known; choose images with source.filter, dates or another region"


def middle(region: Polygons | Points, layer: Layer) -> Window:
    """Return the one pixel of a lattice that holds the middle of the region's first polygon, or its first point."""
    lattice = layer.lattice
    if isinstance(region, Points):
        places = [(float(region.lon[0]), float(region.lat[0]))]
    else:
        west, south, east, north = region.boxes[0]
        if layer.zone:
            west, south = max(west, layer.zone[0]), max(south, layer.zone[1])
            east, north = min(east, layer.zone[2]), min(north, layer.zone[3])
        places = [((west + east) / 2, (south + north) / 2), (west, south)]
    for lon, lat in places:
        u, v = lattice.from_lonlat(np.array([lon]), np.array([lat]))
        if np.isfinite([u[0], v[0]]).all():
            return Window(lattice.crs, lattice.transform(float(np.floor(u[0])), float(np.floor(v[0]))), 1, 1)
    lon, lat = places[-1]
    raise outside(lattice.crs, lon, lat)


def _layer_of(image: int, layers: Sequence[Layer], region: Polygons | Points) -> Layer:
    """Return a layer on which an image is asked for: in UTM that of the region's first place."""
    mine = [layer for layer in layers if image in layer.images]
    if len(mine) > 1 and isinstance(region, Points):
        home = utm.codes(region.lon[:1], region.lat[:1])[0]
        return next(layer for layer in mine if layer.lattice.crs == home)
    return mine[0]


def _renamed(
    config: JobConfig,
    found: Sequence[Signature],
    owners: Sequence[Sequence[int]],
    images: Images,
    frozen: Frozen | None,
) -> dict[str, str]:
    """Return {new: old} for the bands asked for, or for those that every image has; ``owners`` are found's images."""
    asked = config.source.bands
    common = [band.name for band in found[0] if all(band.name in {b.name for b in other} for other in found)]
    if asked is None and frozen:
        asked = {band.name: band.old for band in frozen.bands}
    if asked is None:
        if not common:
            raise JobError("source: the images have no band in common; choose some with filter, or name source.bands")
        return {name: name for name in common}
    renamed = dict(asked) if isinstance(asked, dict) else {name: name for name in asked}
    for old in renamed.values():
        if old not in common:
            lacking = [index for index, signature in enumerate(found) if old not in {band.name for band in signature}]
            if len(lacking) == len(found):
                raise JobError(f"source.bands: there is no band {old!r}; the bands are {names(found[0])}")
            without = sorted(image for index in lacking for image in owners[index])
            first, count = without[0], len(without)
            raise JobError(
                f"source.bands: {count} of {len(images)} images lack {old!r}, e.g. {images.ids[first]}; leave them "
                "out with source.filter, or write to another output.path without it"
            )
    return renamed


def _promoted(old: str, found: Sequence[Signature]) -> str:
    types = {band.dtype for signature in found for band in signature if band.name == old}
    result = np.result_type(*(np.dtype(name) for name in types))
    return "float64" if result in (np.int64, np.uint64) else str(result)


def _frozen_types(bands: tuple[Band, ...], frozen: Frozen) -> tuple[Band, ...]:
    """Return the bands with the dataset's types, refusing wider ones."""
    known = {band.name: band for band in frozen.bands}
    for band in bands:
        if band.name in known and not np.can_cast(band.dtype, known[band.name].dtype, "safe"):
            raise JobError(
                f"source.bands: images now have {band.name!r} as {band.dtype}, and its column is "
                f"{known[band.name].dtype}; leave them out with source.filter, or write pixels.dtype, or another "
                "output.path"
            )
    return tuple(replace(band, dtype=known[band.name].dtype) if band.name in known else band for band in bands)


def _unseen_bands(config: JobConfig) -> tuple[Band, ...]:
    """Return bands for a plan without any image, which decides nothing: it is not written down."""
    asked = config.source.bands or ()
    renamed = asked if isinstance(asked, dict) else {name: name for name in asked}
    return tuple(Band(new, old, config.pixels.dtype.get(new, "float64")) for new, old in renamed.items())


def _check_columns(bands: Sequence[Band], region: Polygons | Points, *, chosen: bool) -> None:
    extra = region.columns.column_names if isinstance(region, Points) else []
    measured = {name.lower(): band.name for band in bands for name in statistics_of(band.name)}
    seen: dict[str, str] = {}
    for name in extra:
        if name.lower() in measured:
            raise JobError(
                f"region.points: the file's column {shown(name)} is named like a statistic of band "
                f"{measured[name.lower()]!r} in `tiles`; rename it"
            )
        if said := why_not(name, seen):
            raise JobError(f"region.points: {said}; rename the column")
        seen[name.lower()] = name
    if said := refusal([(band.name, band.old) for band in bands], extra, chosen=chosen):
        mapping = column_names([band.old for band in bands], extra)
        types = {new: band.dtype for new, band in zip(mapping, bands, strict=True)}
        raise BandNamesError(said, mapping, types)
