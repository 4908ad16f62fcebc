"""Which readers refuse which cases, with what words, and what serves instead: the table, and its text for the docs.

``python tests/support/agreement_refusals.py`` prints the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from agreement_jobs import FORMATS, LAYOUTS, MASKS, Case

EVERY = tuple(layout.name for layout in LAYOUTS)
TILES = tuple(name for name in EVERY if name != "patches-around-points")
SEVERAL = ("two-lattices-in-degrees", "two-lattices-in-metres")
TWO_TYPES, ONE_TYPE = FORMATS
"""NPY cases have bands of two types, GEO_TIFF cases of one."""


@dataclass(frozen=True)
class Refusal:
    """What a reader must say of some cases, and whether it serves them one image, band or CRS at a time."""

    reader: str
    layouts: tuple[str, ...]
    says: str
    masks: tuple[str, ...] = MASKS
    formats: tuple[str, ...] = FORMATS
    one_by_one: Literal["images", "bands", "crs"] | None = None
    otherwise: str = ""

    def holds(self, case: Case) -> bool:
        """Return whether a case is refused."""
        return case.layout.name in self.layouts and case.mask in self.masks and case.format in self.formats


def _mosaics(reader: str) -> tuple[Refusal, ...]:
    return (
        Refusal(
            reader, ("patches-around-points",), "patches around points overlap and make no mosaic",
            otherwise="export to npz or tfrecord",
        ),
        Refusal(
            reader, TILES, "these bands have several (red uint16, nir float32)", formats=(TWO_TYPES,),
            one_by_one="bands",
        ),
    )  # fmt: skip


REFUSALS = (
    Refusal("to_xarray", SEVERAL, "the tiles lie on 2 lattices", one_by_one="images"),
    Refusal("to_xarray", ("utm-over-two-zones",), "the tiles lie on 2 lattices", one_by_one="crs"),
    Refusal("export to zarr", SEVERAL, "the tiles lie on 2 lattices", one_by_one="images"),
    Refusal("export to zarr", ("utm-over-two-zones",), "the tiles lie on 2 lattices", one_by_one="crs"),
    Refusal(
        "export to zarr", ("patches-around-points",), "patches around points make no raster",
        otherwise="to_xarray, or export to npz or tfrecord",
    ),
    *_mosaics("export to geotiff"),
    *_mosaics("export to cog"),
    Refusal(
        "statistics in tiles", EVERY, "valid_count and statistics are null", masks=("none",),
        otherwise="fetch masks with mask: band, bands or fill",
    ),
)  # fmt: skip

JOB_REFUSAL = "pixels.format: a GEO_TIFF has bands of one type, and these have 2 (red uint16, nir float32)"
"""What a job says that asks for GEO_TIFF answers with bands of two types, in every mask mode."""


def refusal(reader: str, case: Case) -> Refusal | None:
    """Return what a reader must say of a case; None where it must serve it."""
    found = [one for one in REFUSALS if one.reader == reader and one.holds(case)]
    assert len(found) < 2, f"{reader} refuses {case} for two reasons"
    return found[0] if found else None


def markdown(readers: Sequence[tuple[str, str]]) -> str:
    """Return two tables as Markdown: the readers with what they do with margins, and the refusals."""
    lines = ["| reader | margins are |", "|---|---|", *(f"| {name} | {margins} |" for name, margins in readers), ""]
    lines += ["| reader | refuses | and says | instead |", "|---|---|---|---|"]
    for one in REFUSALS:
        instead = one.otherwise or {"images": "one image", "bands": "one band", "crs": "one CRS"}[one.one_by_one or ""]
        lines.append(
            f"| {one.reader} | {_cases(one)} | {one.says} | {instead}{'' if one.otherwise else ' at a time'} |"
        )
    return "\n".join(
        [*lines, f"| a job with `format: GEO_TIFF` | bands of two types | {JOB_REFUSAL} | `format: NPY` |", ""]
    )


def _cases(one: Refusal) -> str:
    """Return the cases of a refusal for people: only what is not said of all."""
    words = [", ".join(name.replace("-", " ") for name in one.layouts)] if one.layouts not in (EVERY, TILES) else []
    words += ["tiles with bands of two types"] if one.formats == (TWO_TYPES,) else []
    words += [f"`mask: {', '.join(one.masks)}`"] if one.masks != MASKS else []
    return "; ".join(words)


if __name__ == "__main__":
    from agreement_readers import READERS

    print(markdown([(reader.name, reader.margins) for reader in READERS]), end="")
