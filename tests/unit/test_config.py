"""Job files: what is read, what is refused, and in which words."""

from __future__ import annotations

import os
import threading

import pytest
import yaml
from job_files import LEAST, changed, job

from ee_spark import config
from ee_spark.errors import JobError

PATCHES = {"region": {"points": "points.csv"}}

REFUSED = [
    # a key that is missing, unknown or of another type
    ({"name": None}, "job: name: missing; write 4 to 40 of a-z, 0-9 and -, beginning with a letter, e.g. modis-ndvi"),
    ({"region": None}, "job: region: missing"),
    ({"grid": None}, "job: grid: missing"),
    ({"output": None}, "job: output: missing"),
    ({"output": {}}, "job: output.path: missing; write gs://, s3://, file:// or a plain path"),
    ({"name": "MODIS"}, "job: name: got 'MODIS': string should match pattern"),
    ({"name": "a"}, "job: name: got 'a'"),
    ({"grid.tyle": 16}, "job: grid.tyle: unknown key; did you mean 'tile'?"),
    ({"speed": 3}, "job: speed: unknown key; known here: name, earth_engine, source"),
    ({"region.sample": {"count": 3, "within": {"box": [0, 0, 1, 1]}}}, "region.sample.within.box: unknown key"),
    ({"retry.attempts": "six"}, "job: retry.attempts: got 'six'"),
    ({"retry.attempts": 0}, "job: retry.attempts: got 0"),
    (
        {"retry.max_failed": "some"},
        "job: retry.max_failed: got 'some': neither a count nor a percentage; write a count",
    ),
    ({"retry.max_failed": -1}, "job: retry.max_failed: got -1: it must not be negative; write a count"),
    ({"earth_engine.concurrent_requests": "40"}, "job: earth_engine.concurrent_requests: got '40'"),
    ({"earth_engine.concurrent_requests": True}, "job: earth_engine.concurrent_requests: got True"),
    ({"earth_engine.lanes": 0}, "job: earth_engine.lanes: got 0"),
    ({"grid.scale": "thirty"}, "job: grid.scale: got 'thirty'"),
    ({"grid.scale": -30}, "job: grid.scale: got -30"),
    ({"grid.tile": 0}, "job: grid.tile: got 0"),
    ({"grid.tile": [16]}, "job: grid.tile: got"),
    ({"grid.tile": 40000}, "job: grid.tile: got 40000: input should be less than or equal to 32768"),
    ({"grid.margin": -1}, "job: grid.margin: got -1"),
    ({"grid.align": "left"}, "job: grid.align: got 'left'"),
    ({"pixels.format": "PNG"}, "job: pixels.format: got 'PNG'"),
    ({"pixels.resample": "cubic"}, "job: pixels.resample: got 'cubic'"),
    ({"output.part_size": "big"}, "job: output.part_size: got 'big': not a size; write a size, e.g. 128MB"),
    ({"output.overwrite": "yes"}, "job: output.overwrite: got 'yes'"),
    (
        {"earth_engine.concurrent_requests": 10**400},
        "earth_engine.concurrent_requests: got a number of about 401 digits",
    ),
    (
        {"earth_engine.concurrent_requests": 10**9},
        "job: earth_engine.concurrent_requests: got 1000000000: input should",
    ),
    ({"earth_engine.lanes": 10**9}, "job: earth_engine.lanes: got 1000000000"),
    ({"retry.attempts": 2**62}, "job: retry.attempts: got 4611686018427387904"),
    ({"retry.deadline": float("inf")}, "job: retry.deadline: got inf: not a finite number; write one"),
    ({"retry.max_failed": "101%"}, "job: retry.max_failed: got '101%': neither a count nor a percentage"),
    ({"retry.max_failed": "9" * 5000 + "%"}, "neither a count nor a percentage"),
    ({"retry.min_tile": 10**6}, "job: retry.min_tile: got 1000000"),
    ({"output.part_size": "999999GB"}, "job: output.part_size: got '999999GB': input should be less than or equal to"),
    ({"output.part_size": "9" * 400 + "GB"}, "not a size; write a size, e.g. 128MB"),
    ({"grid.scale": float("nan")}, "job: grid.scale: got nan: not a finite number; write one"),
    ({"grid.scale": None, "grid.transform": [30, 0, float("nan"), 0, -30, 0]}, "job: grid.transform.2: got nan"),
    ({"region.bbox": [float("nan"), 0, 1, 1]}, "job: region.bbox.0: got nan: not a finite number"),
    ({"source.bands": ["b" * 10**6]}, "job: source.bands.0: got 'bbb"),
    ({"grid.crs": "W" * 10**6}, "a text of 1,000,000 characters; write one of at most 20,000"),
    ({"name": "a\0b"}, "job: name: got 'a\\x00b': a text with '\\x00', which no name can have; leave it out"),
    ({"output.path": "\ud800"}, "job: output.path: got '\\ud800': a text with '\\ud800'"),
    ({"source": {"image": "a.py:f", "args": {"a": float("inf")}}}, "job: source.args.a: got inf"),
    ({"source": {"image": "a.py:f", "args": {1: 2}}}, "job: source.args: got 1: a key that is not text"),
    ({"source": {"image": "a.py:f", "args": {"a": object()}}}, "a value of type object; write text, a number"),
    ({"source.start": "0000-01-01"}, "job: source.start: got '0000-01-01': not a date"),
    ({"source.start": "2020-01-01-01"}, "job: source.start: got '2020-01-01-01': not a date"),
    ({"source.start": "2020-13-01"}, "job: source.start: got '2020-13-01': not a date"),
    ({"source.start": "0001-01-01T00:00+14:00"}, "not a date"),
    ({"source.start": "9" * 5000}, "not a date; write an ISO date, e.g. 2020-01-01"),
    ({"region": {"sample": {"count": 3, "seed": -1, "within": {"bbox": [0, 0, 1, 1]}}}}, "region.sample.seed: got -1"),
    # earth_engine
    ({"earth_engine": {}}, "job: earth_engine: project is missing; endpoint high-volume needs the Cloud project"),
    (
        {"earth_engine.endpoint": "fast"},
        "job: earth_engine.endpoint: got 'fast': not a valid endpoint; write high",
    ),
    ({"earth_engine.endpoint": "ftp://x"}, "job: earth_engine.endpoint: got 'ftp://x': not a valid endpoint"),
    (
        {"earth_engine.credentials": "me"},
        "job: earth_engine.credentials: got 'me': not valid credentials; write default",
    ),
    ({"earth_engine.emulator": {"seed": 1}}, "job: earth_engine: emulator is only for endpoint: emulator"),
    # source
    ({"source": {}}, "job: source: none given; write exactly one of collection, asset, image, expression"),
    ({"source.asset": "A"}, "job: source: collection and asset given; write exactly one of"),
    ({"source": {"asset": "A", "start": "2020-01-01"}}, "job: source: start does not go with asset; leave it out"),
    ({"source": {"image": "a.py:f", "start": "2020-01-01"}}, "with image, dates need every; leave it out"),
    ({"source": {"image": "a.py:f", "every": "1 month"}}, "job: source: every needs start and end"),
    (
        {"source": {"image": "a.py:f", "every": "1 week", "start": "2020-01-01", "end": "2021-01-01"}},
        "source.every: got",
    ),
    ({"source": {"expression": "a.json", "map": "a.py:f"}}, "job: source: map does not go with expression"),
    ({"source": {"expression": "a.json", "args": {"a": 1}}}, "job: source: args does not go with expression"),
    ({"source.args": {"a": 1}}, "job: source: args are given, but neither map nor image takes them; leave them out"),
    (
        {"source.start": "2020-02-30"},
        "job: source.start: got '2020-02-30': not a date; write an ISO date, e.g. 2020-01-01",
    ),
    ({"source.start": 2020}, "job: source.start: got 2020"),
    ({"source.start": "2021-01-01", "source.end": "2021-01-01"}, "start (2021-01-01) is not before end (2021-01-01)"),
    ({"source.months": [0]}, "job: source.months.0: got 0"),
    ({"source.months": []}, "job: source.months: got"),
    ({"source.bands": []}, "job: source: bands is empty; name at least one band"),
    (
        {"source.bands": ["B 1"]},
        "job: source: bands: 'B 1' is not a valid column name; rename it: bands: {a_name: B 1}",
    ),
    ({"source.bands": ["ndvi", "NDVI"]}, "job: source: bands: 'ndvi' and 'NDVI' are one column name"),
    ({"source.method": "fast"}, "job: source.method: got 'fast'"),
    # region
    ({"region": {}}, "job: region: none given; write exactly one of bbox, geojson, table, points, sample"),
    ({"region.points": "p.csv"}, "job: region: bbox and points given"),
    (
        {"region.bbox": [0, 1, 1, 0]},
        "job: region.bbox: got [0, 1, 1, 0]: its south (1) is not below its north (0); write [west, south",
    ),
    ({"region.bbox": [0, 0, 0, 1]}, "job: region.bbox: got [0, 0, 0, 1]: its west and east are both 0"),
    ({"region.bbox": [0, 0, 200, 1]}, "job: region.bbox: got [0, 0, 200, 1]: degrees are out of range"),
    ({"region.bbox": [0, 0, 1]}, "job: region.bbox"),
    ({"region.bbox": "0,0,1,1"}, "job: region.bbox: got '0,0,1,1'"),
    (
        {"region": {"points": "p.csv", "clip": True}},
        "job: region: clip does not go with points: a patch has no polygon",
    ),
    ({"region": {"sample": {"count": 0, "within": {"bbox": [0, 0, 1, 1]}}}}, "job: region.sample.count: got 0"),
    ({"region": {"sample": {"count": 3, "within": {}}}}, "job: region.sample.within: none given; write exactly one of"),
    # grid
    ({"grid.scale": None}, "job: grid: nothing given; write exactly one of scale, resolution and transform"),
    ({"grid.resolution": 1}, "job: grid: scale and resolution given; write exactly one of"),
    ({"grid.crs": "native"}, "job: grid: scale does not go with crs: native"),
    ({"grid.like": "B4"}, "job: grid: like goes with crs: native only, and crs is EPSG:32613; leave it out"),
    ({"grid": {"crs": "native", "snap": False}}, "job: grid: snap: false does not go with crs: native"),
    ({"grid": {"crs": "native", "align": "crs"}}, "job: grid: align: crs does not go with crs: native"),
    ({**PATCHES, "grid.snap": False, "grid.align": "asset"}, "job: grid: snap: false does not go with align: asset"),
    ({"grid.snap": False}, "job: grid.snap: false is for patches around points, and region is a bbox; leave it out"),
    ({"grid.scale": None, "grid.transform": [10, 1, 0, 0, -10, 0]}, "transform has shear (1, 0); write a north-up one"),
    ({"grid.scale": None, "grid.transform": [10, 0, 0, 0, 10, 0]}, "transform has scales 10, 10; write a north-up one"),
    ({"grid": {"crs": "utm", "transform": [10, 0, 0, 0, -10, 0]}}, "transform fixes the lattice"),
    ({"source": {"image": "a.py:f"}, "grid": {"crs": "native"}}, "grid.crs: native needs stored images"),
    ({"source": {"image": "a.py:f"}, "grid.align": "asset"}, "grid.align: asset needs stored images"),
    # pixels
    ({"pixels.mask": "fill"}, "job: pixels: mask: fill and fill: NUMBER go together; write both or neither"),
    (
        {"pixels": {"mask": "fill", "fill": float("nan")}},
        "pixels.fill: got nan, which Earth Engine cannot put in place",
    ),
    ({"pixels": {"mask": "fill", "fill": {"a": float("nan")}}}, "write mask: band, and no fill"),
    ({"pixels.fill": 0}, "job: pixels: mask: fill and fill: NUMBER go together"),
    ({"pixels.dtype": {"a": "int64"}}, "job: pixels: dtype.a: 'int64' is not a valid type; write one of uint8, int8"),
    ({"pixels.images_per_request": 0}, "job: pixels.images_per_request: got 0"),
    (
        {"source.method": "getPixels"},
        "job: source.method: getPixels does not support mask: band; write pixels.mask: none",
    ),
    (
        {"source.method": "getPixels", "pixels": {"mask": "none", "resample": "mean"}},
        "getPixels does not support resample: mean",
    ),
    (
        {"source.method": "getPixels", "pixels": {"mask": "none", "dtype": {"a": "int8"}}},
        "job: source.method: getPixels neither casts nor packs",
    ),
    (
        {"source.method": "getPixels", "pixels.mask": "none", "source.map": "a.py:f"},
        "job: source: method: getPixels reads stored pixels and cannot compute; write method: auto",
    ),
    (
        {"source": {"image": "a.py:f", "method": "getPixels"}, "pixels.mask": "none"},
        "job: source: method: getPixels reads stored pixels and cannot compute; write method: auto",
    ),
    (
        {"source.method": "getPixels", "pixels.mask": "none", "region.clip": True},
        "job: source.method: getPixels does not support region.clip",
    ),
]


