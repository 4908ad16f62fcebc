"""What becomes a path: ids of runs are refused, ids from data are encoded, names of objects are checked."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ee_spark.errors import JobError, StoreError
from ee_spark.objects import FileStore, check_output, open_store
from ee_spark.objects.names import (
    SEGMENT_BYTES,
    check,
    check_run_id,
    file_stem,
    is_bucket,
    is_run_id,
    is_temporary,
    run_folder,
    run_of,
    segment,
    segments,
    temporary,
    text_of,
)

IDS = st.text(st.characters(), max_size=300) | st.text("aA._-/%~ \x00\n\\éß", max_size=12)
SAFE = frozenset(string.ascii_letters + string.digits + "._-%~")
LONG = "/".join(["d" * 100] * 11)
DEVICES = ["CON", "nul", "com1", "LPT9.txt", "Aux.", "prn.a.b"]


@settings(max_examples=500, deadline=None)
@given(IDS)
def test_a_segment_is_one_safe_part_of_a_path(text: str) -> None:
    found = segment(text)
    assert set(found) <= SAFE
    assert 0 < len(found.encode()) <= SEGMENT_BYTES - 40
    assert found[0] not in "._-"
    assert found[-1] != "."
    assert found.partition(".")[0].lower() not in {"con", "prn", "aux", "nul", "com1", "lpt9"}
    assert check(f"pixels/{found}") == f"pixels/{found}"


@settings(max_examples=500, deadline=None)
@given(IDS)
def test_a_segment_tells_its_text(text: str) -> None:
    found = segment(text)
    if "~" in found:
        assert len(text.encode(errors="surrogatepass")) > 70
        with pytest.raises(ValueError, match="does not tell"):
            text_of(found)
    else:
        assert text_of(found) == text


@settings(max_examples=300, deadline=None)
@given(st.lists(IDS, max_size=12))
def test_segments_differ_ignoring_case(texts: list[str]) -> None:
    for first in (segment, file_stem):
        found = segments(texts, first)
        assert set(found) == set(texts)
        assert len({name.lower() for name in found.values()}) == len(set(texts))
        assert all(set(name) <= SAFE and len(name) <= SEGMENT_BYTES - 40 for name in found.values())


@settings(max_examples=300, deadline=None)
@given(st.text("abcXYZ019-", min_size=1, max_size=40).filter(lambda text: text[0] not in "-"))
def test_ordinary_ids_keep_their_names(text: str) -> None:
    if text.lower() not in ("con", "prn", "aux", "nul"):
        assert segment(text) == file_stem(text) == text
    assert file_stem(f"COLLECTION/{text}") == f"COLLECTION_{text}"


def test_names_of_files_are_those_that_people_know() -> None:
    ids = ["LANDSAT/LC08/C02/T1_L2/LC08_044034_20210508", "2021-05-01/2021-06-01", "a/b", "a_b", "A_B", "x"]
    found = segments(ids, file_stem)
    assert found["LANDSAT/LC08/C02/T1_L2/LC08_044034_20210508"] == "LANDSAT_LC08_C02_T1_L2_LC08_044034_20210508"
    assert found["2021-05-01/2021-06-01"] == "2021-05-01_2021-06-01"
    assert found["x"] == "x"
    assert found["a/b"] == "a%2Fb"
    assert found["a_b"].startswith("a_b~")
    assert text_of(found["a_b"]) == "a_b"
    assert text_of(found["A_B"]) == "A_B"


@pytest.mark.parametrize(
    "name", ["..", ".", "", "../x", "/etc/passwd", "CON", "con.tif", "-rf", "~", "a\x00b", "%2e%2e"]
)
def test_dangerous_ids_become_harmless(name: str, tmp_path: Path) -> None:
    for made in (segment(name), file_stem(name)):
        path = tmp_path / made
        assert path.parent == tmp_path
        assert path.resolve().parent == tmp_path.resolve()
        assert made not in (".", "..", name if name in ("CON", "con.tif", "-rf", "~") else None)
    assert text_of(segment(name)) == name


@pytest.mark.parametrize("name", DEVICES)
def test_names_of_devices_are_encoded(name: str) -> None:
    assert segment(name).startswith("%")
    assert text_of(segment(name)) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/x",
        "a/../b",
        "..",
        "a/./b",
        "a//b",
        "a/",
        "a\x00",
        "a\nb",
        "\x7f",
        "\x85",
        "\ud800",
        "x" * 256,
        "é" * 128,
        LONG,
    ],
)
def test_what_is_no_objects_name_is_refused(name: str, tmp_path: Path) -> None:
    store = FileStore(tmp_path / "set")
    (tmp_path / "b").write_text("foreign")
    for work in (
        store.read,
        store.open,
        store.delete,
        lambda n: store.create(n, b""),
        lambda n: store.send(n, tmp_path),
    ):
        with pytest.raises(StoreError, match="not a valid name of an object"):
            work(name)
    with pytest.raises(StoreError, match="not a valid name of an object"):
        store.replace(name, b"", None)
    if name not in ("", "a/"):
        with pytest.raises(StoreError, match="not a valid name of an object"):
            store.list(name)
    assert (tmp_path / "b").read_text() == "foreign"
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("text", ["nightly", "20260101T000000Z", "airflow-20260302T060000", "a.b_c-d", "9", "x" * 100])
def test_ids_of_runs(text: str) -> None:
    check_run_id(text)
    assert is_run_id(text)
    assert is_run_id(f"{text}-12")


@pytest.mark.parametrize(
    "text", ["", "../../../x", "..", "a..b", ".x", "-x", "_x", "a/b", "a b", "é", "a\n", "x" * 101]
)
def test_other_ids_of_runs_are_refused(text: str) -> None:
    with pytest.raises(JobError, match="--run-id: ") as told:
        check_run_id(text)
    assert told.value.exit_code == 2
    assert len(str(told.value)) < 300


def test_temporaries_are_known_and_never_alike() -> None:
    names = [temporary(), temporary(), temporary("probe-"), temporary("ee-spark-")]
    assert len(set(names)) == 4
    assert all(map(is_temporary, names))
    assert not any(map(is_temporary, ("", "x", ".hidden", names[0][1:], f"{names[0]}.bak", ".probe-" + "g" * 32)))


OUTPUTS = {
    "": "is empty",
    "  ": "is empty",
    "~/data": "there is no '~'",
    "~user/data": "there is no '~user'",
    "$HOME/data": r"there is no '\$HOME'",
    "/data/${RUN}/x": r"there is no '\$\{RUN\}'",
    "/dev/null": "lies in /dev",
    "/dev/shm": "lies in /dev",
    "/proc/self/cwd": None,
    "/proc/x": "lies in /proc",
    "/sys/x/y": "lies in /sys",
    "file://host/x": "names the host 'host'",
    "file:x/y": "not a whole file: URL",
    "file:///tmp/a#b": "not a whole file: URL",
    "file:///a%00b": "control character",
    "a\x00b": "control character",
    "a\nb": "control character",
    "/" + "x" * 256: "too long",
    "/" + "abc/" * 1100: "too long",
    "http://[/x": "not a valid path or URL",
}


@pytest.mark.parametrize("path", OUTPUTS)
def test_what_cannot_be_a_dataset_is_refused(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if OUTPUTS[path] is None:  # a link to where this process works
        open_store(path)
        return
    for work in (lambda: open_store(path, key="output.path"), lambda: check_output(path, "output.path")):
        with pytest.raises(JobError, match=OUTPUTS[path]) as told:
            work()
        assert str(told.value).startswith("output.path: ")
        assert len(str(told.value)) < 300
        assert "\n" not in str(told.value)
    assert list(tmp_path.iterdir()) == []


def test_a_file_and_what_is_below_it_are_no_dataset(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "loose").symlink_to(tmp_path / "nowhere")
    told = {
        "file": "is a file, not a folder",
        "file/a/b": "lies below",
        "loose": "link to nothing",
        "loose/x": "link to",
    }
    for path, text in told.items():
        with pytest.raises(JobError, match=text):
            open_store(str(tmp_path / path), key="output.path")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path, tmp_path / "file/x", tmp_path / "absent/x", "/dev/full", "/dev/null"):
        with pytest.raises(JobError, match=r"^--plot: "):
            check_output(str(path), "--plot")
    check_output(str(tmp_path / "file"), "--plot")
    check_output(f"file://{tmp_path}/new.png", "--plot")


def test_what_looks_unexpanded_and_is_there_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("~", "$x"):
        (tmp_path / name).mkdir()
        assert open_store(f"{name}/set").create("a", b"x")
        assert (tmp_path / name / "set/a").exists()
    assert open_store("a~b/c$d").create("a", b"x")


def test_a_buckets_name_is_looked_at_before_it_is_asked_for() -> None:
    for good in ("b", "my-bucket.example.com", "Old_Bucket", "0" * 255):
        assert is_bucket(good)
    for bad in ("", "a b", "a:b", "user@b", ".b", "-b", "b%2f", "é", "0" * 256, "b\n"):
        assert not is_bucket(bad), bad
    with pytest.raises(JobError, match=r"'A B' is not a valid name of a bucket; write gs://BUCKET/PATH"):
        open_store("gs://A B/x")


@pytest.mark.parametrize(("run_id", "nonce"), [("daily", "0" * 16), ("20260101T000000Z-2", "9f" * 8), ("a.b_c", "")])
def test_the_folder_of_a_runs_notes_tells_its_run(run_id: str, nonce: str) -> None:
    folder = run_folder(run_id, nonce)
    assert run_of(folder) == run_id
    assert check(f"_ee_spark/lanes/{folder}/r0-l0.json")


@pytest.mark.parametrize("folder", ["", "~0123", "..", ".~1", "-x", "a b", "a\nb~1"])
def test_other_folders_are_no_runs(folder: str) -> None:
    assert run_of(folder) is None
