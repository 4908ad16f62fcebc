"""Chaos rounds: seeded histories of runs and attacks on one dataset, at whose end nothing may be lost, doubled or torn.

``python tests/support/chaos.py --seeds 0:950 --log chaos.jsonl`` runs those rounds that the log does not have yet.
A seed draws the history and the attacks; how processes interleave is the machine's.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from chaos_driver import Driver, alive, signalled
from chaos_history import BLINDING, CALM, ENDS, History, Start, drawn
from chaos_servers import flaky_proxy, stores
from chaos_world import (
    BOX,
    World,
    adopt,
    exchange,
    keys,
    path_of,
    problems_at_the_end,
    reap,
    running_emulator,
    store_at,
    watch,
    write_catalog,
)

from ee_spark.check.forget import forget
from ee_spark.check.repair import repair
from ee_spark.check.verify import verify
from ee_spark.errors import StoreError
from ee_spark.store.runs import read_runs

CANARIES = ("canary", f".{'0' * 32}", "r0-l0-c0", "part-0.parquet")
"""Files outside the dataset, with names like those of the files in it."""
LONGEST = 150.0
"""Seconds after which the drivers of a history must have ended by themselves."""
CLOSINGS = 8


@dataclass
class Round:
    """One history as it happens."""

    history: History
    world: World
    folder: Path
    drivers: list[Driver] = field(default_factory=list)
    later: list[tuple[float, Callable[[], object]]] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    torn: bool = False

    def run(self) -> None:
        """Let the history happen, then heal the world, close the job, and look at what is there."""
        history = self.history
        self.draw = random.Random(history.seed)
        self.path = path_of(history.kind, self.folder, self.folder.name)
        self.dataset, self.outside = self.folder / "dataset", self.folder / "outside"
        self.outside.mkdir()
        for name in CANARIES:
            (self.outside / name).write_text("not of the dataset")
        with ExitStack() as stack:
            url = None
            if history.kind != "file":
                self.flaky, url = stack.enter_context(
                    flaky_proxy(self.world.stores[history.kind], history.faults, history.seed)
                )
            self.settings = self.world.settings(history.kind, url)
            self.store = store_at(self.path, self.world.settings(history.kind))
            watcher = self._watcher()
            try:
                self._happen()
            finally:
                self._heal()
                self._end(watcher)
            self._close()
            self._look()

    def _happen(self) -> None:
        began = time.monotonic()
        coming = [*self.history.starts], [*self.history.acts]
        while True:
            now = time.monotonic() - began
            while coming[0] and coming[0][0].at <= now:
                start = coming[0].pop(0)
                self.drivers.append(
                    Driver.start(self.job(start), self.folder / f"driver-{len(self.drivers)}", start.draw)
                )
            while coming[1] and coming[1][0].at <= now:
                act = coming[1].pop(0)
                if getattr(self, act.what)(act.number):
                    self.done.append(act.what)
            for at, undo in [item for item in self.later if item[0] <= time.monotonic()]:
                self.later.remove((at, undo))
                undo()
            reap()
            if not coming[0] and not any(driver.alive() for driver in self.drivers):
                return
            if now > LONGEST:
                if not self.later:  # nobody is held by us any more
                    self.problems.append(f"hung for {now:.0f} s")
                    for driver in self.drivers:
                        driver.kill(lanes=True)
                return
            time.sleep(0.01)

    def job(self, start: Start) -> dict[str, Any]:
        settings = {key: value for key, value in vars(self.settings).items() if value}
        return {
            "name": "chaos",
            "earth_engine": {"endpoint": self.world.service, "concurrent_requests": 8, "requests_per_minute": 60_000},
            "source": {"collection": "TRUTH", "bands": ["v"], "start": "2020-01-01", "end": start.end},
            "region": {"bbox": BOX},
            "grid": {"crs": "EPSG:32613", "scale": 30, "tile": start.tile},
            "pixels": {"mask": "none" if start.tile == 16 else "band"},  # as stored, and computed
            "output": {"path": self.path, "part_size": start.part_size, "overwrite": start.overwrite},
            "storage": settings,
            "retry": {"attempts": 8},
        }

    # --- attacks: each returns True where there was something to attack ---

    def kill_lane(self, _: float) -> bool:
        lanes = [pid for driver in self.drivers for pid in driver.lanes()]
        return bool(lanes) and signalled(self.draw.choice(lanes), signal.SIGKILL)

    def kill_driver(self, _: float) -> bool:
        return self._kill(lanes=False)

    def kill_all(self, _: float) -> bool:
        return self._kill(lanes=True)

    def _kill(self, *, lanes: bool) -> bool:
        living = [driver for driver in self.drivers if driver.alive()]
        if living:
            self.draw.choice(living).kill(lanes=lanes)
        return bool(living)

    def sleep_lane(self, number: float) -> bool:
        """A lane sleeps for a while, or, with 1.0, until all others have ended; its driver dies then, or may."""
        found = [(driver, pid) for driver in self.drivers for pid in driver.lanes()]
        if not found:
            return False
        driver, pid = self.draw.choice(found)
        slept = signalled(pid, signal.SIGSTOP)
        if number == 1.0 or self.draw.random() < 0.3:
            driver.kill(lanes=False)
            self.later.append((time.monotonic() + LONGEST, lambda: signalled(pid, signal.SIGCONT)))
        else:
            self.later.append((time.monotonic() + 3 * number, lambda: signalled(pid, signal.SIGCONT)))
        return slept

    def full_disk(self, number: float) -> bool:
        pids = [pid for driver in self.drivers for pid in [driver.pid, *driver.lanes()] if alive(pid)]
        for pid in pids:
            _limit_files(pid, int(3000 * number))
        for pid in pids:
            self.later.append((time.monotonic() + 0.5 + number, partial(_limit_files, pid, None)))
        return bool(pids)

    def outage(self, number: float) -> bool:
        self.world.traffic(faults=self.draw.choice(["503:1", "reset:1", "503:0.5,reset:0.3"]))
        self.later.append((time.monotonic() + 1.5 * number, self._no_faults))
        return True

    def damage(self, number: float) -> bool:
        self.world.traffic(faults="truncate:0.2,500:0.1,reset:0.1,slow:0.1")
        self.later.append((time.monotonic() + 3 * number, self._no_faults))
        return True

    def _no_faults(self) -> None:
        self.world.traffic(faults="")

    def store_outage(self, number: float) -> bool:
        os.kill(self.flaky, signal.SIGUSR1)
        self.later.append((time.monotonic() + 2 * number, lambda: signalled(self.flaky, signal.SIGUSR2)))
        return True

    def plant_notes(self, _: float) -> bool:
        """Notes of lanes and of a run that nobody knows, among those of runs that live."""
        for run in {"20200101T000000Z", *(name.split("/")[2] for name in self._notes())}:
            self._plant(f"_ee_spark/lanes/{run}/r0-l7-c3", b"{}")
        return True

    def plant_pickle(self, _: float) -> bool:
        """What would make a file outside, if anybody unpickled it, under every name that a slice may have."""
        evil = b"cposix\nsystem\n(S'touch " + str(self.outside / "owned").encode() + b"'\ntR."
        for name in self._notes():
            folder = name.rpartition("/")[0]
            for lane in range(3):
                self._plant(f"{folder}/r0-l{lane}.arrow", evil)
        return True

    def _notes(self) -> list[str]:
        with suppress(StoreError):  # the folder is a link at this moment
            return [entry.name for entry in self.store.list("_ee_spark/lanes/")]
        return []

    def _plant(self, name: str, data: bytes) -> None:
        with suppress(StoreError):  # a folder on the way is a link at this moment
            self.store.create(name, data)

    def link_temp(self, _: float) -> bool:
        return self._link("_ee_spark/tmp")

    def link_lanes(self, _: float) -> bool:
        return self._link("_ee_spark/lanes")

    def link_pixels(self, _: float) -> bool:
        return self._link("pixels")

    def _link(self, name: str) -> bool:
        """A folder of the dataset becomes a link to another one, for a while; the two are exchanged in one step."""
        place, link = self.dataset / name, self.folder / f"link-{len(self.done)}"
        if place.is_symlink() or not place.is_dir():
            return False
        link.symlink_to(self.outside)
        try:
            exchange(link, place)
        except FileNotFoundError:  # a run has just removed it
            return False
        self.later.append((time.monotonic() + 1.0, lambda: exchange(link, place)))
        return True

    def tear_part(self, number: float) -> bool:
        return self._tear("pixels/part-*-*-*.parquet", number)

    def tear_tiles(self, number: float) -> bool:
        return self._tear("tiles/part-*-*_*.parquet", number)

    def tear_record(self, number: float) -> bool:
        return self._tear("_ee_spark/runs/*.json", number)

    def _tear(self, pattern: str, number: float) -> bool:
        """A file loses its end, as by a disk that failed."""
        files = sorted(self.dataset.glob(pattern))
        if not files:
            return False
        file = self.draw.choice(files)
        with suppress(FileNotFoundError):
            data = file.read_bytes()
            temporary = self.folder / "torn"
            temporary.write_bytes(data[: int(len(data) * number)])
            temporary.rename(file)
            self.torn = True
        return True

    # --- the end ---

    def _watcher(self) -> int:
        """Start a process that reads the dataset all the time."""
        pid = os.fork()
        if pid:
            return pid
        try:
            watch(self.store, self.folder / "over", not self.history.overwrites, self.folder / "watched.json")
        finally:
            os._exit(0)

    def _heal(self) -> None:
        self._no_faults()
        for _, undo in self.later:
            undo()
        self.later = []

    def _end(self, watcher: int) -> None:
        (self.folder / "over").write_text("")
        while alive(watcher):
            reap()
            time.sleep(0.01)
        watched = self.folder / "watched.json"
        if not BLINDING & set(self.done):
            self.problems += json.loads(watched.read_text())["wrong"] if watched.exists() else ["the reader died"]
        for number, driver in enumerate(self.drivers):
            told = driver.result()
            if told and told["exit_code"] not in (0, 1, 2, 3):
                self.problems.append(f"driver {number}: {told['error']}")
            if told and "report" in told:
                self.problems += _miscounted(number, told["report"])
            if "Traceback" in driver.said() and not self._may_trace(driver):
                self.problems.append(f"driver {number} said: {driver.said()[-600:]}")

    def _may_trace(self, driver: Driver) -> bool:
        """A Python worker of Spark's that is killed is told of by Spark in its own way."""
        return driver.engine == "spark"

    def _close(self) -> None:
        """Run the last job again until it is complete, while lanes of dead drivers may live on; then once in peace."""
        last = self.history.starts[-1]
        start = Start(0, last.tile, ENDS[-1], last.part_size, True, CALM)
        peace = False
        for number in range(CLOSINGS):
            driver = Driver.start(self.job(start), self.folder / f"closing-{number}", start.draw)
            while driver.alive():
                reap()
                time.sleep(0.01)
            told = driver.result() or {"exit_code": 70, "error": driver.said()}
            if told["exit_code"] == 0 and peace:
                return
            if told["exit_code"] == 70:
                self.problems.append(f"closing {number}: {told['error']}")
            peace = self._wait_for_zombies()
            if self.torn:
                self._mend()
        self.problems.append(f"not complete after {CLOSINGS} runs: {told}")

    def _mend(self) -> None:
        """Repair the dataset, and take runs whose records are torn out of the account, as its user would."""
        repair(self.store, verify(self.store).problems)
        for run_id, record in read_runs(self.store).items():
            if record is None:
                forget(self.store, run_id)

    def _wait_for_zombies(self) -> bool:
        """Wait for the lanes of dead drivers to end; return True."""
        until = time.monotonic() + LONGEST
        while reap() and any(driver.lanes() for driver in self.drivers):
            if time.monotonic() > until:
                self.problems.append("a lane never ended")
                for driver in self.drivers:
                    driver.kill(lanes=True)
            time.sleep(0.02)
        return True

    def _look(self) -> None:
        found = problems_at_the_end(self.store, keys(self.history.starts[-1].tile), self.folder)
        self.problems += [text for text in found if not (self.torn and text.startswith("run: "))]
        here = {str(path.relative_to(self.outside)) for path in self.outside.rglob("*")}
        if here != set(CANARIES):
            self.problems.append(f"outside the dataset there is {sorted(here)}")
        extra = [path.name for path in self.folder.iterdir() if path.name.startswith("escaped")]
        self.problems += [f"outside the dataset: {name}" for name in extra]


