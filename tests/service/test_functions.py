"""The user's functions run in a child: whatever they do is one line that names key, function and place, or works."""

from __future__ import annotations

import ast
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from places import REPO

from ee_spark import config
from ee_spark.client import Service
from ee_spark.errors import EESparkError, JobError
from ee_spark.objects import Functions
from ee_spark.planner import child
from ee_spark.planner.plan import Plan, make

SOURCE = '''"""Functions that misbehave, one way each."""
import atexit, ctypes, os, signal, sys, threading, time
import ee

def good(image):
    return image.select(["red"]).add(1)

def prints(image):
    print("to standard output")
    os.write(1, b"and below it")
    return good(image)

def reads(image):
    assert sys.stdin.read() == "" and os.read(0, 10) == b""
    return good(image)

def exits(image):
    sys.exit(0)

def exits_at_once(image):
    os._exit(0)

def aborts(image):
    os.abort()

def segfaults(image):
    ctypes.string_at(0)

def kills_itself(image):
    os.kill(os.getpid(), signal.SIGKILL)

def loops(image):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        pass

def recurses(image):
    return recurses(image)

def allocates(image):
    held = []
    while True:
        held.append(bytearray(b"x") * (64 << 20))

def interrupts(image):
    raise KeyboardInterrupt

def leaves(image):
    raise GeneratorExit("gone")

class MuteError(Exception):
    def __str__(self):
        raise RuntimeError("no text")

def mute(image):
    raise MuteError

def many_lines(image):
    raise ValueError("one\\ntwo\\n" + "x" * 5000)

def misleads(image):
    import ee_spark.errors
    raise ee_spark.errors.StoppedError("exit 1, please")

class Pretender:
    __class__ = ee.Image
    def serialize(self):
        return '{"result": "0", "values": {"0": {"evil": 1}}}'

def pretends(image):
    return Pretender()

def returns_text(image):
    return "EOBOX/LANDSAT"

def closes(image):
    os.closerange(0, 4096)
    return good(image)

def forks(image):
    os.fork()
    return good(image)

def patches(image):
    ee.Image.select = None
    ee.Image.load = None
    sys.path[:] = []
    os.chdir("/")
    os.environ["PATCHED"] = "yes"
    return ee.Image(image)

def threads(image):
    threading.Thread(target=time.sleep, args=(600,)).start()
    return good(image)

def daemons(image):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            open(os.environ["PIDS"], "a").write(f"{os.getpid()}\\n")
            time.sleep(600)
        os._exit(0)
    os.wait()
    while not os.path.exists(os.environ["PIDS"]):
        time.sleep(0.01)
    return good(image)

def at_exit(image):
    atexit.register(print, "at exit")
    return good(image)

def client_error(image):
    return ee.Image(object())

def asks(image):
    return good(image) if ee.Number(1).add(1).getInfo() == 2 else None
'''
WRONG = {
    "exits": "maps.py:exits failed: SystemExit: 0 (maps.py line",
    "exits_at_once": "ended its process (exit code 0) without an image",
    "aborts": "crashed its process (SIGABRT) without an image",
    "segfaults": "crashed its process (SIGSEGV) without an image",
    "kills_itself": "crashed its process (SIGKILL) without an image",
    "loops": "no answer within 1.5 s, so it was ended; make it faster, or write --function-timeout SECONDS",
    "recurses": "failed: RecursionError: maximum recursion depth exceeded",
    "allocates": "takes more than 2 GB of memory",
    "interrupts": "failed: KeyboardInterrupt: KeyboardInterrupt (maps.py line",
    "leaves": "failed: GeneratorExit: gone (maps.py line",
    "mute": "failed: MuteError: MuteError that cannot be written (maps.py line",
    "many_lines": "failed: ValueError: one two xxx",
    "misleads": "failed: StoppedError: exit 1, please (maps.py line",
    "pretends": "is not a kind of value",
    "returns_text": "returned str; return an ee.Image",
    "closes": "without an image",
    "client_error": "(maps.py line",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "maps.py").write_text(SOURCE)
    monkeypatch.setenv("PIDS", str(tmp_path / "pids"))
    return tmp_path