def refusal(data: object) -> str:
    """Return the text of the refusal, which is one line and exit 2."""
    with pytest.raises(JobError) as caught:
        config.parse(data)  # type: ignore[arg-type]
    assert caught.value.exit_code == 2
    text = str(caught.value)
    assert text.isprintable()
    assert len(text) < 300
    return text


@pytest.mark.parametrize(
    ("changes", "said"), REFUSED, ids=[said[:60].encode("ascii", "replace").decode() for _, said in REFUSED]
)
def test_a_wrong_job_is_one_line_with_the_way_out(changes, said):
    assert said in refusal(changed(changes))


def test_the_least_job_file_has_the_contracts_defaults():
    found = job()
    assert (found.earth_engine.concurrent_requests, found.earth_engine.requests_per_minute) == (40, 6000)
    assert (found.source.method, found.source.pin, found.region.clip) == ("auto", "auto", False)
    assert (found.grid.align, found.grid.margin, found.grid.snap) == ("auto", 0, True)
    assert (found.pixels.format, found.pixels.mask, found.pixels.resample) == ("NPY", "band", "nearest")
    assert (found.output.part_size, found.output.overwrite) == (128_000_000, False)
    assert found.retry.model_dump() == {
        "attempts": 6, "deadline": 1800.0, "split": True, "min_tile": 32, "max_failed": 0,
    }  # fmt: skip


