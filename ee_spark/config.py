"""Job file → frozen JobConfig, or one line that says what is wrong, where, and what to write instead."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError

from ee_spark.boundary import SHOWN, plain, reading, shortened, shown
from ee_spark.core_yaml import loads
from ee_spark.errors import JobError, one_line
from ee_spark.geometries import geojson_of, is_points
from ee_spark.job import JobConfig
from ee_spark.objects import Settings, is_local, local_path, read_input
from ee_spark.where import Inline, PointsFile

_KINDS = {
    "dict_type": "input should be a mapping",
    "model_type": "input should be a mapping",
    "tuple_type": "input should be a list",
    "string_type": "input should be a text",
    "int_type": "input should be a whole number",
    "int_parsing": "input should be a whole number",
}
"""What should have been written, by the kind of error: YAML's words, not Python's."""
MOST_BYTES = 1_000_000
"""Bytes of a job file."""


def load(path: str, settings: Sequence[str] = ()) -> JobConfig:
    """Read the job file at ``path``, with ``settings`` such as ``output.path=/data`` over it.

    Raises:
        JobError: with the key's path, what was given and what to write instead.
    """
    with reading(f"--config {shortened(path)}"):
        text = read_input(path, "--config", storage_in(settings), MOST_BYTES)
    data = loads(text, shortened(path))
    if not isinstance(data, dict):
        raise JobError(
            f"{shortened(path)}: a job file is a mapping of name, earth_engine, source, region, grid, output"
        )
    for setting in settings:
        _override(data, setting)
    base = path.rpartition("/")[0] if urlsplit(path).scheme else str(Path(path).absolute().parent)
    return parse(data, base=base, label=shortened(path))


def parse(data: Mapping[str, Any], *, base: str = "", label: str = "job") -> JobConfig:
    """Validate a job given as a mapping; its relative paths begin at ``base``.

    Raises:
        JobError: with the key's path, what was given and what to write instead.
    """
    data, given = _without_geometries(data, label)
    _refuse_nan(data, label)
    data = plain(data, label)
    if given:
        data = {**data, "region": {**data["region"], **given}}
    with reading(label):
        try:
            config = JobConfig.model_validate(dict(data))
        except ValidationError as error:
            raise JobError(f"{label}: {_explain(error)}") from None
        return _absolute(config, base or str(Path.cwd()))


def _refuse_nan(data: Mapping[str, Any], label: str) -> None:
    """Refuse NaN as a fill value, with what it is asked for: to know which samples are masked."""
    pixels = data.get("pixels") if isinstance(data, Mapping) else None
    fill = pixels.get("fill") if isinstance(pixels, Mapping) else None
    values = fill.values() if isinstance(fill, Mapping) else [fill]
    if any(isinstance(value, float) and math.isnan(value) for value in values):
        raise JobError(
            f"{label}: pixels.fill: got nan, which Earth Engine cannot put in place of masked samples; write mask: "
            "band, and no fill: a column then says which are valid"
        )


def _without_geometries(data: Mapping[str, Any], label: str) -> tuple[Mapping[str, Any], dict[str, Inline]]:
    """Return a job without the geometries of its region, which may be Python objects and large, and those.

    A region may be one itself: ``{"region": shapely.box(1, 2, 3, 4)}``.
    """
    region = data.get("region") if isinstance(data, Mapping) else None
    whole = geojson_of(region, f"{label}: region")
    if whole is not None:
        return {**data, "region": {}}, {"points" if is_points(whole) else "geojson": Inline(json.dumps(whole))}
    if not isinstance(region, Mapping):
        return data, {}
    found = {key: geojson_of(region.get(key), f"{label}: region.{key}") for key in ("geojson", "points")}
    given = {key: Inline(json.dumps(said)) for key, said in found.items() if said is not None}
    return {**data, "region": {key: value for key, value in region.items() if key not in given}}, given


def with_settings(data: Mapping[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """Return a job given as a mapping, with ``settings`` such as ``output.path=/data`` over it."""
    copy = {key: dict(value) if isinstance(value, dict) else value for key, value in data.items()}
    for setting in settings:
        _override(copy, setting)
    return copy


def storage_in(settings: Sequence[str]) -> Settings:
    """Return how the job file itself is reached: by those of the ``settings`` that are of ``storage``."""
    data: dict[str, Any] = {}
    for setting in settings:
        if setting.startswith("storage."):
            _override(data, setting)
    known = {field.name for field in dataclasses.fields(Settings)}
    return Settings(**{key: value for key, value in data.get("storage", {}).items() if key in known})


def storage_of(config: JobConfig) -> Settings:
    """Return how a job's gs:// and s3:// paths are reached."""
    return Settings(**config.storage.model_dump())


