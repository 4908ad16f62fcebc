"""Take a run out of the account: a mistake that nobody means to finish, or a record that nobody can read."""

from __future__ import annotations

import difflib
import getpass

from ee_spark.errors import JobError
from ee_spark.objects import Store
from ee_spark.store import account, manifest, runs
from ee_spark.store.schema import RUNS, SUCCESS, Layout

CLOSE = 3


def forget(store: Store, run_id: str) -> list[str]:
    """Note in a run's record that it does not count; return a line for each thing that was done.

    What it planned is expected no more, what it committed stays; ``_SUCCESS`` is written if all others are whole.

    Raises:
        ReadError: if there is no dataset.
        JobError: if there is no such run.
    """
    job = manifest.required(store)
    known = runs.run_ids(store)
    if run_id not in known:
        close = difflib.get_close_matches(run_id, known, CLOSE, 0.4) or known[-CLOSE:]
        told = f"the closest are {', '.join(close)}" if close else "it has none"
        raise JobError(f"--forget {run_id}: {store.root} has no run of this id; {told}")
    runs.forget(store, run_id, _user())
    layout = Layout(job.fingerprint, job.frozen, job.points, fill=job.fill)
    whole = account.settle_without(store, layout)
    is_told = f"every planned tile of the others is committed: wrote {SUCCESS}"
    return [
        f"{RUNS}/{run_id}.json: the run does not count any more",
        is_told
        if whole
        else f"no {SUCCESS}: another run has planned tiles that are not committed, or none is complete",
    ]


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user may have no name
        return "unknown"
