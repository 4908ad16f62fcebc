"""Functions that fail or never end, and expressions that no client wrote."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any

from wrong_inputs_keys import DIGITS
from wrong_inputs_place import Make, Place, Wrong, choices, computed_job, planning

PRINTED = "what the function prints"
BODIES = {
    "exit-0": "sys.exit(0)",
    "exit-text": "sys.exit('a\\nb')",
    "hard-exit": "os._exit(0)",
    "killed": "os.kill(os.getpid(), 9)",
    "interrupt": "raise KeyboardInterrupt",
    "base": "raise BaseException('a\\nb')",
    "generator-exit": "raise GeneratorExit",
    "raises": "raise ValueError('x' * 100_000)",
    "raises-lines": "raise ValueError('a\\n' * 1000)",
    "raises-strange": "class Odd(Exception):\n        def __str__(self):\n            raise self\n    raise Odd",
    "exit-code": "raise SystemExit(3)",
    "none": "return None",
    "number": "return 7",
    "text": "return 'image'",
    "recursion": "return image(*given)",
    "loops": "while True:\n        pass",
    "sleeps": "import time\n    time.sleep(3600)",
    "memory": "return [bytes(1 << 20) for _ in range(1_000_000)]",
    "prints": f"print('{PRINTED}')\n    os.write(1, b'{PRINTED}\\n')\n    return None",
    "children": "if not os.fork():\n        import time\n        time.sleep(30)\n        os._exit(0)\n    return None",
    "threads": "import threading, time\n    threading.Thread(target=time.sleep, args=(30,)).start()\n    return None",
    "band": "return ee.Image(1).select('none')",
    "closed": "os.close(1)\n    os.close(2)\n    return None",
    "handlers": "import signal\n    [signal.signal(n, signal.SIG_IGN) for n in (2, 15)]\n    while 1:\n        pass",
    "feature": "return ee.FeatureCollection([])",
    "deep": "made = ee.Image(1)\n    for _ in range(100_000):\n        made = made.add(1)\n    return made",
    "stack": "return ee.Image.cat(*[ee.Image(1)] * 3_000)",
    "unpicklable": "return lambda: 0",
    "chdir": "os.chdir('/')\n    return None",
    "closes-all": "os.closerange(3, 4096)\n    return None",
}
FILES: dict[str, str | bytes] = {
    "syntax": "def image(*given:\n    return 1",
    "indent": "def image(*given):\nreturn 1",
    "nul": "def image(*given):\n    return '\0'",
    "no-function": "import ee\n",
    "no-callable": "image = 7\n",
    "import": "import no_such_module\n",
    "exits": "import sys\nsys.exit(0)\n",
    "loops": "while True:\n    pass\n",
    "raises": "raise ValueError('at import')\n",
    "bytes": b"\xff\xfe\x00image",
    "deep": "image = " + "(" * 5_000 + ")" * 5_000,
    "nested": "image = " + "-" * 200_000 + "1",
    "signature": "def image():\n    return 1",
    "wants-more": "def image(*given, needed):\n    return 1",
    "coroutine": "async def image(*given):\n    return 1",
    "class": "class image:\n    def __init__(self, *given):\n        pass\n",
}


NAMES = (
    "images.py", "images.py:", ":image", "images.py:none", "images.py:__name__", "no_module:f", "os:system", "a b:c",
    "images.py:image:image", "sys:exit", "..:x", "images.py:ima\0ge", "os.path:", "gs://bucket/f.py:f",
    "x" * 5_000 + ":f", "builtins:exec", "time:sleep",
)  # fmt: skip


@choices("function", "boundary")
def functions() -> Mapping[str, Make]:
    ways: dict[str, Make] = {name: partial(_function, body) for name, body in BODIES.items()}
    ways |= {f"file-{name}": partial(_source, text) for name, text in FILES.items()}
    return {**ways, "name": _name}


def _function(body: str, random: Random, place: Place) -> Wrong:
    made = _source(f"import os, sys\nimport ee\n\n\ndef image(*given):\n    {body}\n", random, place)
    return replace(made, prints=f"{PRINTED}\n" * body.count(PRINTED))


def _source(text: str | bytes, random: Random, place: Place) -> Wrong:
    file = place.write("images.py", text)
    key = random.choice(("map", "image"))
    job = (
        computed_job(place, "image", f"{file}:image")
        if key == "image"
        else place.job({"source.map": f'"{file}:image"'})
    )
    return Wrong(planning(random, job), "the function makes no image of the bands that are asked for")


def _name(random: Random, place: Place) -> Wrong:
    place.write("images.py", "def image(*given):\n    return 1\n")
    name = random.choice(NAMES)
    job = place.job({"source.map": json.dumps(name)})
    return Wrong(planning(random, job), f"{name[:40]!r} names no function that makes an image")


def _call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"functionInvocationValue": {"functionName": name, "arguments": arguments}}


def _graph(values: Mapping[str, Any], result: str = "0") -> str:
    return json.dumps({"result": result, "values": values})


def _fan(random: Random) -> str:
    levels, wide = random.choice(((30, 10), (60, 3), (25, 2)))
    values: dict[str, Any] = {"0": {"constantValue": 1}}
    for level in range(1, levels + 1):
        values[str(level)] = {"arrayValue": {"values": [{"valueReference": str(level - 1)}] * wide}}
    return _graph(values, str(levels))


def _chain(random: Random) -> str:
    depth = random.choice((1_000, 5_000, 50_000))
    values: dict[str, Any] = {"0": {"constantValue": 1}}
    for level in range(1, depth):
        values[str(level)] = _call("No.such", input={"valueReference": str(level - 1)})
    return _graph(values, str(depth - 1))


def _nested(random: Random) -> str:
    depth = random.choice((900, 5_000, 100_000))
    opening, closing = random.choice((("[", "]"), ('{"arrayValue": {"values": [', "]}}"), ('{"a": ', "}")))
    return '{"result": "0", "values": {"0": ' + opening * depth + "1" + closing * depth + "}}"


EXPRESSIONS: dict[str, Callable[[Random], str | bytes]] = {
    "top": lambda random: random.choice(
        ("", "{}", "[]", "7", "null", '"x"', "NaN", "true", "[[]]", '{"result": "0"}', '{"values": {}}')
    ),
    "no-result": lambda random: json.dumps(
        {"result": random.choice((None, 7, [], {}, "1", "", "x" * 5_000)), "values": {"0": {"constantValue": 1}}}
    ),
    "values": lambda random: json.dumps(
        {
            "result": "0",
            "values": random.choice(
                (None, 7, [], "x", [1], {"0": None}, {"0": 7}, {"0": []}, {"0": {}}, {"0": {"x": 1}})
            ),
        }
    ),
    "itself": lambda random: _graph(
        random.choice(
            (
                {"0": {"valueReference": "0"}},
                {"0": {"valueReference": "1"}, "1": {"valueReference": "0"}},
                {"0": _call("Image.add", image1={"valueReference": "0"})},
            )
        )
    ),
    "fan": _fan,
    "chain": _chain,
    "nested": _nested,
    "function": lambda random: _graph(
        {
            "0": _call(
                random.choice(("No.such", "", "x" * 5_000, "Image.nothing", "__import__", "Image.load\n")),
                a={"constantValue": 1},
            )
        }
    ),
    "arguments": lambda random: _graph(
        {
            "0": {
                "functionInvocationValue": {
                    "functionName": "Image.constant",
                    "arguments": random.choice((None, 7, [], "x", {"value": 7}, {"value": None})),
                }
            }
        }
    ),
    "name-type": lambda random: _graph(
        {"0": {"functionInvocationValue": {"functionName": random.choice((None, 7, [], {})), "arguments": {}}}}
    ),
    "missing-reference": lambda random: _graph(
        {"0": _call("Image.constant", value={"valueReference": random.choice(("9", "", "0x", "-1"))})}
    ),
    "no-image": lambda random: _graph(
        {
            "0": random.choice(
                (
                    {"constantValue": "text"},
                    {"constantValue": [1, 2]},
                    {"arrayValue": {"values": []}},
                    {"dictionaryValue": {"values": {}}},
                )
            )
        }
    ),
    "definition": lambda random: _graph(
        {
            "0": {
                "functionDefinitionValue": random.choice(
                    ({}, {"argumentNames": 7, "body": "0"}, {"argumentNames": ["a"], "body": "9"})
                )
            }
        }
    ),
    "digits": lambda random: '{"result": "0", "values": {"0": {"constantValue": ' + DIGITS + "}}}",
    "truncated": lambda random: (text := _graph({"0": _call("Image.constant", value={"constantValue": 1})}))[
        : random.randrange(len(text) - 1)
    ],
    "bytes": lambda random: random.choice(
        (b"\xff\xfe{}", b"\x80", b"{\x00}", b"\x1f\x8b\x08", random.randbytes(1_000) + b"\xff")
    ),
    "large": lambda random: (
        '{"result": "none", "values": {"0": {"constantValue": "' + "x" * (random.choice((3, 40)) << 20) + '"}}}'
    ),
    "older": lambda random: json.dumps(
        {
            "type": "CompoundValue",
            "scope": random.choice(([], [["0", {"type": "ValueRef", "value": "0"}]], 7, None)),
            "value": {"type": "ValueRef", "value": "0"},
        }
    ),
    "band": lambda random: _graph(
        {"0": _call("Image.constant", value={"constantValue": random.choice(("x", None, [], {}))})}
    ),
}


@choices("expression", "boundary")
def expressions() -> Mapping[str, Make]:
    return {name: partial(_expression, name) for name in EXPRESSIONS}


def _expression(name: str, random: Random, place: Place) -> Wrong:
    job = computed_job(place, "expression", place.write("composite.json", EXPRESSIONS[name](random)))
    return Wrong(planning(random, job), f"the expression's {name} make no image of band red")
