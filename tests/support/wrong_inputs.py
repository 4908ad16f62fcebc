"""Wrong inputs by the thousand, each made from a seed and run as a real command: one line, exit 2, nothing written.

``python tests/support/wrong_inputs.py --count 2000 --seed 7`` runs them and says what failed, by kind; ``--case NAME``
runs one of them alone, with the name that a failure is told by. Kinds are registered by the modules
``wrong_inputs_*``; each says in words why what it makes is wrong whatever the seed draws.

A case runs the command in a child that is forked from this process, which has imported all of it once. What it may
cost is measured there: memory is the child's highest resident size less what it began with.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib
import json
import os
import re
import resource
import shutil
import signal
import stat
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from wrong_inputs_child import be, warm
from wrong_inputs_place import KINDS, Kind, Place, Wrong, every_kind

MODULES = ("job", "keys", "points", "parquet", "regions", "code", "records", "commands")
PYTHON = re.compile(
    "NoneType|not subscriptable|to unpack|indices must be|has no attribute|unhashable|positional argument|not iterable|"
    "not supported between|object is not|must be str, not|expected str|object cannot be|_io\\.|invalid literal|<class"
)
"""What only a programmer understands."""
SECONDS = 10.0
MEGABYTES = 500
LENGTH = 300


@dataclass(frozen=True)
class Case:
    """One wrong input: its kind and the seed that it is drawn from are its name."""

    kind: Kind
    seed: str

    @property
    def name(self) -> str:
        return f"{self.kind.name}:{self.seed}"


@dataclass
class Outcome:
    """What became of a case, and what of it was not as promised."""

    name: str
    room: str
    why: str
    command: list[str]
    code: int | None
    seconds: float
    megabytes: float
    stdout: str
    stderr: str
    wrong: list[str] = field(default_factory=list)

    @property
    def kind(self) -> str:
        return self.name.partition(":")[0]

    @property
    def line(self) -> str:
        return next((line for line in self.stderr.splitlines() if line.strip()), "")[:LENGTH]


def kinds(rooms: Sequence[str] = (), only: str = "") -> list[Kind]:
    """Return the kinds of wrong input, of some rooms or all, in a fixed order."""
    for module in MODULES:
        importlib.import_module(f"wrong_inputs_{module}")
    return [kind for kind in every_kind() if (not rooms or kind.room in rooms) and kind.name.startswith(only)]


def cases(count: int, seed: int, of: Sequence[Kind]) -> Iterator[Case]:
    """Yield ``count`` cases: kinds in turn, so that each has its share, those with more to vary more of them."""
    turns = [kind for kind in of for _ in range(kind.share)]
    Random(seed).shuffle(turns)
    for number in range(count):
        yield Case(turns[number % len(turns)], f"{seed}.{number}")


def named(name: str) -> Case:
    """Return the case of a name that a failure was told by."""
    kind, _, seed = name.partition(":")
    kinds()
    return Case(KINDS[kind], seed)


def run(case: Case, url: str, scratch: Path) -> Outcome:
    """Make a case's files below a folder of its own, run its command in a child, and say what was not as promised."""
    root = Path(tempfile.mkdtemp(prefix="case-", dir=scratch))
    try:
        place = Place.at(root, url)
        wrong = case.kind.make(Random(f"{case.kind.name}:{case.seed}"), place)
        place.finish()
        before = snapshot(root)
        outcome = in_child(case, wrong, place, scratch)
        after = snapshot(root)
        changed = sorted({name for name in {*before, *after} if before.get(name) != after.get(name)})
        if changed:
            outcome.wrong.append(f"written or changed: {', '.join(changed[:4])}")
        return outcome
    finally:
        shutil.rmtree(root, ignore_errors=True)


def snapshot(root: Path) -> dict[str, tuple[Any, ...]]:
    """Return what lies below a folder: kinds, sizes, times and contents; links are not followed, pipes not opened."""
    found: dict[str, tuple[Any, ...]] = {}
    for folder, names, files in os.walk(root):
        for name in (*names, *files):
            path = Path(folder) / name
            told = path.lstat()
            data = b""
            if stat.S_ISREG(told.st_mode) and told.st_size < 1 << 20:
                data = path.read_bytes()
            size = told.st_size if stat.S_ISREG(told.st_mode) else 0
            moment = told.st_mtime_ns if stat.S_ISREG(told.st_mode) else 0
            found[str(path.relative_to(root))] = (
                stat.S_IFMT(told.st_mode),
                size,
                moment,
                hashlib.sha256(data).digest(),
            )
    return found


def in_child(case: Case, wrong: Wrong, place: Place, scratch: Path) -> Outcome:
    out, err = (Path(tempfile.mkstemp(prefix=name, dir=scratch)[1]) for name in ("out-", "err-"))
    started = time.monotonic()
    before = _children()
    child = os.fork()
    if not child:
        be(wrong, place, out, err)
    first = _resident(child)
    code, peak, killed = _wait(child, started + SECONDS)
    seconds = time.monotonic() - started
    left = _children() - before
    for process in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    _reap(left)
    told, said = (path.read_bytes().decode(errors="replace") for path in (out, err))
    out.unlink()
    err.unlink()
    outcome = Outcome(
        case.name, case.kind.room, wrong.why, wrong.command, code, seconds, max(0.0, peak - first), told, said
    )
    outcome.wrong += _broken(outcome, wrong, killed, left)
    return outcome


