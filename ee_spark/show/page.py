"""A dataset as one self-contained HTML page: what it holds, what became of its tiles, and what the runs cost."""

from __future__ import annotations

import base64
import html
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ee_spark.boundary import reading, shortened
from ee_spark.errors import JobError, StoreError
from ee_spark.planner.polygon import polygons_of_geojson
from ee_spark.read.dataset import Dataset
from ee_spark.show import charts, curve, quicklook
from ee_spark.show.series import ImageCounter, Reading, Spread, SpreadCounter, lattices, sweep
from ee_spark.status import TileStatus
from ee_spark.store.georeference import GEOREFERENCE, rings
from ee_spark.store.runs import read_region, read_runs
from ee_spark.version import __version__

LOOKS = 6
CURVES = "Mean of the valid pixels over time, by"
CURVED = 8
"""Bands that have a curve."""
PATCHES = 36
FAILURES = 20
MOST = 256
"""Row groups of at most 32 MiB that the numbers are made of; of more, so many are read, and the page says so."""
NAMED = 5
LONGEST = 2_000
"""Characters of a text in a table."""
UNMASKED = (
    "Masks were not fetched (mask: none): every pixel counts as valid, masked ones with what stands in their place."
)
_STYLE = """
:root{color-scheme:light}*{box-sizing:border-box}
body{font:16px/1.45 system-ui,sans-serif;color:#27303d;background:#f4f5f7;margin:0;padding:16px}
main{max-width:1100px;margin:0 auto}h1{font-size:1.5em;margin:.2em 0;overflow-wrap:anywhere}
h2{font-size:1.05em;margin:0 0 .5em}p{margin:.3em 0;overflow-wrap:anywhere}
.cards{display:grid;grid-template-columns:repeat(9,1fr);gap:10px}
@media(max-width:1000px){.cards{grid-template-columns:repeat(3,1fr)}}
.cards div,section{background:#fff;border-radius:8px;padding:12px 14px;box-shadow:0 1px 2px #0001}
.cards b{display:block;font-size:1.35em}.ok b{color:#3f8f4f}.failed b{color:#c8102e}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,430px),1fr));gap:12px}
.charts{margin:12px 0}.across,.alone{grid-column:1/-1}.alone img{max-width:540px}
.across{overflow-x:auto}.across img{min-width:620px}
img{display:block;width:100%;height:auto}.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.9em}
th,td{text-align:left;padding:4px 10px 4px 0;vertical-align:top}th{font-weight:600;border-bottom:1px solid #c9ced6}
td{border-bottom:1px solid #e3e6ea}td:first-child{white-space:nowrap}.table{margin:12px 0}
td:last-child{overflow-wrap:anywhere;min-width:7em}
footer{color:#667;font-size:.85em;margin:16px 0}
"""


@dataclass(frozen=True)
class Numbers:
    """What the page says of the pixels: of each image, of each band, and how much of the dataset that was made of."""

    images: pa.Table
    bands: dict[str, Spread]
    reading: Reading

    @property
    def of_what(self) -> str:
        """What to say where not every row group was read; else nothing."""
        reading = self.reading
        return "" if reading.whole else f", from {reading.read:,} of {reading.row_groups:,} row groups"


@dataclass(frozen=True)
class Runs:
    """The records of the dataset's runs, oldest first, and the names of those that cannot be read."""

    records: list[dict[str, Any]]
    torn: list[str]


def page(dataset: Dataset) -> str:
    """Return the page as HTML that asks for nothing from outside."""
    tiles, runs, numbers = dataset.tiles(), runs_of(dataset), numbers_of(dataset)
    name = html.escape(str(dataset.job["name"]))
    drawn = _sections(list(_charts(dataset, tiles, runs, numbers)))
    return (
        f"<!DOCTYPE html><html lang=en><head><meta charset=utf-8><title>{name}</title>"
        f'<meta name=viewport content="width=device-width,initial-scale=1"><link rel=icon href="data:,">'
        f"<style>{_STYLE}</style></head><body><main><h1>{name}</h1><p>{html.escape(dataset.path)}</p>"
        f"<div class=cards>{_cards(dataset, tiles, runs)}</div><div class=charts>{drawn}</div>"
        f"{_failures(tiles)}{_bands(dataset, numbers)}{_runs(runs)}{_facts(dataset)}"
        f"<footer>ee_spark {__version__}</footer></main></body></html>\n"
    )