def _override(data: dict[str, Any], setting: str) -> None:
    key, equals, text = setting.partition("=")
    steps = key.split(".")
    label = f"--set {shortened(setting)}"
    if not equals or not all(steps):
        raise JobError(f"{label}: write KEY=VALUE, e.g. --set output.path=/data/ndvi")
    for section in steps[:-1]:
        if data.get(section) is None:
            data[section] = {}
        data = data[section]
        if not isinstance(data, dict):
            raise JobError(f"{label}: {shortened(section)} is not a section")
    data[steps[-1]] = loads(text, label, f"{shortened(repr(text))} is not YAML")


def _explain(error: ValidationError) -> str:
    """Return one line for the first thing that is wrong, unknown keys before the rest."""
    problems = error.errors(include_url=False)
    problem = next((item for item in problems if item["type"] == "extra_forbidden"), problems[0])
    path, section, field = _locate(problem["loc"])
    where = shortened(".".join(path)) or "job"
    if problem["type"] == "extra_forbidden":
        known = list(section.model_fields) if section else []
        close = difflib.get_close_matches(path[-1][:SHOWN], known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(known)}"
        return f"{where}: unknown key; {hint}"
    wanted = f"; write {field}" if field else ""
    if problem["type"] == "missing":
        return f"{where}: missing{wanted}"
    rule = problem["type"] == "value_error"
    message = str(problem["ctx"]["error"]) if rule else _KINDS.get(problem["type"], problem["msg"])
    given = problem["input"]
    if rule and isinstance(given, (dict, BaseModel)):  # a rule over a whole section says itself what was given
        return f"{where}: {message}" if path else message
    if isinstance(given, dict):
        return f"{where}: got a mapping: {one_line(message[:1].lower() + message[1:], 150)}{wanted}"
    return f"{where}: got {shown(given)}: {one_line(message[:1].lower() + message[1:], 150)}{wanted}"


def _locate(loc: tuple[int | str, ...]) -> tuple[list[str], type[BaseModel] | None, str]:
    """Return the key's path, the section it stands in, and what its field says should be written."""
    path: list[str] = []
    section: type[BaseModel] | None = JobConfig
    wanted = ""
    for step in loc:
        fields = section.model_fields if section else {}
        if str(step).startswith("("):  # the form of a value that has several
            continue
        if step in fields:
            field = fields[str(step)]
            wanted = field.description or ""
            path.append(str(step))
            inner = next((kind for kind in _classes(field.annotation)), None)
            if inner is None and section is not None:
                section = None
            elif inner:
                section = inner
        elif (step == loc[-1] and section) or isinstance(step, int):
            path.append(str(step))
    return path, section, wanted


def _classes(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _classes(argument)


def _absolute(config: JobConfig, base: str) -> JobConfig:
    """Return ``config`` with every relative path made absolute, beginning at ``base``."""

    def at(path: Any) -> Any:
        if not isinstance(path, str) or urlsplit(path).scheme or path.startswith("/"):
            return path
        return f"{base}/{path}" if urlsplit(base).scheme else str((Path(base) / path).resolve())

    def function(name: str | None) -> str | None:
        file, colon, attribute = (name or "").rpartition(":")
        return f"{at(file)}:{attribute}" if colon and file.endswith(".py") else name

    engine, source, region = config.earth_engine, config.source, config.region
    if engine.credentials.startswith("service-account:"):
        key = at(engine.credentials.partition(":")[2])
        engine = engine.model_copy(update={"credentials": f"service-account:{key}"})
    if engine.emulator.get("catalog"):
        engine = engine.model_copy(update={"emulator": {**engine.emulator, "catalog": at(engine.emulator["catalog"])}})
    source = source.model_copy(
        update={"image": function(source.image), "map": function(source.map), "expression": at(source.expression)}
    )
    sample = region.sample
    if sample:
        within = sample.within.model_copy(update={"geojson": at(sample.within.geojson)})
        classes = sample.stratify
        if classes:
            classes = classes.model_copy(update={"image": function(classes.image)})
        sample = sample.model_copy(update={"within": within, "stratify": classes})
    points = region.points
    if isinstance(points, PointsFile):
        points = points.model_copy(update={"file": at(points.file)})
    region = region.model_copy(update={"geojson": at(region.geojson), "points": at(points), "sample": sample})
    if is_local(config.output.path, "output.path"):
        local_path(config.output.path, "output.path")  # as it is written: "" and ~ would be folders of the job file's
    output = config.output.model_copy(update={"path": at(config.output.path)})
    return config.model_copy(update={"earth_engine": engine, "source": source, "region": region, "output": output})