def planned(folder: Path, url: str, function: str, seconds: float = 60, **source: Any) -> Plan:
    job = {
        "name": "a-function",
        "earth_engine": {"endpoint": url},
        "source": source or {"collection": "EOBOX/LANDSAT", "map": f"maps.py:{function}"},
        "region": {"bbox": [-106.93, 40.277, -106.90, 40.299]},
        "grid": {"crs": "EPSG:32613", "scale": 30, "tile": 16},
        "output": {"path": "out"},
    }
    return make(
        config.parse(job, base=str(folder)), Service(url, "p", "anonymous"), functions=Functions(seconds=seconds)
    )


@pytest.mark.parametrize("name", WRONG)
def test_whatever_a_function_does_is_one_line(name: str, folder: Path, service_url: str) -> None:
    with pytest.raises(EESparkError) as caught:
        planned(folder, service_url, name, 1.5 if name == "loops" else 60)
    said = str(caught.value)
    assert caught.value.exit_code == 2
    assert said.startswith("source.map: ")
    assert f"maps.py:{name}" in said
    assert WRONG[name] in said
    assert (len(said) < 300 + len(str(folder)), "\n" in said) == (True, False), said
    if "maps.py line" in WRONG[name]:
        line = SOURCE.splitlines()[int(said.rpartition("line ")[2].rstrip(")")) - 1]
        assert line.startswith("    "), "the line of the user's file, not of a library's"


@pytest.mark.parametrize("name", ["good", "reads", "forks", "threads", "at_exit", "asks", "prints"])
def test_what_does_no_harm_works(name: str, folder: Path, service_url: str, capfd: pytest.CaptureFixture[str]) -> None:
    plan = planned(folder, service_url, name)
    assert [band.name for band in plan.frozen.bands] == ["red"]
    out, err = capfd.readouterr()
    assert out == "", "standard output is the report's"
    assert err == ("to standard output\nand below it" if name == "prints" else "")


def test_nothing_that_it_patches_reaches_the_driver(folder: Path, service_url: str) -> None:
    import ee

    before = ee.Image.select, ee.Image.load, list(sys.path), Path.cwd(), dict(os.environ)
    planned(folder, service_url, "patches")
    assert before == (ee.Image.select, ee.Image.load, list(sys.path), Path.cwd(), dict(os.environ))


def test_all_that_it_started_ends_with_it(folder: Path, service_url: str) -> None:
    before = {one.pid for one in psutil.Process().children(recursive=True)}
    planned(folder, service_url, "daemons")
    for pid in map(int, (folder / "pids").read_text().split()):
        assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    assert {one.pid for one in psutil.Process().children(recursive=True)} <= before


def test_a_fresh_interpreter_says_the_same(
    folder: Path, service_url: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    forked = planned(folder, service_url, "good")
    monkeypatch.setattr(child, "FORKS", False)  # as where forking is not safe
    fresh = planned(folder, service_url, "good")
    assert (fresh.graphs, fresh.fingerprint) == (forked.graphs, forked.fingerprint)
    for name in ("exits", "kills_itself", "mute"):
        with pytest.raises(JobError, match=f"maps.py:{name}"):
            planned(folder, service_url, name)
    assert capfd.readouterr() == ("", "")


def test_the_traceback_is_told_to_those_who_debug(folder: Path, service_url: str) -> None:
    (folder / "job.yaml").write_text(
        yaml.safe_dump(
            {
                "name": "debugged",
                "earth_engine": {"endpoint": service_url},
                "source": {"collection": "EOBOX/LANDSAT", "map": "maps.py:mute"},
                "region": {"bbox": [-106.93, 40.277, -106.90, 40.299]},
                "grid": {"crs": "EPSG:32613", "scale": 30},
                "output": {"path": "out"},
            }
        )
    )
    program = [sys.executable, "-m", "ee_spark.cli", "extract", "--config", str(folder / "job.yaml")]
    told = subprocess.run(
        [sys.executable, "-c", "from ee_spark.cli import main; main()", *program[3:], "--log-level", "debug"],
        capture_output=True, text=True, timeout=180, env={**os.environ, "PYTHONPATH": str(REPO)},
    )  # fmt: skip
    assert (told.returncode, told.stdout) == (2, "")
    assert "in mute\n    raise MuteError" in told.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_the_child_ends_with_the_driver(number: signal.Signals, folder: Path, service_url: str) -> None:
    (folder / "maps.py").write_text(
        "import os, time\n\ndef f(image):\n    open(os.environ['PIDS'], 'w').write(f'{os.getpid()}\\n')\n"
        "    time.sleep(600)\n"
    )
    program = (
        "import sys; sys.path[:0] = sys.argv[1:3]; from pathlib import Path; import test_functions; "
        "test_functions.planned(Path(sys.argv[3]), sys.argv[4], 'f')"
    )
    here = Path(__file__).parent
    driver = subprocess.Popen(
        [sys.executable, "-c", program, str(here), str(here.parent / "support"), str(folder), service_url],
        stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(REPO)},
    )  # fmt: skip
    pids = folder / "pids"
    _until(lambda: pids.exists() and pids.read_text().endswith("\n"))
    pid = int(pids.read_text())
    driver.send_signal(number)
    driver.communicate(timeout=60)
    _until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def _until(holds: Any, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_threads_of_a_notebook_may_plan_side_by_side(folder: Path, service_url: str) -> None:
    stop = threading.Event()
    lock = threading.Lock()

    def noisy() -> None:
        while not stop.is_set():
            with lock:
                logging.getLogger("noise").debug("held while the others fork")

    others = [threading.Thread(target=noisy) for _ in range(3)]
    for other in others:
        other.start()
    try:
        with ThreadPoolExecutor(4) as pool:
            plans = list(pool.map(lambda _: planned(folder, service_url, "good"), range(4)))
    finally:
        stop.set()
    assert len({plan.fingerprint for plan in plans}) == 1


# Expressions


def expression(folder: Path, url: str, text: str, seconds: float = 60) -> Plan:
    (folder / "e.json").write_text(text)
    return planned(folder, url, "", seconds, expression="e.json")


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"functionInvocationValue": {"functionName": name, "arguments": arguments}}


