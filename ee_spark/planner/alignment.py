"""Which pixel lattice a job is on: the images' own where that can be, and what it costs where it cannot."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from ee_spark.errors import JobError
from ee_spark.job import JobConfig
from ee_spark.planner import utm
from ee_spark.planner.crs import Ints, metres_to_units
from ee_spark.planner.frozen import Frozen, Note
from ee_spark.planner.images import SHEARED, WITHOUT_DIMENSIONS, Images, Signature, StoredBand, names
from ee_spark.planner.lattice import Lattice
from ee_spark.planner.points import Points
from ee_spark.planner.polygon import Box, Polygons

_ALIKE = 1e-9
_TAKES = {
    "nearest": "each pixel takes the stored pixel at its centre",
    "bilinear": "each value is interpolated from 4 stored pixels",
    "bicubic": "each value is interpolated from 16 stored pixels",
    "mean": "each value is the mean of the stored pixels under it",
}


@dataclass(frozen=True)
class Layer:
    """One lattice of a plan: the indices of the images that are asked for on it, and the half-zone that bounds it."""

    lattice: Lattice
    images: Ints
    zone: Box | None = None


@dataclass(frozen=True)
class Alignment:
    """The lattices of a plan, how they are aligned (asset, crs or native), and the one that job.json freezes.

    ``common`` is None where every image keeps its own; its CRS is ``utm`` where every zone has one like it.
    """

    layers: tuple[Layer, ...]
    align: str
    common: Lattice | None
    notes: tuple[Note, ...]


def choose_lattices(config: JobConfig, images: Images, frozen: Frozen | None, region: Polygons | Points) -> Alignment:
    """Return the lattices of a job, with the reasons.

    Raises:
        JobError: if the images' bands have several lattices and none is named, or align: asset finds none or many.
    """
    if config.grid.crs == "native":
        return _native_lattices(config, images)
    plain = _plain(config)
    common, align, notes = _choose_common(config, images, frozen, plain)
    every = np.arange(len(images))
    if common.crs != utm.UTM:
        return Alignment((Layer(common, every),), align, common, tuple(notes))
    zones = utm.zones(region)
    layers = tuple(Layer(replace(common, crs=code), every, utm.half_zone(code)) for code in zones)
    notes.append(("utm", ", ".join(zones), "tiles overlap where zones meet, and leave no gap"))
    return Alignment(layers, align, common, tuple(notes))


def _plain(config: JobConfig) -> Lattice:
    """Return the job file's lattice as it is without any image."""
    grid = config.grid
    if grid.transform:
        scale_x, _, x0, _, scale_y, y0 = grid.transform
        return Lattice(grid.crs, scale_x, -scale_y, x0, y0)
    units = utm.METRE_CRS if grid.crs == utm.UTM else grid.crs
    resolution = grid.resolution or metres_to_units(units, float(grid.scale or 0))
    return Lattice(grid.crs, resolution, resolution)


