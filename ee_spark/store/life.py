"""A life of a dataset: from the moment a job claims it, or takes it over, until another one takes it over.

Each life has a nonce, which job.json freezes, and its parts have names of their own. So what a writer of an earlier
life still publishes never stands where a later life looks, whatever job that is: A, then B, then A again are three
lives, and none reads, counts or deletes what is another's. Datasets of older versions have no nonce ("").
"""

from __future__ import annotations

from ee_spark.errors import StoreError
from ee_spark.limits import MAX_RECORD
from ee_spark.objects import Store
from ee_spark.store.bounds import json_of

JOB = "_ee_spark/job.json"
DIGITS = 8
"""How many of a life's first digits stand in the names of its parts."""


def prefix_of(fingerprint: str, life: str) -> str:
    """Return what the names of all parts of a life begin with, e.g. ``part-1a2b3c4d-``."""
    return f"part-{(life or fingerprint)[:DIGITS]}-"


def goes_on(store: Store, fingerprint: str, life: str) -> bool:
    """Return True while job.json still has this job, in this life.

    Raises:
        StoreError: if it cannot be read.
    """
    found = store.read(JOB, MAX_RECORD)
    if found is None:
        return False
    try:
        job = json_of(found[0])
        return bool((job["fingerprint"], job.get("frozen", {}).get("life", "")) == (fingerprint, life))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{store.root}/{JOB}: cannot be read as a job's manifest ({error!r})") from None
