"""Types of the points' own columns: decided by the first plan of a dataset, stated by its job, or by what texts say.

A text is a number only where the number prints back to the same text: 01001, 1E2, 0x10, +1, 1.50 and ids of twenty
digits stay as they are.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ee_spark.boundary import shortened
from ee_spark.errors import JobError
from ee_spark.planner.carried import INSTANT, SIMPLE, carried, decoded, first_wrong
from ee_spark.planner.frozen import Frozen, Note
from ee_spark.where import POINT_TYPES

STATED: Mapping[str, pa.DataType] = {
    **{name: pa.type_for_alias(name) for name in POINT_TYPES if name not in ("date", "timestamp")},
    "date": pa.date32(),
    "timestamp": INSTANT,
}
EXACT = 2**53
"""Whole numbers up to it are all float64."""
_WHOLE = r"^(?:0|-?[1-9][0-9]*)$"
_SHORT = r"^-?(?:0|[1-9][0-9]*)\.(?:0|[0-9]*[1-9])$"
_INTEGER = re.compile(r"[+-]?[0-9]+")
_FLOAT = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?(?:nan|inf|infinity)", re.I)
_DECIMAL = re.compile(r"decimal128\((\d+), (\d+)\)")
_FIRST = 1000  # values that tell most columns of text

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Known:
    """What is known of the points' own columns before their file is read.

    ``stated`` are the types that the job states, by the names of :data:`STATED`; ``frozen`` those of the dataset, as
    Arrow prints them, None where there is none yet. ``exact``: no value of the dataset may be changed; in those of
    older versions some were. ``binding``: what does not fit the dataset is refused, and not another job.
    """

    stated: Mapping[str, str] = field(default_factory=dict)
    frozen: Mapping[str, str] | None = None
    exact: bool = True
    binding: bool = True

    @classmethod
    def of(cls, frozen: Frozen | None, *, binding: bool) -> Known:
        """Return what a dataset knows; not ``binding`` where another job's replaces it."""
        if frozen is None:
            return NOTHING_KNOWN
        return cls(frozen=frozen.columns, exact=frozen.exact, binding=binding)

    @property
    def held(self) -> Mapping[str, str]:
        """The frozen types, or none."""
        return self.frozen or {}


NOTHING_KNOWN = Known()


def typed(table: pa.Table, known: Known, label: str, *, texts: bool = False) -> tuple[pa.Table, tuple[Note, ...]]:
    """Return columns with the types that they are written with, and what should be said of them.

    ``texts``: the file has no types (a CSV), and its numbers are texts.

    Raises:
        JobError: if a value does not fit its type, with its row and column, or a type cannot be written.
    """
    missing = sorted(set(known.stated) - set(table.column_names))
    if missing:
        raise JobError(
            f"region.points.types: {label.partition(': ')[2] or label} has no column {shortened(missing[0])!r} of its "
            f"own, only {shortened(', '.join(table.column_names)) or 'none'}"
        )
    order = {name: index for index, name in enumerate(known.held)}
    names = sorted(table.column_names, key=lambda name: order.get(name, len(order)))
    columns, notes = {}, []
    for name in names:
        columns[name], note = _column(_whole(table[name]), name, known, label, texts=texts)
        notes += note
    return pa.table(columns), tuple(notes)