def runs_of(dataset: Dataset) -> Runs:
    """Return the records of the dataset's runs."""
    found = read_runs(dataset.store)
    whole = {name: record for name, record in found.items() if record is not None and _is_told(record)}
    records = sorted(whole.values(), key=lambda record: str(record.get("started_at", "")))
    return Runs(records, [name for name in found if name not in whole])


def _is_told(record: Mapping[str, Any]) -> bool:
    """Return True for a record that says what those of runs say; what else is in it is text to show."""
    return all(isinstance(record.get(key) or {}, dict) for key in ("report", "region"))


def numbers_of(dataset: Dataset, most: int = MOST) -> Numbers:
    """Return what the page says of the pixels, from one reading of them."""
    images, bands = ImageCounter(dataset), SpreadCounter(dataset)
    reading = sweep(dataset, [images, bands], most)
    return Numbers(images.table(), bands.spreads(), reading)


def valid_shares(images: pa.Table, reading: Reading) -> tuple[Any, Any]:
    """Return the times of the images that have one, and which share of their planned pixels is valid in every band.

    Pixels of failed tiles are not. Where not all row groups were read, an image's stored pixels are taken to be as
    those that were read.
    """
    known = images.filter(pc.is_valid(images["image_time"]))
    shares = known["valid"].to_numpy() / np.maximum(1, known["planned"].to_numpy())
    if not reading.whole:
        shares = shares * known["ok"].to_numpy() / np.maximum(1, known["stored"].to_numpy())
    return known["image_time"].to_numpy(), shares


def _sections(found: Sequence[tuple[str, str]]) -> str:
    """Return the charts two in a row, the curves across; one that would be alone in its row fills it."""
    pairs = [number for number, (title, _) in enumerate(found) if not title.startswith(CURVES)]
    kinds = dict.fromkeys(set(range(len(found))) - set(pairs), " class=across")
    if len(pairs) % 2:
        kinds[pairs[-1]] = " class=alone"
    return "".join(
        f"<section{kinds.get(number, '')}><h2>{html.escape(title)}</h2>{_image(svg, title)}</section>"
        for number, (title, svg) in enumerate(found)
    )


def _charts(dataset: Dataset, tiles: pa.Table, runs: Runs, numbers: Numbers) -> Iterator[tuple[str, str]]:
    if tiles.num_rows:
        shapes, statuses = places(tiles)
        yield "Tiles over their region", charts.tile_map(shapes, statuses, outline(dataset, runs.records))
    if dataset.counts["ok"]:
        yield _look(dataset, tiles)
        times, shares = valid_shares(numbers.images, numbers.reading)
        if len(times):
            curves, of = curve.curves_of(dataset, tiles, numbers.images, list(dataset.bands)[:CURVED])
            if curve.dates(curves) > 1:
                yield f"{CURVES} {of}{numbers.of_what * (of == 'image')}", charts.curves(curves)
            count = f"{len(times):,} image{'s' * (len(times) != 1)}"
            yield f"{count} over time{numbers.of_what}", charts.time_axis(times, shares)
        if any(spread.count for spread in numbers.bands.values()):
            yield f"Values of each band{numbers.of_what}", charts.histograms(numbers.bands)
        fetched = tiles.filter(pc.equal(tiles["status"], TileStatus.OK))
        moments = {
            run: fetched.filter(pc.equal(fetched["run_id"], run))["created_at"].to_numpy()
            for run in pc.unique(fetched["run_id"]).to_pylist()
        }
        yield "Rate", charts.rate(moments)
        yield "Latency", charts.latency(fetched["fetch_ms"].drop_null().to_numpy().astype(np.float64))