def _broken(outcome: Outcome, wrong: Wrong, killed: bool, left: set[int]) -> Iterator[str]:
    """Yield the promises that a command did not keep."""
    if killed:
        yield f"ran for {SECONDS:.0f} s"
    elif outcome.code != 2:
        yield f"exit {outcome.code}"
    if outcome.megabytes > MEGABYTES:
        yield f"took {outcome.megabytes:,.0f} MB"
    if "Traceback" in outcome.stderr + outcome.stdout:
        yield "traceback"
    if left:
        yield f"{len(left)} processes left"
    said = outcome.stderr.removeprefix(wrong.prints)
    quiet, spoken = (said, outcome.stdout) if wrong.told_on_stdout else (outcome.stdout, said)
    lines = spoken.strip("\n").split("\n") if spoken.strip("\n") else []
    if quiet:
        yield f"something on {'stderr' if wrong.told_on_stdout else 'stdout'}"
    if not killed and not wrong.told_on_stdout and len(lines) != 1:  # the doctor tells all its findings
        yield f"{len(lines)} lines on stderr"
    if (longest := max(map(len, lines), default=0)) >= LENGTH:
        yield f"a line of {longest:,} characters"
    if any(PYTHON.search(line) and " failed: " not in line for line in lines):  # the user's own function may say so
        yield "words of Python"
    if not all(map(str.isprintable, lines)):
        yield "control characters in a line"


def _wait(child: int, until: float) -> tuple[int | None, float, bool]:
    """Return a child's exit code (None: killed by a signal), its peak in MB, and whether it was ended for its time."""
    killed = False
    while True:
        found, status, used = os.wait4(child, os.WNOHANG)
        if found:
            code = os.waitstatus_to_exitcode(status)
            return (code if code >= 0 else None), used.ru_maxrss / 1024, killed
        if not killed and time.monotonic() > until:
            os.kill(child, signal.SIGKILL)
            killed = True
        time.sleep(0.01)


def _children() -> set[int]:
    """Return the processes whose parent this one is, by birth or because their own is gone."""
    mine = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                after = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(after[1]) == os.getpid() and after[0] != "Z":
                    mine.add(int(entry.name))
    return mine


def _reap(processes: set[int]) -> None:
    for process in processes:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(process, 0)


def _resident(process: int) -> float:
    with contextlib.suppress(OSError, IndexError):
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 2**20
    return 0.0


def told(outcomes: Sequence[Outcome]) -> str:
    """Return what failed, grouped by kind, with a case of each to run alone."""
    groups: dict[tuple[str, str, str], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.wrong:
            groups[outcome.room, outcome.kind, "; ".join(outcome.wrong)].append(outcome)
    lines = []
    for (room, kind, wrong), found in sorted(groups.items()):
        first = found[0]
        lines.append(f"{room} · {kind} · {len(found)}× · {wrong}")
        lines.append(f"    --case {first.name}  ({first.why})")
        lines.append(f"    {' '.join(first.command)[:200]}")
        lines.append(f"    exit {first.code}, {first.seconds:.1f} s, {first.megabytes:.0f} MB: {first.line}")
        if "Traceback" in first.stderr:
            lines.append(f"    … {first.stderr.strip().splitlines()[-1][:LENGTH]}")
    failed = sum(len(found) for found in groups.values())
    slow = max((outcome.seconds for outcome in outcomes), default=0.0)
    large = max((outcome.megabytes for outcome in outcomes), default=0.0)
    long = max((len(line) for one in outcomes for line in (one.stdout + one.stderr).splitlines()), default=0)
    costs = f"at most {slow:.1f} s, {large:.0f} MB and {long} characters a line"
    lines.append(f"{len(outcomes):,} wrong inputs: {failed:,} failed; {costs}")
    return "\n".join(lines)


def main() -> int:
    """Run cases as the arguments say; 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", metavar="PREFIX", help="kinds whose names begin so")
    parser.add_argument("--room", action="append", default=[], help="kinds of this room; may be repeated")
    parser.add_argument("--case", metavar="NAME", help="one case, with all that it says")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every outcome here, one per line")
    parser.add_argument("--url", help="an emulator that runs; else one is started")
    parser.add_argument("--every", action="store_true", help="one case of each kind")
    given = parser.parse_args()
    import ee_emulator

    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wrong-inputs-")))
        url = given.url or stack.enter_context(ee_emulator.start()).url
        os.environ |= {"MPLCONFIGDIR": str(scratch / "matplotlib"), "NO_GCE_CHECK": "true"}
        os.environ |= {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        warm()
        found = kinds(given.room, given.only)
        if given.case:
            chosen: Iterator[Case] = iter([named(given.case)])
        else:
            count = len(found) if given.every else given.count
            chosen = cases(count, given.seed, found)
            if given.every:
                chosen = (Case(kind, f"{given.seed}.0") for kind in found)
        outcomes = []
        for case in chosen:
            outcomes.append(run(case, url, scratch))
            if given.json:
                with given.json.open("a") as file:
                    file.write(json.dumps({**vars(outcomes[-1]), "kind": outcomes[-1].kind}) + "\n")
    if given.case:
        print(json.dumps(vars(outcomes[0]), indent=1))
    print(told(outcomes))
    return int(any(outcome.wrong for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