def of_values(values: Sequence[Any]) -> pa.Array:
    """Return values of JSON as a column: of one type where all are, else as their texts; nulls alone are text."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {dict, list}:
        kinds = {str} if kinds else kinds
    elif kinds == {bool}:
        return pa.array(values, pa.bool_())
    elif kinds == {int} and all(value is None or -(2**63) <= value < 2**63 for value in values):
        return pa.array(values, pa.int64())
    elif kinds <= {int, float} and all(type(value) is not int or abs(value) <= EXACT for value in values):
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    return pa.array(
        [value if value is None or isinstance(value, str) else json.dumps(value) for value in values], pa.string()
    )


def _column(column: pa.Array, name: str, known: Known, label: str, *, texts: bool) -> tuple[pa.Array, list[Note]]:
    if name in known.stated:
        return _stated(column, name, known.stated[name], label), []
    held = known.held.get(name)
    if held is not None and str(column.type) == held and (not texts or held == "string"):
        return column, []  # an older version's, perhaps of a type that is written no longer
    if held == "null" and column.null_count == len(column):
        return pa.nulls(len(column)), []  # as an older version had it
    if held is not None:
        found = _held(column, name, held, known, label, texts=texts)
        if found is not None:
            return found
    if not texts:
        return carried(column, name, label), []
    return _by_text(column, name)


def _stated(column: pa.Array, name: str, type_name: str, label: str) -> pa.Array:
    """Return a column as the type that the job states for it."""
    target = STATED[type_name]

    def convert(part: pa.Array) -> pa.Array:
        return _read(part, target) if pa.types.is_string(part.type) else _converted(part, target)

    plain = decoded(column)
    try:
        return convert(plain)
    except pa.ArrowNotImplementedError:
        raise JobError(
            f"region.points.types.{shortened(name)}: a column of {column.type} cannot be {type_name}"
        ) from None
    except (pa.ArrowInvalid, ValueError):
        row = first_wrong(plain, convert)
        raise JobError(
            f"{label}: point {row + 1} has {shortened(name)} {_shown(plain[row])}, which is not {type_name} as "
            f"region.points.types says; correct it, or leave it empty"
        ) from None


def _held(
    column: pa.Array, name: str, held: str, known: Known, label: str, *, texts: bool
) -> tuple[pa.Array, list[Note]] | None:
    """Return a column as the dataset has it; None where it is then another job's."""
    target = _type_of(held)
    if not texts:
        column = decoded(column) if target == pa.string() else carried(column, name, label)
        if str(column.type) == held:
            return column, []

    def convert(part: pa.Array) -> pa.Array:
        if target is None:
            raise ValueError("a type that nothing is converted to")
        return _exactly(part, target) if pa.types.is_string(part.type) else _converted(part, target)

    try:
        return convert(column), []
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError):
        if not known.binding:
            return None
    if texts and not known.exact:
        return _as_before(column, name, target, held, label)
    row = first_wrong(column, convert) if target is not None else 0
    would = _would_be(column[row], target)
    raise JobError(
        f"{label}: point {row + 1} has {shortened(name)} {_shown(column[row])}, and the dataset's column is "
        f"{held}{would}"
    )


def _as_before(
    column: pa.Array, name: str, target: pa.DataType | None, held: str, label: str
) -> tuple[pa.Array, list[Note]]:
    """Return texts as an older version read them, which began the dataset, and say which value that changes."""
    try:
        found = column.cast(target)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, TypeError):
        row = first_wrong(column, lambda part: part.cast(target)) if target is not None else 0
        raise JobError(
            f"{label}: point {row + 1} has {shortened(name)} {_shown(column[row])}, and the dataset's column is "
            f"{held}; correct it, or write to another output.path"
        ) from None
    row = first_wrong(column, lambda part: _exactly(part, target))
    kept = f"{_shown(column[row])} (point {row + 1})"
    why = f"an earlier version began the dataset so; to keep {kept} write to another output.path"
    log.warning("%s: %s is %s, which changes values: %s", label, name, held, why)
    return found, [("points", f"{name} is {held}, which changes values", why)]


def _by_text(column: pa.Array, name: str) -> tuple[pa.Array, list[Note]]:
    """Return texts as numbers where every one prints back; where only some do, say so."""
    if column.null_count == len(column):
        return column, []
    for target in (pa.int64(), pa.float64()):
        try:
            _exactly(column.slice(0, _FIRST), target)
            found = _exactly(column, target)
            if target == pa.int64() or not _mixed(column):
                return found, []
        except (pa.ArrowInvalid, ValueError):
            continue
    try:
        _read(column.slice(0, _FIRST), pa.float64())
        _read(column, pa.float64())
    except (pa.ArrowInvalid, ValueError):
        return column, []
    why = "it has 4 and 4.0, say, which are one number"
    if not _mixed(column):
        row = first_wrong(column, lambda part: _exactly(part, pa.float64()))
        why = f"{_shown(column[row])} would not print back as a number"
    return column, [("points", f"{name} is text", f"{why}; where they are numbers write types: {{{name}: float64}}")]


def _mixed(texts: pa.Array) -> bool:
    """Return True for floats of which some, but not all, are printed without a point."""
    return bool(_matches(texts, _WHOLE).any() and _matches(texts, r"\.0$").any())


