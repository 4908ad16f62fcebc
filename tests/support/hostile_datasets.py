"""Datasets that somebody made up or damaged, by the thousand: each is read, shown, exported, checked and repaired.

``python tests/support/hostile_datasets.py --count 2000 --seed 7``; ``--case NAME`` runs one alone. An answer, or one
line: never a traceback, a hang, much memory, a file outside of what was named, or markup of the dataset in the page.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from random import Random

from hostile_mutations import MUTATIONS
from places import REPO
from wrong_inputs import SECONDS, Case, Outcome, in_child, snapshot, told
from wrong_inputs_child import warm
from wrong_inputs_place import Kind, Place, Wrong

import ee_emulator
from ee_spark.objects import FileStore
from ee_spark.store import graphs, planned, points, runs
from ee_spark.store.schema import JOB, RUNS

OLDER = REPO / "tests" / "data" / "datasets-0.1"
NAMES = ("ndvi-band", "ndvi-fill", "patches", "native")
GRAPH = '{"result":"0","values":{"0":{"constantValue":1}}}'
MEGABYTES = 1024
FORMATS = ("npz", "tfrecord", "zarr", "cog", "geotiff")
COMMANDS = (
    ["read", "out"],
    ["ee-spark", "report", "--dataset", "out", "--out", "page.html"],
    ["ee-spark", "report", "--dataset", "out", "--out", "picture.png"],
    *(["ee-spark", "export", "--dataset", "out", "--out", "exported", "--to", to] for to in FORMATS),
    ["ee-spark", "verify", "--dataset", "out"],
    ["ee-spark", "verify", "--dataset", "out", "--repair"],
    ["ee-spark", "verify", "--dataset", "out", "--refetch", "3", "--set", "earth_engine.endpoint=URL"],
)  # fmt: skip
TAGS = frozenset(
    [
        "html",
        "head",
        "meta",
        "title",
        "link",
        "style",
        "body",
        "main",
        "h1",
        "h2",
        "p",
        "div",
        "b",
        "section",
        "img",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "footer",
    ]
)
ATTRIBUTES = frozenset(["lang", "charset", "name", "content", "rel", "href", "class", "alt", "src"])


class _Page(HTMLParser):
    """Collects what in a page is not of the page's own making."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in TAGS:
            self.found.append(f"<{tag}>")
        for name, value in attributes:
            where = value or ""
            if name not in ATTRIBUTES or (name == "href" and where != "data:,"):
                self.found.append(f"{name}={where[:40]}")
            if name == "src":
                svg = base64.b64decode(where.partition(",")[2]).decode()
                self.found += re.findall(r"<script|javascript:|\son[a-z]+=|href=\"(?!#|data:image/png)", svg)
                self.found += [] if where.startswith("data:image/svg+xml;base64,") else [where[:40]]


def injected(page: str) -> list[str]:
    """Return tags, attributes and addresses in a page that only the dataset can have brought there."""
    parser = _Page()
    parser.feed(page)
    return parser.found


def prepare(scratch: Path, url: str) -> list[Path]:
    """Return datasets as an older version wrote them, and with records as they are written now, of our own service."""
    found = []
    for name in NAMES:
        for newer in (False, True):
            out = Path(shutil.copytree(OLDER / name / "dataset", scratch / "datasets" / f"{name}-{newer}"))
            job = json.loads((out / JOB).read_text())
            job["identity"]["earth_engine"] = url
            (out / JOB).write_text(json.dumps(job))
            found.append(out)
            store = FileStore(out)
            for run_id in runs.run_ids(store) if newer else ():
                path = out / RUNS / f"{run_id}.json"
                record = json.loads(path.read_text())
                plan = runs.plan_of(store, record)
                record |= {
                    "pairs": planned.pack(store, plan.pairs),
                    "images": planned.pack_images(store, plan.images),
                    "graphs": graphs.keep_graphs(store, [GRAPH]),
                }
                if plan.points is not None:
                    record["region"] = {"points": points.keep(store, plan.points)}
                path.write_text(json.dumps(record))
    return found


