"""What a seed of the chaos rounds draws: runs of jobs on one dataset, and the attacks on them."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from chaos_world import IMAGES

ENDS = [f"2020-0{month}-01" for month in range(2, IMAGES + 2)]
CALM = {"engine": "processes", "lanes": 2, "copies": 1, "retry": False, "skew": 0.0, "options": {}}


@dataclass(frozen=True)
class Act:
    """Something that happens ``at`` seconds after a round has begun, by the name of a function of :class:`Round`."""

    at: float
    what: str
    number: float = 0.0


@dataclass(frozen=True)
class Start:
    """A run that begins ``at`` seconds after a round has begun: its job's changes, and how it is driven."""

    at: float
    tile: int
    end: str
    part_size: int
    overwrite: bool
    draw: dict[str, Any]


@dataclass(frozen=True)
class History:
    """What a seed draws."""

    seed: int
    kind: str
    starts: tuple[Start, ...]
    acts: tuple[Act, ...]
    faults: dict[str, float]

    @property
    def overwrites(self) -> bool:
        return len({start.tile for start in self.starts}) > 1

    def __str__(self) -> str:
        runs = " ".join(f"{one.tile}px<{one.end[5:7]}@{one.at:.1f}" for one in self.starts)
        return f"seed {self.seed} {self.kind} [{runs}] " + " ".join(f"{act.what}@{act.at:.1f}" for act in self.acts)


ANYWHERE = ("kill_lane", "kill_driver", "kill_all", "sleep_lane", "outage", "damage", "plant_notes", "plant_pickle")
ON_FILES = ("full_disk", "link_temp", "link_lanes", "link_pixels", "tear_part", "tear_tiles", "tear_record")
BLINDING = frozenset({"link_pixels", "tear_part"})
"""What a reader of ``pixels`` meets at that moment, whatever we do."""
ON_OBJECTS = ("store_outage",)


def drawn(seed: int, engine: str) -> History:
    """Draw a history: one run, two at once, or jobs that overwrite each other, there and back again."""
    draw = random.Random(f"{seed} {engine}")
    slow = 1.0 if engine == "processes" else 9.0  # Spark takes its time to start
    kind = draw.choice(["file", "file", "file", "gs", "s3"])
    shape = draw.choice(["one", "two", "two", "overwrite", "there and back", "there and back"])
    tiles = {"one": [16], "two": [16, 16], "overwrite": [16, 32], "there and back": [16, 32, 16]}[shape]
    starts, at = [], 0.0
    for index, tile in enumerate(tiles):
        options: dict[str, Any] = {}
        if draw.random() < 0.1:
            options["run_id"] = draw.choice(["daily", "../../../escaped", "..", "daily"])
        how = {
            "engine": engine,
            "lanes": draw.choice([1, 2, 2, 3]),
            "copies": draw.choice([1, 1, 1, 2]),
            "retry": draw.random() < 0.5,
            "skew": draw.choice([0, 0, 0, -400 * 86400, -3600, 3600, 30 * 86400]),
            "options": options,
        }
        starts.append(Start(at, tile, draw.choice(ENDS), draw.choice([4_000, 20_000, 100_000]), index > 0, how))
        at += slow * draw.uniform(0.3, 1.6)
    names = [*ANYWHERE, *(ON_FILES if kind == "file" else ON_OBJECTS)]
    times = [draw.uniform(0.4 * slow, slow + at) for _ in range(draw.randint(1, 4))]
    acts = [Act(when, draw.choice(names), draw.random()) for when in times]
    if shape == "there and back" and draw.random() < 0.7:  # a lane that sleeps through two overwrites
        acts.append(Act(slow * draw.uniform(0.6, 1.0), "sleep_lane", 1.0))
    faults = draw.choice([{}, {"refuse": 0.03, "drop": 0.02, "lose": 0.04}]) if kind != "file" else {}
    return History(seed, kind, tuple(starts), tuple(sorted(acts, key=lambda act: act.at)), faults)