def _exactly(texts: pa.Array, target: pa.DataType) -> pa.Array:
    """Return texts as a type, refusing one that does not print back to the same text.

    Floats print as Python prints them (4.0, 2.5, 1e+16), or whole ones without the point (4).
    """
    if target == pa.string():
        return texts
    if pa.types.is_floating(target):
        return _exact_floats(texts, target)
    found = texts.cast(target)
    back = found.cast(pa.string())
    if not pc.all(pc.equal(texts, back), min_count=0).as_py():
        raise ValueError("a value that does not print back")
    return found


def _exact_floats(texts: pa.Array, target: pa.DataType) -> pa.Array:
    whole, point = _matches(texts, _WHOLE), _matches(texts, _SHORT)
    lengths = pc.fill_null(pc.utf8_length(texts), 0).to_numpy(zero_copy_only=False)
    small = pa.types.is_float64(target) & (lengths <= 15)  # digits that every float64 keeps
    if pa.types.is_float64(target):
        small &= ~_matches(texts, r"^-?0\.0000")  # which prints with an exponent
    given = texts.is_valid().to_numpy(zero_copy_only=False)
    rest = np.flatnonzero(given & ~(small & (whole | point)))
    number = float if pa.types.is_float64(target) else np.float32
    for text in texts.take(pa.array(rest)).to_pylist():
        if not _prints_back(text, number):
            raise ValueError(text)
    return texts.cast(target)


def _prints_back(text: str, number: Callable[[str], Any]) -> bool:
    if not _FLOAT.fullmatch(text):
        return False
    value = number(text)
    if not np.isfinite(value):
        return False
    return text == (str(value) if abs(value) > EXACT or not _INTEGER.fullmatch(text) else str(int(value)))


def _matches(texts: pa.Array, pattern: str) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = pc.fill_null(pc.match_substring_regex(texts, pattern), False).to_numpy(
        zero_copy_only=False
    )
    return found


def _read(texts: pa.Array, target: pa.DataType) -> pa.Array:
    """Return texts as a type that somebody stated, in whatever way its values are written."""
    if pa.types.is_integer(target) or pa.types.is_floating(target):
        grammar = _INTEGER if pa.types.is_integer(target) else _FLOAT
        for text in texts.to_pylist():
            if text is not None and not grammar.fullmatch(text):
                raise ValueError(text)
        return pc.replace_substring_regex(texts, r"^\+", "").cast(target)
    if pa.types.is_timestamp(target):
        try:
            return texts.cast(pa.timestamp("us")).cast(target)  # without a zone they are in UTC
        except pa.ArrowInvalid:
            return texts.cast(target)
    return texts.cast(target)


def _converted(column: pa.Array, target: pa.DataType) -> pa.Array:
    """Return values of one type as another, refusing what would change; a number is the text that Python prints."""
    if target == pa.string() and not pa.types.is_string(column.type):
        if pa.types.is_floating(column.type) or pa.types.is_nested(column.type):
            return pa.array(
                [None if value is None else json.dumps(value, default=str) for value in column.to_pylist()], target
            )
        return column.cast(target)
    return column.cast(target)


def _type_of(name: str) -> pa.DataType | None:
    """Return the type that Arrow prints so; None for one that nothing is converted to."""
    if found := _DECIMAL.fullmatch(name):
        digits, scale = int(found[1]), int(found[2])
        return pa.decimal128(digits, scale) if 0 < digits <= 38 and scale <= digits else None
    return SIMPLE.get(name)


def _would_be(value: pa.Scalar, target: pa.DataType | None) -> str:
    try:
        read = _read(pa.array([value.as_py()], pa.string()), target)[0].as_py() if target is not None else None
    except (pa.ArrowException, ValueError, TypeError):
        read = None
    way = "; correct it, or write to another output.path"
    return (
        way
        if read is None
        else f", which would print it as {shortened(str(read))}{way}, or state its type in region.points.types"
    )


def _shown(value: pa.Scalar) -> str:
    plain = value.as_py() if not pa.types.is_timestamp(value.type) else str(value)
    return shortened(repr(plain) if isinstance(plain, str) else str(plain))


def _whole(column: pa.ChunkedArray) -> pa.Array:
    found = column.combine_chunks()
    if isinstance(found, pa.ChunkedArray):
        found = pa.concat_arrays(found.chunks) if found.num_chunks else pa.array([], column.type)
    return found