def test_every_key_of_the_contract_is_read(tmp_path):
    text = """
name: modis-ndvi-bay-area
earth_engine: {project: my-project, endpoint: standard, credentials: anonymous, concurrent_requests: 40,
  requests_per_minute: 6000, lanes: 3}
source: {collection: MODIS/061/MOD13Q1, start: 2020-01-01, end: 2021-01-01T00:00:00Z, months: [6, 7, 8],
  filter: "properties.CLOUDY_PIXEL_PERCENTAGE < 20", map: "images/landsat.py:masked_ndvi", args: {probability: 50},
  bands: {ndvi: NDVI}, method: computePixels, pin: false}
region: {geojson: area.geojson, clip: true}
grid: {crs: EPSG:32610, transform: [10, 0, 399960, 0, -10, 4200000], align: crs, tile: [256, 128], margin: 2}
pixels: {format: GEO_TIFF, mask: fill, fill: -9999, resample: bilinear, dtype: {ndvi: float32}, images_per_request: 4}
output: {path: "gs://bucket/modis", part_size: 64MB, overwrite: true}
storage: {gs_endpoint: "http://127.0.0.1:1", s3_endpoint: "http://127.0.0.1:2", s3_region: R, anonymous: true}
retry: {attempts: 3, deadline: 60, split: false, min_tile: 16, max_failed: "0.1%"}
"""
    (tmp_path / "job.yaml").write_text(text)
    found = config.load(str(tmp_path / "job.yaml"))
    assert (found.source.start, found.source.end) == ("2020-01-01", "2021-01-01T00:00:00Z")
    assert found.source.map == f"{tmp_path}/images/landsat.py:masked_ndvi"
    assert found.region.geojson == f"{tmp_path}/area.geojson"
    assert found.grid.size == (256, 128)
    assert found.output.path == "gs://bucket/modis"
    assert found.output.part_size == 64_000_000
    assert found.retry.max_failed == "0.1%"