def _miscounted(number: int, report: dict[str, Any]) -> list[str]:
    names = ("ok", "empty", "failed", "skipped", "missing")
    counts = {name: report[name] for name in names}
    said = [] if sum(counts.values()) == report["planned"] else [f"driver {number}: {counts} of {report['planned']}"]
    if report["status"] == "complete" and (counts["missing"] or counts["failed"]):
        said.append(f"driver {number}: complete with {counts}")
    return said


def _limit_files(pid: int, size: int | None) -> None:
    """Let no file of a process grow beyond ``size`` bytes, as on a disk that is full."""
    with suppress(ProcessLookupError, psutil.Error):
        hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard if size is None else size, hard))


def play(seed: int, engine: str, world: World, scratch: Path) -> dict[str, Any]:
    """Play one round; return what the log says of it. The folder of a round with problems is kept."""
    history = drawn(seed, engine)
    folder = scratch / f"{engine}-{seed}-{time.time_ns():x}"
    folder.mkdir()
    began = time.monotonic()
    one = Round(history, world, folder)
    try:
        one.run()
    except Exception:
        one.problems.append(traceback.format_exc()[-2000:])
    codes = [(driver.result() or {}).get("exit_code", "killed") for driver in one.drivers]
    if not one.problems:
        shutil.rmtree(folder)
    return {
        "seed": seed,
        "engine": engine,
        "ok": not one.problems,
        "history": str(history),
        "done": one.done,
        "codes": codes,
        "seconds": round(time.monotonic() - began, 1),
        "problems": one.problems[:20],
    }