IMAGE = call("Image.constant", value={"constantValue": 1})


def levels(make_value: Any, count: int = 30, ways: int = 10) -> str:
    """Return a graph of ``count`` levels, each of which refers ``ways`` times to the one below."""
    values = {"0": IMAGE}
    for level in range(1, count + 1):
        values[str(level)] = make_value([{"valueReference": str(level - 1)}] * ways)
    return json.dumps({"result": str(count), "values": values})


def test_thirty_levels_of_ten_references_work(folder: Path, service_url: str) -> None:
    def add(parts: list[Any]) -> dict[str, Any]:
        whole = parts[0]
        for part in parts[1:]:
            whole = call("Image.add", image1=whole, image2=part)
        return whole

    plan = expression(folder, service_url, levels(add, 12))
    assert [band.name for band in plan.frozen.bands] == ["constant"]
    assert len(plan.graphs[0]) < 100_000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (levels(lambda parts: {"arrayValue": {"values": parts}}), "values, written out; write less"),
        (levels(lambda parts: {"dictionaryValue": {"values": dict(zip("abcdefghij", parts, strict=True))}}), "values"),
        ('{"result": "0", "values": {"0": {"valueReference": "0"}}}', "is not what ee.Image.serialize() writes"),
        ('{"result": "7", "values": {}}', "is not what ee.Image.serialize() writes"),
        ("[" * 100_000, "is not what ee.Image.serialize() writes"),
        ("{", "is not what ee.Image.serialize() writes"),
        ("3", "is not what ee.Image.serialize() writes"),
        ("null", "is not what ee.Image.serialize() writes"),
        ("1" * 5000, "is not what ee.Image.serialize() writes"),
        ('{"result": "0", "values": {"0": {"functionInvocationValue": {"functionName": "No.such"}}}}', "is not what"),
        ("\xff\xfe", "is not what ee.Image.serialize() writes"),
    ],
    ids=range(11),
)
def test_an_expression_that_is_none_is_one_line(text: str, said: str, folder: Path, service_url: str) -> None:
    with pytest.raises(JobError) as caught:
        expression(folder, service_url, text)
    assert said in str(caught.value)
    assert str(caught.value).startswith("source.expression: ")
    assert len(str(caught.value)) < 300 + len(str(folder))


def test_a_long_chain_in_a_function_works_as_before(folder: Path, service_url: str) -> None:
    (folder / "maps.py").write_text(
        "def f(image):\n    whole = image.select(['red'])\n    for _ in range(240):\n        whole = whole.add(1)\n"
        "    return whole\n"
    )
    assert [band.name for band in planned(folder, service_url, "f").frozen.bands] == ["red"]


def test_the_functions_above_are_all_tried() -> None:
    names = {node.name for node in ast.parse(SOURCE).body if isinstance(node, ast.FunctionDef)}
    assert names == set(WRONG) | {
        "good",
        "reads",
        "forks",
        "threads",
        "at_exit",
        "asks",
        "prints",
        "patches",
        "daemons",
    }
