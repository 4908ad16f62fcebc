"""What the DAGs stage and send for Dataproc: the builder's message, files on a store on loopback, the lookback."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path

import yaml
from object_servers import BUCKET, gcs_server
from places import REPO

from ee_spark.config import load
from ee_spark.dataproc import batch
from ee_spark.objects import Settings, open_store, read_input

sys.path.insert(0, str(REPO / "jobs" / "dags"))
import incremental

END = dt.datetime(2026, 3, 2, 6, tzinfo=dt.UTC)


def test_what_is_staged_is_what_the_batch_runs(tmp_path: Path) -> None:
    (tmp_path / "f.py").write_text("def f(image):\n    return image\n")
    with gcs_server() as url:
        job = {
            "name": "scheduled",
            "earth_engine": {"project": "p"},
            "source": {"collection": "A/B", "map": "f.py:f"},
            "region": {"bbox": [0, 0, 1, 1]},
            "grid": {"crs": "EPSG:32631", "scale": 10, "tile": 64},
            "output": {"path": f"gs://{BUCKET}/out"},
            "storage": {"gs_endpoint": url, "anonymous": True},
        }
        path = tmp_path / "job.yaml"
        path.write_text(yaml.safe_dump(job))
        run = incremental.prepare(str(path), ["grid.scale=20"], END - dt.timedelta(days=1), END, 14)
        options = batch.Options(project="p", region="r", staging=f"gs://{BUCKET}/stage")
        code = batch.Code("gs://b/m.py", "gs://b/p.zip")
        found = incremental.batches(str(path), run, code, options)
        again = incremental.batches(str(path), run, code, options)
        later = incremental.prepare(str(path), [], END, END + dt.timedelta(days=1), 14)
        other = incremental.batches(str(path), later, code, options)
        folder, command, *args = found["batch"]["pyspark_batch"]["args"]
        store = open_store(folder, Settings(gs_endpoint=url))
        staged = {entry.name: body[0] for entry in store.list("") if (body := store.read(entry.name))}
        assert staged == {"job.yaml": path.read_bytes(), "f.py": (tmp_path / "f.py").read_bytes()}
    assert (command, args[:2]) == ("extract", ["--config", "job.yaml"])
    settings = [args[at + 1] for at, word in enumerate(args) if word == "--set"]
    assert settings[1:3] == ["source.start=2026-02-15T06:00:00Z", "source.end=2026-03-02T06:00:00Z"]
    assert settings[-1] == "source.map=f.py:f"
    assert args[args.index("--run-id") + 1] == run["run"] == "airflow-20260302T060000"
    assert again == found, "a task that runs again means the same batch"
    assert other["stem"] != found["stem"], "another day is another batch"
    assert found["check"]["pyspark_batch"]["args"][1:] == ["verify", "--dataset", f"gs://{BUCKET}/out"]
    batch.batch_id(found["check_stem"], 99)
    shipment = batch.ship(
        load(str(path), run["settings"]),
        path.read_bytes(),
        read_input,
        settings=run["settings"],
        arguments=["--progress", "log", "--run-id", run["run"]],
    )
    assert found["batch"] == batch.message(load(str(path), run["settings"]), shipment, code, options)