def _look(dataset: Dataset, tiles: pa.Table) -> tuple[str, str]:
    if dataset.points and (found := quicklook.patches(dataset, PATCHES)):
        title = f"{len(found.ids)} patches: {', '.join(found.bands)}"
        return title, charts.pictures(list(found.values), [""] * len(found.ids))
    images = quicklook.best_images(tiles, LOOKS)
    times = dict(zip(tiles["image_id"].to_pylist(), tiles["image_time"].to_pylist(), strict=True))
    titles = [f"{times[image]:%Y-%m-%d}" if times[image] else image for image in images]
    looks = [quicklook.mosaic(dataset, image) for image in images]
    stacks = [look.values for look in looks]
    where = ", each on its largest lattice" if len(lattices(dataset)) > 1 else ""
    title = f"The clearest images: {', '.join(looks[0].bands)}{where}; grey is not valid"
    return title, charts.pictures(stacks, titles)


def places(tiles: pa.Table) -> tuple[list[tuple[Any, ...]], list[str]]:
    """Return the rings of each distinct tile, and its worst status over all images: failed, ok, empty."""
    rank = {TileStatus.EMPTY: 0, TileStatus.OK: 1, TileStatus.FAILED: 2}
    order = pa.array([rank[status] for status in tiles["status"].to_pylist()])
    table = pa.table({"tile_id": tiles["tile_id"], "rank": order, "row": pa.array(np.arange(tiles.num_rows))})
    found = table.group_by("tile_id", use_threads=False).aggregate([("rank", "max"), ("row", "first")])
    names = {value: name for name, value in rank.items()}
    shapes = rings(tiles.select(GEOREFERENCE).take(found["row_first"]))
    return shapes, [names[value] for value in found["rank_max"].to_pylist()]


def outline(dataset: Dataset, runs: list[dict[str, Any]]) -> list[Any]:
    """Return the rings of the last run's region, in lon and lat; none for points, or where it is lost."""
    region = None
    with suppress(StoreError):
        region = read_region(dataset.store, runs[-1].get("region") or {}) if runs else None
    if not region:
        return []
    with suppress(JobError), reading("region"):
        return [ring for polygon in polygons_of_geojson(region) for ring in polygon]
    return []


def requests_of(dataset: Dataset, tiles: pa.Table, runs: Runs) -> int:
    """Return how many requests the dataset's runs sent; by its tiles, which share them, where no record says it."""
    mine = [record for record in runs.records if record.get("fingerprint") == dataset.manifest.fingerprint]
    told = [(record.get("report") or {}).get("requests") for record in mine]
    known = [count for count in told if isinstance(count, int) and 0 <= count < 2**63]
    return sum(known) if known else pc.sum(tiles["requests"]).as_py() or 0


def _cards(dataset: Dataset, tiles: pa.Table, runs: Runs) -> str:
    counts = dataset.counts
    images = pc.count_distinct(tiles["image_id"]).as_py()
    numbers = {
        "planned": f"{counts['planned']:,}",
        "ok": f"{counts['ok']:,}",
        "empty": f"{counts['empty']:,}",
        "failed": f"{counts['failed']:,}",
        "images": f"{images:,}",
        "tiles": f"{pc.count_distinct(tiles['tile_id']).as_py():,}",
        "pixels": _short(counts["ok"] * dataset.shape[0] * dataset.shape[1]),
        "bytes received": _short(pc.sum(tiles["bytes_in"]).as_py() or 0),
        "requests": _short(requests_of(dataset, tiles, runs)),
    }
    mark = {"ok": " class=ok", "failed": " class=failed" if counts["failed"] else ""}
    return "".join(f"<div{mark.get(name, '')}><b>{value}</b>{name}</div>" for name, value in numbers.items())