def test_a_month_that_stands_twice_is_that_month(tmp_path):
    found = config.parse(
        changed({"source.start": "2020-01-01", "source.end": "2021-01-01", "source.months": [6, 6, 7]})
    )
    assert set(found.source.months) == {6, 7}


def test_settings_override_any_key_and_create_sections(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(LEAST))
    found = config.load(
        str(path), ["pixels.mask=none", "grid.tile=[8, 4]", "source.start=2020-01-01", "name=other-name"]
    )
    assert (found.pixels.mask, found.grid.size, found.source.start) == ("none", (8, 4), "2020-01-01")
    assert found.name == "other-name"
    for setting, said in (
        ("grid", "--set grid: write KEY=VALUE"),
        ("=3", "--set =3: write KEY=VALUE"),
        ("name.first=3", "--set name.first=3: name is not a section"),
        ("grid.tile=[", "--set grid.tile=[: '[' is not YAML"),
        ("grid.tiles=8", "grid.tiles: unknown key; did you mean 'tile'?"),
        ("", "--set : write KEY=VALUE"),
        ("[", "--set [: write KEY=VALUE"),
        ("grid..tile=8", "--set grid..tile=8: write KEY=VALUE"),
        ("grid.=8", "--set grid.=8: write KEY=VALUE"),
        ("region.bbox.0=8", "--set region.bbox.0=8: bbox is not a section"),
        ("region.bbox[0]=8", "region.bbox[0]: unknown key"),
        ("grid=&a [*a]", "is not YAML in line 1: 'a' holds itself"),
        ("grid.tile=!!python/name:os.system", "is not YAML in line 1"),
        ("grid.scale=1:30", "grid.scale: got '1:30': input should be a valid number"),
        ("grid.scale=1_000", "grid.scale: got '1_000'"),
        ("output.overwrite=yes", "output.overwrite: got 'yes': input should be a valid boolean; write true or false"),
        ("grid.scale=.inf", "grid.scale: got inf: not a finite number"),
        ("name=" + "a" * 100_000, "a text of 100,000 characters"),
    ):
        with pytest.raises(JobError) as caught:
            config.load(str(path), [setting])
        assert said in str(caught.value)