def run(case: Case, url: str, scratch: Path, datasets: Sequence[Path], rooms: frozenset[str]) -> Outcome:
    """Mutate a dataset, run a command on it in a child, and say what was not as promised."""
    root = Path(tempfile.mkdtemp(prefix="hostile-", dir=scratch))
    try:
        place = Place.at(root, url)
        random = Random(f"{case.kind.name}:{case.seed}")
        shutil.copytree(random.choice(datasets), place.work / "out")
        why = MUTATIONS[case.kind.name](random, place.work / "out")
        command = list(random.choice([one for one in COMMANDS if rooms & _rooms(one)]))
        command = [part.replace("URL", url) for part in command]
        before = snapshot(root)
        outcome = in_child(case, Wrong(command, why), place, scratch)
        outcome.wrong = [*_broken(outcome), *_outside(before, snapshot(root), command)]
        page = place.work / "page.html"
        if page.exists():
            outcome.wrong += [f"markup in the page: {one}" for one in injected(page.read_text())[:2]]
        return outcome
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _rooms(command: list[str]) -> frozenset[str]:
    return frozenset(["check"] if "verify" in command else ["read"])


def _broken(outcome: Outcome) -> Iterator[str]:
    """Yield what neither an answer nor one line is."""
    if outcome.code is None:
        yield f"ran for {SECONDS:.0f} s" if outcome.seconds >= SECONDS else "was killed"
    if "Traceback" in outcome.stderr + outcome.stdout:
        yield "traceback"
    if "this should not happen" in outcome.stderr:
        yield "unexpected"
    if outcome.megabytes > MEGABYTES:
        yield f"took {outcome.megabytes:,.0f} MB"
    if outcome.code in (1, 2) and len(outcome.stderr.strip().splitlines()) != 1 and outcome.command[0] != "ee-spark":
        yield "not one line"


def _outside(before: Mapping[str, object], after: Mapping[str, object], command: list[str]) -> Iterator[str]:
    """Yield what a command changed where it had no business."""
    own = ["work/exported", "work/page.html", "work/picture.png"]
    own += ["work/out/"] if "--repair" in command else []
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name) and not name.startswith(tuple(own)):
            yield f"written or changed: {name}"


def main() -> int:
    """Run cases as the arguments say; 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--case", metavar="NAME", help="one case, with all that it says")
    parser.add_argument("--only", choices=["read", "check"], help="only commands that read, or that check and repair")
    parser.add_argument("--without", action="append", default=[], choices=sorted(MUTATIONS), help="leave out a kind")
    given = parser.parse_args()
    rooms = frozenset([given.only] if given.only else ["read", "check"])
    kinds = [
        Kind(name, "datasets", lambda random, place: Wrong([], ""))
        for name in sorted(set(MUTATIONS) - set(given.without))
    ]
    with tempfile.TemporaryDirectory(prefix="hostile-datasets-") as folder, ee_emulator.start() as emulator:
        os.environ |= {"MPLCONFIGDIR": f"{folder}/matplotlib", "NO_GCE_CHECK": "true"}
        warm()
        datasets = prepare(Path(folder), emulator.url)
        chosen = [Case(kinds[number % len(kinds)], f"{given.seed}.{number}") for number in range(given.count)]
        if given.case:
            name, _, seed = given.case.partition(":")
            chosen = [Case(next(kind for kind in kinds if kind.name == name), seed)]
        outcomes = []
        for case in chosen:
            outcomes.append(run(case, emulator.url, Path(folder), datasets, rooms))
            if outcomes[-1].wrong:
                print(outcomes[-1].name, "; ".join(outcomes[-1].wrong), file=sys.stderr, flush=True)
    if given.case:
        print(outcomes[0])
    print(told(outcomes))
    return int(any(outcome.wrong for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
