"""Which pixel lattice a job is on: the images' own where that can be, and what it costs where it cannot."""

from __future__ import annotations

from collections import Counter

import numpy as np

from ee_spark.errors import JobError
from ee_spark.job import JobConfig
from ee_spark.plan.frozen import Frozen, Note
from ee_spark.plan.grid import Lattice, metres_to_units
from ee_spark.plan.images import Images, Signature, names


def choose_lattices(
    config: JobConfig, images: Images, frozen: Frozen | None
) -> tuple[tuple[Lattice, ...], list[int], str, list[Note]]:
    """Return the lattices, the index of each image's, how they are aligned, and why.

    Raises:
        JobError: if the images' bands have several lattices and none is named, or align: asset finds none or many.
    """
    grid = config.grid
    if grid.crs == "utm":
        raise JobError("grid.crs: this version does not lay out utm zones itself yet; write the zone, e.g. EPSG:32610")
    if grid.crs == "native":
        return _native_lattices(config, images)
    if grid.transform:
        scale_x, _, x0, _, scale_y, y0 = grid.transform
        lattice = Lattice(grid.crs, scale_x, -scale_y, x0, y0)
        return (lattice,), [0] * len(images), "crs", [_lattice_note(lattice, "transform", "given")]
    resolution = grid.resolution or metres_to_units(grid.crs, float(grid.scale or 0))
    plain = Lattice(grid.crs, resolution, resolution)
    if frozen and frozen.lattice and _alike(frozen.lattice, plain) and grid.align in ("auto", frozen.align):
        note = _lattice_note(frozen.lattice, frozen.align, "as the dataset's first plan decided")
        return (frozen.lattice,), [0] * len(images), frozen.align, [note]
    groups = _offsets(images, plain)
    if grid.align != "crs" and len(groups) == 1:
        lattice = next(iter(groups))
        why = f"every image stored in {grid.crs} at {resolution:g} lies there: nothing is resampled"
        return (lattice,), [0] * len(images), "asset", [_lattice_note(lattice, "asset", why)]
    where = _offset_groups(groups)
    if grid.align == "asset":
        raise JobError(
            f"grid.align: asset needs one offset, and the images stored in {grid.crs} at {resolution:g} have "
            f"{where or 'none'}; write align: crs, another crs or scale, or crs: native"
        )
    why = f"the images disagree: {where}" if groups else f"no image is stored in {grid.crs} at {resolution:g}"
    if config.source.kind in ("image", "expression"):
        why = "the source is computed"
    notes = [_lattice_note(plain, "crs", why if grid.align == "auto" else "asked for")]
    if images.signatures[0]:
        notes.append(("resampling", config.pixels.resample, _resampling(images, plain)))
    return (plain,), [0] * len(images), "crs", notes


def _native_lattices(config: JobConfig, images: Images) -> tuple[tuple[Lattice, ...], list[int], str, list[Note]]:
    per_signature = [_native(signature, config) for signature in images.signatures] if len(images) else []
    lattices = sorted({lattice.key: lattice for lattice in per_signature}.values(), key=lambda one: (one.crs, one.key))
    index = {lattice.key: position for position, lattice in enumerate(lattices)}
    lattice_of = [index[per_signature[signature].key] for signature in images.signature.tolist()]
    why = f"like {config.grid.like}: nothing is resampled" if config.grid.like else "as stored: nothing is resampled"
    return tuple(lattices), lattice_of, "native", [_lattice_note(lattice, "native", why) for lattice in lattices]


def _native(signature: Signature, config: JobConfig) -> Lattice:
    like, bands = config.grid.like, config.source.bands
    if like:
        chosen = [band for band in signature if band.name == like]
        if not chosen:
            raise JobError(f"grid.like: no band {like!r}; the bands are {names(signature)}")
    else:
        old = set(bands.values() if isinstance(bands, dict) else bands or ()) if not config.source.map else set()
        chosen = [band for band in signature if not old or band.name in old] or list(signature)
    lattices = {band.lattice.key: band.lattice for band in chosen}
    if len(lattices) > 1:
        kinds = ", ".join(f"{lattice.res_x:g} in {lattice.crs}" for lattice in lattices.values())
        raise JobError(f"grid.crs: native: the bands have several resolutions ({kinds}); name one with grid.like: BAND")
    return chosen[0].lattice


def _alike(lattice: Lattice, other: Lattice) -> bool:
    """Return True if two lattices have one CRS and one resolution."""
    return lattice.crs == other.crs and np.allclose(
        (lattice.res_x, lattice.res_y), (other.res_x, other.res_y), rtol=1e-9, atol=0
    )


def _offsets(images: Images, plain: Lattice) -> dict[Lattice, int]:
    """Return the distinct lattices of bands stored in this CRS at this resolution, with the number of signatures."""
    found = Counter(
        lattice
        for signature in images.signatures
        for lattice in {band.lattice for band in signature}
        if _alike(lattice, plain)
    )
    merged: dict[str, Lattice] = {lattice.key: lattice for lattice in found}
    return {
        lattice: sum(count for other, count in found.items() if other.key == key) for key, lattice in merged.items()
    }


def _offset_groups(groups: dict[Lattice, int]) -> str:
    return ", ".join(f"({lattice.x0:g}, {lattice.y0:g}) in {count} kinds of image" for lattice, count in groups.items())


def _lattice_note(lattice: Lattice, align: str, why: str) -> Note:
    text = f"{lattice.crs}, {lattice.res_x:.12g} × {lattice.res_y:.12g}, {align}, offset {lattice.x0:g}, {lattice.y0:g}"
    return ("lattice", text, why)


def _resampling(images: Images, plain: Lattice) -> str:
    """Say by how much the lattice differs from the images', and what a coarser scale does."""
    theirs = images.signatures[0][0].lattice
    if theirs.crs != plain.crs:
        return f"the images are stored in {theirs.crs}: each pixel takes the value of the stored pixel at its centre"
    if plain.res_x > theirs.res_x * 1.000001:
        return (
            f"coarser than the images ({theirs.res_x:g}): the service reads the pyramid level at or below "
            f"{plain.res_x:g}, built by each band's pyramiding policy"
        )
    dx, dy = ((a - b) / plain.res_x % 1 for a, b in zip((theirs.x0, theirs.y0), (plain.x0, plain.y0), strict=True))
    return f"the images' pixel edges lie {dx:.3g}, {dy:.3g} pixels off: values move by up to half a pixel"
