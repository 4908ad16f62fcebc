"""What rows of a dataset may say to a service: ids that stand in a request's path lead nowhere else."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from store_data import LATTICE, layout

from ee_spark.check import asked, refetch
from ee_spark.errors import JobError, StoreError
from ee_spark.objects import FileStore
from ee_spark.planner.request import TileRequest
from ee_spark.store.graphs import GRAPHS, keep_graphs, kept_graphs

FROZEN = layout([("a", "uint8")], mask="none", side=4).frozen
STORED = type(FROZEN)(**{**FROZEN.__dict__, "method": "getPixels"})
ROW: dict[str, Any] = {
    "tile_id": "EPSG-32613/r1c1",
    "image_id": "COLLECTION/IMAGE",
    "crs": LATTICE.crs,
    "transform": [30.0, 0.0, 336_015.0, 0.0, -30.0, 4_462_935.0],
    "width": 4,
    "height": 4,
    "version": None,
    "crc32c": "00000000",
    "run_id": "run",
}


def request(**changes: Any) -> TileRequest[dict[str, Any]]:
    graphs: Any = SimpleNamespace(of=lambda run_id, image_id: None)
    return refetch._request({**ROW, **changes}, STORED, graphs, "dataset")


@pytest.mark.parametrize("image", ["A/B/C_1-2", "projects/example.com:p/assets/a/b", "users/me/x", "LANDSAT/A.B"])
def test_ids_of_assets_are_asked_for(image: str) -> None:
    assert request(image_id=image).image_id == image


@pytest.mark.parametrize(
    "image", ["../x", "A/../../B", "A//B", "/A", "A/", "A?x=1", "A#b", "A%2e%2e/B", "A\nB", "", "A/."]
)
def test_ids_that_lead_elsewhere_are_not(image: str) -> None:
    with pytest.raises(StoreError, match="is not one that a run of this job wrote"):
        request(image_id=image)


@pytest.mark.parametrize(
    "changes",
    [
        {"width": 5},
        {"height": 10**9},
        {"transform": [30.0, 0.0, float("nan"), 0.0, -30.0, 0.0]},
        {"transform": [30.0, 0.0]},
        {"transform": [0.0, 0.0, 0.0, 0.0, -30.0, 0.0]},
        {"crs": "x" * 100_000},
    ],
)
def test_places_that_no_run_wrote_are_not_asked_for(changes: dict[str, Any]) -> None:
    with pytest.raises(StoreError, match="is not one that a run of this job wrote"):
        request(**changes)


@pytest.mark.parametrize("graph", ["[]", "3", "{", '{}, "workloadTag": "x"', '"text"'])
def test_a_graph_is_one_json_object(graph: str, tmp_path: Path) -> None:
    """It is put into a request's body as text: nothing but an object may be."""
    store = FileStore(tmp_path)
    with pytest.raises(StoreError, match=GRAPHS):
        kept_graphs(store, keep_graphs(store, [graph]))


def test_graphs_come_back_as_they_were_kept(tmp_path: Path) -> None:
    store, graphs = (
        FileStore(tmp_path),
        [json.dumps({"result": "0", "values": {"0": {"constantValue": n}}}) for n in (1, 2)],
    )
    said = keep_graphs(store, graphs)
    assert [json.loads(graph) for graph in kept_graphs(store, said)] == [json.loads(graph) for graph in graphs]
    assert keep_graphs(store, graphs) == said
    assert len(store.list(f"{GRAPHS}/")) == 1
    assert kept_graphs(store, keep_graphs(store, [])) == ()


def test_settings_without_a_job_say_whom_to_ask_only() -> None:
    assert asked.job_of(None, ["earth_engine.endpoint=http://127.0.0.1:1"], "/data").earth_engine.project
    with pytest.raises(JobError, match=r"write earth_engine\.KEY=VALUE or storage\.KEY=VALUE"):
        asked.job_of(None, ["source.map=x.py:f"], "/data")
    with pytest.raises(JobError, match=r"earth_engine\.endpoint: got 'ftp://x'"):
        asked.job_of(None, ["earth_engine.endpoint=ftp://x"], "/data")