def _failures(tiles: pa.Table) -> str:
    failed = tiles.filter(pc.equal(tiles["status"], TileStatus.FAILED))
    if not failed.num_rows:
        return ""
    names = ("error_class", "http_status", "error_message")
    counted = Counter(zip(*(failed[name].to_pylist() for name in names), strict=True))
    rows = [
        (f"{count:,}", *("" if part is None else part for part in key)) for key, count in counted.most_common(FAILURES)
    ]
    return _table("Failures", ("tiles", "class", "HTTP", "reason"), rows)


def _bands(dataset: Dataset, numbers: Numbers) -> str:
    rows = []
    for band, spread in numbers.bands.items():
        ends = (spread.low, spread.mean, spread.high) if spread.count else ()
        texts = [f"{value:.6g}" for value in ends] or ["–"] * 3
        rows.append((band, dataset.bands[band].name, f"{spread.count:,}", *texts))
    note = "" if dataset.frozen.mask != "none" else UNMASKED
    return _table(f"Bands{numbers.of_what}", ("band", "type", "valid", "min", "mean", "max"), rows, note)


def _runs(runs: Runs) -> str:
    rows, names = [], (*TileStatus, "requests", "retries")
    for record in runs.records:
        report = record.get("report") or {}
        rows.append(
            (
                record.get("run_id", ""),
                report.get("status", "not ended"),
                *(_figure(report.get(name)) for name in names),
                _figure(report.get("seconds"), 1),
            )
        )
    heads = ("run", "status", *names, "seconds")
    return _table("Runs", heads, rows, _torn(runs.torn))


def _figure(value: object, digits: int = 0) -> str:
    """Return a number of a record for people; nothing where it is none."""
    good = isinstance(value, int | float) and abs(value) < 2**63
    return f"{value:,.{digits}f}" if good else ""


def _torn(names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    are = "run record cannot" if len(names) == 1 else "run records cannot"
    return f"{len(names):,} {are} be read: {', '.join(names[:NAMED])}{more}"


def _facts(dataset: Dataset) -> str:
    frozen, identity = dataset.frozen, dataset.job["identity"]
    lattice = frozen.lattice
    where = f"{lattice.crs} at {lattice.res_x:g} × {lattice.res_y:g}" if lattice else "the images' own"
    source = next((str(value) for key, value in identity.items() if key.startswith("source.") and value), "")
    rows = [
        ("source", source),
        ("method", frozen.method),
        ("lattice", f"{where}, {frozen.align}"),
        ("tile", f"{frozen.shape.width} × {frozen.shape.height} pixels, margin {frozen.shape.margin}"),
        ("mask", frozen.mask),
        ("fingerprint", str(dataset.job["fingerprint"])),
    ]
    return _table("The job", ("", ""), rows)


def _table(title: str, heads: tuple[str, ...], rows: list[tuple[Any, ...]], note: str = "") -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in heads) if any(heads) else ""
    body = "".join(f"<tr>{''.join(f'<td>{_cell(cell)}</td>' for cell in row)}</tr>" for row in rows)
    told = f"<p>{html.escape(note)}</p>" if note else ""
    return (
        f"<section class=table><h2>{html.escape(title)}</h2>{told}<div class=wide><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div></section>"
    )


def _cell(value: object) -> str:
    text = str(value) if isinstance(value, str | int | float) else shortened(value)
    return html.escape(text if len(text) <= LONGEST else f"{text[:LONGEST]}…")


def _image(svg: str, title: str) -> str:
    data = base64.b64encode(svg.encode()).decode()
    return f'<img alt="{html.escape(title)}" src="data:image/svg+xml;base64,{data}">'


def _short(number: float) -> str:
    for unit in ("", "k", "M", "G", "T"):
        if abs(number) < 1000:
            return f"{number:.3g}{' ' if unit else ''}{unit}"
        number /= 1000
    return f"{number:.3g} P"