def _choose_common(
    config: JobConfig, images: Images, frozen: Frozen | None, plain: Lattice
) -> tuple[Lattice, str, list[Note]]:
    grid = config.grid
    if grid.transform:
        return plain, "crs", [_lattice_note(plain, "transform", "given"), *_resampling_notes(config, images, plain)]
    if frozen and frozen.lattice and _alike(frozen.lattice, plain) and grid.align in ("auto", frozen.align):
        note = _lattice_note(frozen.lattice, frozen.align, "as the dataset's first plan decided")
        return frozen.lattice, frozen.align, [note, *_resampling_notes(config, images, frozen.lattice)]
    groups = _offsets(images, plain)
    sheared = _sheared(config, images)
    if sheared and grid.align == "asset":
        raise JobError(
            f"grid.align: asset: the pixels of {sheared!r} lie on a sheared or rotated grid without an offset; "
            "write align: crs, or leave it out of source.bands"
        )
    groups = [] if sheared else groups
    if grid.align != "crs" and len(groups) == 1:
        lattice = replace(plain, x0=groups[0][0].x0, y0=groups[0][0].y0)
        why = f"every image stored in {grid.crs} at {plain.res_x:g} lies there: nothing is resampled"
        others = [note for note in _resampling_notes(config, images, lattice) if lattice.crs != utm.UTM]
        return lattice, "asset", [_lattice_note(lattice, "asset", why), *others]
    where = ", ".join(f"({one.x0:g}, {one.y0:g}) in {count} of {len(images)} images" for one, count in groups)
    if grid.align == "asset":
        raise JobError(
            f"grid.align: asset needs one offset, and the images stored in {grid.crs} at {plain.res_x:g} have "
            f"{where or 'none'}; write align: crs, another crs or scale, or crs: native"
        )
    why = f"the images disagree: {where}" if groups else f"no image is stored in {grid.crs} at {plain.res_x:g}"
    if sheared:
        why = f"the pixels of {sheared} lie on a sheared or rotated grid"
    if config.source.kind in ("image", "expression"):
        why = "the source is computed"
    note = _lattice_note(plain, "crs", why if grid.align == "auto" else "asked for")
    return plain, "crs", [note, *_resampling_notes(config, images, plain)]


def _native_lattices(config: JobConfig, images: Images) -> Alignment:
    per_signature = [_native(signature, config) for signature in images.signatures] if len(images) else []
    lattices = sorted({lattice.key: lattice for lattice in per_signature}.values(), key=lambda one: (one.crs, one.key))
    keys = np.array([lattice.key for lattice in per_signature])[images.signature] if len(images) else np.zeros(0, str)
    why = f"like {config.grid.like}: nothing is resampled" if config.grid.like else "as stored: nothing is resampled"
    return Alignment(
        tuple(Layer(lattice, np.flatnonzero(keys == lattice.key)) for lattice in lattices),
        "native",
        None,
        tuple(_lattice_note(lattice, "native", why) for lattice in lattices),
    )


def _native(signature: Signature, config: JobConfig) -> Lattice:
    like = config.grid.like
    if like:
        chosen = [band for band in signature if band.name == like]
        if not chosen:
            raise JobError(f"grid.like: there is no band {like!r}; the bands are {names(signature)}")
    else:
        chosen = _selected(signature, config) or list(signature)
    chosen = [band for band in chosen if band.oddity != WITHOUT_DIMENSIONS] or chosen  # which are placeholders
    sheared = [band.name for band in chosen if band.oddity == SHEARED]
    if sheared:
        raise JobError(
            f"grid.crs: native: the pixels of {sheared[0]!r} lie on a sheared or rotated grid, those of tables do not; "
            f"write crs: {chosen[0].lattice.crs} with a scale, or name another band with grid.like"
        )
    lattices = {band.lattice.key: band.lattice for band in chosen}
    if len(lattices) > 1:
        kinds = ", ".join(f"{lattice.res_x:g} in {lattice.crs}" for lattice in lattices.values())
        raise JobError(f"grid.crs: native: the bands have several resolutions ({kinds}); name one with grid.like: BAND")
    return chosen[0].lattice


def _selected(signature: Signature, config: JobConfig) -> list[StoredBand]:
    """Return the stored bands that a job names; all where it names none, or where ``map`` may name them anew."""
    old = _old_names(config) if not config.source.map else set()
    return [band for band in signature if not old or band.name in old]


def _sheared(config: JobConfig, images: Images) -> str:
    """Return the name of a selected band whose grid is sheared, "" where there is none."""
    bands = (band for signature in images.signatures for band in _selected(signature, config))
    return next((band.name for band in bands if band.oddity == SHEARED), "")


def _same_crs(stored: str, crs: str) -> bool:
    return utm.is_utm(stored) if crs == utm.UTM else stored == crs