def worker(seeds: list[int], engine: str, stores: dict[str, str], scratch: Path, log: Path | None) -> int:
    """Play rounds one after the other, in a world with a service of its own; return how many went wrong."""
    adopt()
    catalog = scratch / f"catalog-{os.getpid()}"
    catalog.mkdir()
    write_catalog(catalog)
    wrong = 0
    with running_emulator(catalog, seeds[0]) as service:
        world = World(service, stores)
        for seed in seeds:
            said = play(seed, engine, world, scratch)
            wrong += not said["ok"]
            line = json.dumps(said) + "\n"
            if log is not None:
                with log.open("a") as file:
                    file.write(line)  # one write of a line is whole, whoever else appends
            if not said["ok"]:
                print(said["history"], *said["problems"], sep="\n  ", file=sys.stderr, flush=True)
    return wrong


def main() -> None:
    """Play the rounds of some seeds that the log does not have, several at once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0:20", help="FIRST:STOP, or one number")
    parser.add_argument("--engine", choices=["processes", "spark"], default="processes")
    parser.add_argument("--at-once", type=int, default=3)
    parser.add_argument("--log", type=Path, help="a file with a line of JSON for each round that was played")
    parser.add_argument("--keep", type=Path, help="where folders of rounds with problems are kept")
    given = parser.parse_args()
    first, _, stop = given.seeds.partition(":")
    seeds = list(range(int(first), int(stop) if stop else int(first) + 1))
    if given.log and given.log.exists():
        played = [json.loads(line) for line in given.log.read_text().splitlines()]
        known = {said["seed"] for said in played if said["ok"] and said["engine"] == given.engine}
        seeds = [seed for seed in seeds if seed not in known]
    if not seeds:
        print("nothing left to play")
        return
    if given.keep:
        given.keep.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="chaos-", dir=given.keep))
    os.environ.update(AWS_ACCESS_KEY_ID="chaos", AWS_SECRET_ACCESS_KEY="chaos", AWS_EC2_METADATA_DISABLED="true")
    began, running = time.monotonic(), []
    with stores() as servers:
        for number in range(min(given.at_once, len(seeds))):
            pid = os.fork()
            if not pid:
                code = 1
                try:
                    code = min(99, worker(seeds[number :: given.at_once], given.engine, servers, scratch, given.log))
                except BaseException:
                    traceback.print_exc()
                finally:
                    os._exit(code)
            running.append(pid)
        wrong = sum(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in running)
    print(f"{len(seeds)} rounds in {time.monotonic() - began:.0f} s, {wrong} with problems", flush=True)
    if not wrong:
        shutil.rmtree(scratch)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
