"""YAML as its 1.2 core schema reads it (https://yaml.org/spec/1.2.2/#103-core-schema), bounded before it is built.

``1:30`` is text and not 90, ``1e3`` is a number, ``yes`` and ``on`` are texts, and so is a date. A key given twice is
refused, and so is what is too deep or, with all its aliases written out, too much.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from ee_spark.boundary import DEEPEST, MOST_VALUES, reading
from ee_spark.errors import JobError, one_line

_TAG = "tag:yaml.org,2002:"
_CORE = (
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
)


def loads(text: bytes | str, label: str, what: str = "not YAML") -> Any:
    """Return the values of a YAML text.

    Raises:
        JobError: if it is not YAML, or more than a job file can be, with the line.
    """
    with reading(label, what=what):
        try:
            return yaml.load(text, _Loader)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f" in line {mark.line + 1}" if mark else ""
            problem = getattr(error, "problem", None) or one_line(error)
            raise JobError(f"{label}: {what}{where}: {one_line(problem, 150)}") from None


class _Loader(yaml.SafeLoader):
    """Safe YAML, without the guesses of YAML 1.1."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def __init__(self, stream: bytes | str) -> None:
        super().__init__(stream)
        self._depth = self._count = 0
        self._sizes: dict[str, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        anchor, before = getattr(event, "anchor", None), self._count
        alias = isinstance(event, yaml.AliasEvent)
        if alias and anchor in self.anchors:
            if anchor not in self._sizes:
                raise yaml.composer.ComposerError(None, None, f"{anchor!r} holds itself", event.start_mark)
            self._count += self._sizes[anchor]
        self._depth += 1
        self._count += 1
        if self._depth > DEEPEST or self._count > MOST_VALUES:
            what = f"{DEEPEST} levels" if self._depth > DEEPEST else f"{MOST_VALUES:,} values, with aliases written out"
            raise yaml.composer.ComposerError(None, None, f"more than {what}", event.start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if anchor and not alias:
            self._sizes[anchor] = self._count - before
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is not None and key in seen and key_node.tag != f"{_TAG}merge":
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_int(self, node: yaml.ScalarNode) -> int:
        text = str(self.construct_scalar(node))
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))

    def construct_float(self, node: yaml.ScalarNode) -> float:
        return float(str(self.construct_scalar(node)).lower().replace(".inf", "inf").replace(".nan", "nan"))


for _name, _pattern, _first in _CORE:
    letters = [*(_first.replace("\0", "")), *([""] if "\0" in _first else [])]
    _Loader.add_implicit_resolver(f"{_TAG}{_name}", re.compile(f"(?:{_pattern})\\Z"), letters)
_Loader.add_implicit_resolver(f"{_TAG}merge", re.compile(r"<<\Z"), ["<"])
_Loader.add_constructor(f"{_TAG}int", _Loader.construct_int)
_Loader.add_constructor(f"{_TAG}float", _Loader.construct_float)