def _alike(lattice: Lattice, other: Lattice) -> bool:
    """Return True if two lattices have one CRS (any zone's, for ``utm``) and one resolution."""
    return _same_crs(lattice.crs, other.crs) and np.allclose(
        (lattice.res_x, lattice.res_y), (other.res_x, other.res_y), rtol=_ALIKE, atol=0
    )


def _offsets(images: Images, plain: Lattice) -> list[tuple[Lattice, int]]:
    """Return the distinct lattices of bands stored in this CRS at this resolution, with the number of their images."""
    of_signature = np.bincount(images.signature, minlength=len(images.signatures)) if len(images) else ()
    counts: Counter[str] = Counter()
    known: dict[str, Lattice] = {}
    for signature, count in zip(images.signatures, of_signature, strict=False):
        alike = [band.lattice for band in signature if not band.oddity and _alike(band.lattice, plain)]
        found = {replace(lattice, crs=plain.crs).key: lattice for lattice in alike}
        known.update(found)
        counts.update(dict.fromkeys(found, int(count)))
    return [(known[key], count) for key, count in counts.most_common()]


def _lattice_note(lattice: Lattice, align: str, why: str) -> Note:
    text = f"{lattice.crs}, {lattice.res_x:.12g} × {lattice.res_y:.12g}, {align}, offset {lattice.x0:g}, {lattice.y0:g}"
    return ("lattice", text, why)


def _resampling_notes(config: JobConfig, images: Images, ours: Lattice) -> list[Note]:
    """Say, for each lattice that images are stored on, how it differs from ours and what that does to values."""
    found: dict[str, tuple[Lattice, str, set[str]]] = {}
    for signature in images.signatures:
        for band in signature:
            if config.source.map or config.source.bands is None or band.name in _old_names(config):
                key = f"{band.lattice.key} {band.oddity}"
                found.setdefault(key, (band.lattice, band.oddity, set()))[2].add(band.name)
    notes = []
    for theirs, oddity, bands in found.values():
        text = _difference(theirs, ours, config.pixels.resample)
        if oddity == SHEARED:
            text = f"stored on a sheared or rotated grid of {theirs.res_x:.6g} × {theirs.res_y:.6g} in {theirs.crs}"
            text += f": {_TAKES[config.pixels.resample]}"
        if text:
            notes.append(("resampling", f"{config.pixels.resample}, {', '.join(sorted(bands))}", text))
    return notes[:8]


def _old_names(config: JobConfig) -> set[str]:
    bands = config.source.bands or ()
    return set(bands.values() if isinstance(bands, dict) else bands)


def _difference(theirs: Lattice, ours: Lattice, resample: str) -> str:
    """Return how two lattices differ, with numbers, and what that does to values; empty where they do not."""
    takes = _TAKES[resample]
    if not _same_crs(theirs.crs, ours.crs):
        return f"stored in {theirs.crs} at {theirs.res_x:.6g}: {takes}"
    ratio = ours.res_x / theirs.res_x
    if ratio > 1 + _ALIKE:
        pyramid = (
            "" if resample == "mean" else "; the service may first read a pyramid level, built by each band's policy"
        )
        return f"{ratio:.4g} × coarser than stored ({theirs.res_x:.6g}): {takes}{pyramid}"
    if ratio < 1 - _ALIKE:
        repeated = f"; stored pixels repeat about {1 / ratio:.4g} × per side" if resample == "nearest" else ""
        return f"{1 / ratio:.4g} × finer than stored ({theirs.res_x:.6g}): {takes}{repeated}"
    off = [((a - b) / ours.res_x + 0.5) % 1 - 0.5 for a, b in ((theirs.x0, ours.x0), (theirs.y0, ours.y0))]
    if max(map(abs, off)) < 1e-6:
        return ""
    half = "; at half a pixel rounding decides which" if resample == "nearest" and max(map(abs, off)) > 0.499 else ""
    return f"stored edges lie {off[0]:.3g}, {off[1]:.3g} pixels off ours: {takes}, up to half a pixel away{half}"
