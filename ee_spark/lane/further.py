"""All that a run plans, and what its pixels show to be planned too: images whose footprints took tiles away wrongly."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from ee_spark.lane.deal import Share
from ee_spark.lane.engine import Engine
from ee_spark.lane.record import LaneRecord
from ee_spark.lane.rounds import run_rounds
from ee_spark.lane.tally import count_unclosed
from ee_spark.objects import Store
from ee_spark.planner.plan import Plan
from ee_spark.store import exceeded, runs

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Done:
    """What a run came to: its plan as it ended, its lanes' records, what the rest of its pairs is, why it was stopped.

    ``exceeded`` are the images of the plan whose pixels reach beyond their footprints.
    """

    plan: Plan
    exceeded: frozenset[str]
    records: list[LaneRecord]
    rest: Counter[str]
    stopped: str | None


def run_all(
    plan: Plan,
    store: Store,
    run_id: str,
    engine: Engine,
    shares_of: Callable[[Plan], list[Share]],
    grown: Callable[[int], None] = lambda more: None,
) -> Done:
    """Run a plan's lanes, and those of what it turns out to lack, until nothing more turns up.

    ``shares_of`` deals a plan; ``grown`` is told how many more pairs are planned. An image that is noted, by this run
    or another one, is planned by its raster alone: what its footprint took away is asked for, and stands in the run's
    record even if the run is stopped before that.
    """
    planned = frozenset(plan.images.ids)
    records: list[LaneRecord] = []
    rest: Counter[str] = Counter()
    todo = plan
    while True:
        shares = shares_of(todo)
        found, left, stopped = run_rounds(engine.held(shares), store, engine.run)
        records += found
        rest += count_unclosed(shares[0], store, left)
        beyond = exceeded.noted(store, plan.fingerprint, plan.frozen.life) & planned
        images = [index for index, name in enumerate(plan.images.ids) if name in beyond]
        more = plan.spared_of(images)
        if not more.count:
            return Done(plan, beyond, records, rest, stopped)
        plan = plan.with_spared(images)
        todo = replace(plan, pairs=more)
        log.warning("pixels reach beyond footprints: %d more pairs of image and tile", more.count)
        grown(more.count)
        runs.extend(store, run_id, plan, beyond)
        if stopped:
            return Done(plan, beyond, records, rest, stopped)
