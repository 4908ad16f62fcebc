"""What lanes of a run leave for others to read while they work, under ``_ee_spark/lanes/<run>~<nonce>/``.

A note for each open chunk, so that the driver knows what a worker that died was at; the record of a lane that ended;
slices that are too large to travel with their lanes; and one word that stops all lanes.
"""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from ee_spark.errors import DamagedError, StoreError, one_line
from ee_spark.lane.record import LaneRecord
from ee_spark.limits import MAX_RECORD
from ee_spark.objects import Store
from ee_spark.objects.names import run_of
from ee_spark.store.bounds import json_of
from ee_spark.store.runs import is_over

LANES = "_ee_spark/lanes"
LOOK_SECONDS = 3.0
log = logging.getLogger(__name__)
_NOTE = re.compile(r"r[0-9]+-l[0-9]+(?:-c[0-9]+|\.json|\.arrow)?|stop")


@dataclass(frozen=True)
class Notes:
    """The notes of one lane in one round of a run; ``folder`` is the run's (:attr:`ee_spark.lane.lane.Brief.notes`)."""

    store: Store
    folder: str
    round: int
    lane: int

    @property
    def stem(self) -> str:
        """What the names of this lane's notes begin with."""
        return f"{LANES}/{self.folder}/r{self.round}-l{self.lane}"

    def left_open(self) -> set[int]:
        """Return the indices of the chunks that are noted as open."""
        prefix = f"{self.stem}-c"
        found = [entry.name.removeprefix(prefix) for entry in self.store.list(prefix)]
        return {int(number) for number in found if re.fullmatch(r"[0-9]{1,9}", number)}

    def opened(self, chunk: int) -> None:
        """Note that the lane's chunk ``chunk`` is open."""
        self.store.create(f"{self.stem}-c{chunk}", b"{}")

    def closed(self, chunk: int) -> None:
        """Take the note of a chunk back."""
        self.store.delete(f"{self.stem}-c{chunk}")

    def ended(self, record: LaneRecord) -> None:
        """Leave the lane's record."""
        self.store.create(f"{self.stem}.json", json.dumps(record.to_json()).encode())

    def record(self) -> LaneRecord | None:
        """Return the lane's record; None if it has not ended, or what is there is not a record."""
        name = f"{self.stem}.json"
        try:
            found = self.store.read(name, MAX_RECORD)
            return None if found is None else LaneRecord.from_json(json_of(found[0]))
        except (DamagedError, ValueError, TypeError, KeyError, AttributeError) as error:
            log.warning("%s/%s: is not a lane's record (%s)", self.store.root, name, one_line(error, 100))
            return None

    def stop_all(self, reason: str) -> None:
        """Stop all lanes of the run, if the store can be written; the first reason stands.

        On a full disk the notes of this lane's open chunks make room for that word.
        """
        name, data = f"{LANES}/{self.folder}/stop", reason.encode()
        with suppress(StoreError):
            try:
                self.store.create(name, data)
            except StoreError:
                for chunk in self.left_open():
                    self.closed(chunk)
                self.store.create(name, data)

    def stopped(self) -> str | None:
        """Return why all lanes are to stop, if they are."""
        found = self.store.read(f"{LANES}/{self.folder}/stop", MAX_RECORD)
        return None if found is None else one_line(found[0].decode(errors="replace"))


def clear(store: Store, folder: str) -> None:
    """Remove all notes and slices of a run, by their shape: what else lies there is not ours."""
    prefix = f"{LANES}/{folder}/"
    for entry in store.list(prefix):
        if _NOTE.fullmatch(entry.name.removeprefix(prefix)):
            store.delete(entry.name)


def clear_dead(store: Store) -> None:
    """Remove the notes of runs that are over, which a driver that was killed left."""
    for folder in {entry.name.removeprefix(f"{LANES}/").partition("/")[0] for entry in store.list(f"{LANES}/")}:
        run_id = run_of(folder)
        if run_id is not None and is_over(store, run_id):
            clear(store, folder)


class Watch:
    """Looks now and then whether all lanes are to stop, and says so to this one."""

    def __init__(self, notes: Notes, stop: Callable[[str], None]) -> None:
        self._notes, self._stop = notes, stop
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True, name="watch")

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._end.wait(LOOK_SECONDS):
            try:
                reason = self._notes.stopped()
            except StoreError:
                continue  # a store that cannot be read is found by those who need it
            if reason is not None:
                self._stop(reason)
                return