def test_settings_are_yaml_1_2_numbers(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(LEAST))
    assert config.load(str(path), ["grid.scale=1e3"]).grid.scale == 1000.0
    assert config.load(str(path), ["grid.tile=0o20"]).grid.size == (16, 16)
    for text, held in (("'20200101'", "2020-01-01"), ("2020-01-01T06:00Z", "2020-01-01T06:00Z"), ("2020-W02", None)):
        assert config.load(str(path), [f"source.start={text}"]).source.start == (held or "2020-01-06")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/dev/zero", "cannot read '/dev/zero': it is a device; name a file"),
        (".", "cannot read '.': it is a directory; name a file"),
        ("pipe", "cannot read 'pipe': it is a pipe into which nobody wrote for 5 s"),
        ("large", "cannot read 'large': it has 1,073,741,824 bytes, and at most 1,000,000 are read"),
        ("a\0b", "--config: 'a\\x00b' holds a control character"),
        ("\ud800", "--config: '\\ud800' holds a control character"),
        ("//[x", "--config: '//[x' is not a valid path or URL"),
        ("x" * 5000, "is too long; a name has up to 255 bytes"),
    ],
)
def test_what_is_no_file_to_read_ends_at_once(path, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    with open("large", "wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(JobError) as caught:
        config.load(path)
    assert said in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


def test_a_pipe_that_somebody_writes_to_is_read(tmp_path):
    text = yaml.safe_dump(LEAST)
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=(text,))
    writer.start()
    assert config.load(str(tmp_path / "pipe")).name == LEAST["name"]
    writer.join()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: a\nname: b\n", "not YAML in line 2: key 'name' stands twice"),
        ("name: [a\n", "not YAML in line"),
        ("- a\n- b\n", "a job file is a mapping of name"),
        ("", "a job file is a mapping of name"),
        ("name: !!python/object/apply:os.getcwd []\n", "not YAML in line 1"),
        ("name: \x00\n", "not YAML"),
    ],
)
def test_a_file_that_is_no_job_file_is_refused_with_its_line(tmp_path, text, said):
    path = tmp_path / "job.yaml"
    path.write_text(text)
    with pytest.raises(JobError) as caught:
        config.load(str(path))
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_job_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(JobError, match=r"--config: cannot read '.*none.yaml': No such file"):
        config.load(str(tmp_path / "none.yaml"))


def test_relative_paths_begin_at_the_file(tmp_path):
    sample = {
        "count": 3,
        "within": {"geojson": "area.geojson"},
        "stratify": {"image": "c.py:f", "band": "b", "scale": 30},
    }
    data = changed(
        {
            "earth_engine": {"endpoint": "emulator", "emulator": {"catalog": "data"}},
            "source": {"image": "images/a.py:f"},
            "region": {"sample": sample},
            "output.path": "../out",
        }
    )
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "job.yaml").write_text(yaml.safe_dump(data))
    found = config.load(str(tmp_path / "conf" / "job.yaml"))
    assert found.earth_engine.emulator["catalog"] == f"{tmp_path}/conf/data"
    assert found.source.image == f"{tmp_path}/conf/images/a.py:f"
    assert found.region.sample.within.geojson == f"{tmp_path}/conf/area.geojson"
    assert found.region.sample.stratify.image == f"{tmp_path}/conf/c.py:f"
    assert found.output.path == f"{tmp_path}/out"
    remote = config.parse(changed({"source.map": "maps/a.py:f", "output.path": "s3://b/x"}), base="gs://bucket/jobs")
    assert remote.source.map == "gs://bucket/jobs/maps/a.py:f"
    assert remote.output.path == "s3://b/x"
    module = config.parse(changed({"source.map": "my.package:f"}), base=str(tmp_path))
    assert module.source.map == "my.package:f"


def test_the_shipped_job_files_are_valid():
    from pathlib import Path

    files = sorted((Path(config.__file__).parents[1] / "conf").glob("*.yaml"))
    assert len(files) >= 4
    for file in files:
        assert config.load(str(file)).name == file.stem.replace("_", "-")
