"""Numbers. https://developers.google.com/earth-engine/apidocs/ee-number"""

from __future__ import annotations

import math
from collections.abc import Callable

from ..errors import ServiceError
from ..evaluation.registry import algorithm
from ..values.pixeltype import NAMED


def _register_binary(name: str, compute: Callable[[float, float], float]) -> None:
    def apply(left: float, right: float) -> float:
        return _computed(name, compute, left, right)

    apply.__doc__ = f"https://developers.google.com/earth-engine/apidocs/ee-number-{name.lower()}"
    algorithm(f"Number.{name}")(apply)


def _register_unary(name: str, compute: Callable[[float], float]) -> None:
    def apply(input: float) -> float:
        return _computed(name, compute, input)

    apply.__doc__ = f"https://developers.google.com/earth-engine/apidocs/ee-number-{name.lower()}"
    algorithm(f"Number.{name}")(apply)


def _computed(name: str, compute: Callable[..., float], *values: float) -> float:
    try:
        result = compute(*values)
    except (ValueError, OverflowError, ZeroDivisionError) as error:
        raise ServiceError(f"Number.{name}: no result for {', '.join(map(str, values))}: {error}.") from error
    return int(result) if isinstance(result, bool) else result


def _divide(a: float, b: float) -> float:
    return a / b if b else 0


def _power(a: float, b: float) -> float:
    if abs(b) * max(1, math.log2(max(2, abs(a)))) > 4096:
        return math.pow(a, b)  # refuses what an integer power would fill the memory with
    result = a**b
    if isinstance(result, complex):
        raise ValueError("a root of a negative number")
    return float(result) if isinstance(b, int) and b < 0 else result


def _round(a: float) -> float:
    return math.floor(a + 0.5)


_BINARY: dict[str, Callable[[float, float], float]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": _divide,
    "mod": lambda a, b: math.fmod(a, b) if isinstance(a, float) or isinstance(b, float) else int(math.fmod(a, b)),
    "pow": _power,
    "max": max,
    "min": min,
    "hypot": math.hypot,
    "atan2": lambda a, b: math.atan2(b, a),
    "and": lambda a, b: bool(a and b),
    "or": lambda a, b: bool(a or b),
    "lt": lambda a, b: a < b,
    "lte": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "gte": lambda a, b: a >= b,
    "eq": lambda a, b: a == b,
    "neq": lambda a, b: a != b,
    "bitwiseAnd": lambda a, b: int(a) & int(b),
    "bitwiseOr": lambda a, b: int(a) | int(b),
    "bitwiseXor": lambda a, b: int(a) ^ int(b),
    "first": lambda a, b: a,
    "firstNonZero": lambda a, b: a or b,
    "leftShift": lambda a, b: (int(a) << (int(b) & 63)) & (2**63 - 1),
    "rightShift": lambda a, b: int(a) >> (int(b) & 63),
}
_BINARY |= {
    "first_nonzero": _BINARY["firstNonZero"],
    "bitwise_and": _BINARY["bitwiseAnd"],
    "bitwise_or": _BINARY["bitwiseOr"],
    "bitwise_xor": _BINARY["bitwiseXor"],
    "left_shift": _BINARY["leftShift"],
    "right_shift": _BINARY["rightShift"],
}
for _name, _compute in _BINARY.items():
    _register_binary(_name, _compute)

_UNARY: dict[str, Callable[[float], float]] = {
    "abs": abs,
    "not": lambda a: not a,
    "floor": math.floor,
    "ceil": math.ceil,
    "round": _round,
    "sqrt": math.sqrt,
    "exp": math.exp,
    "log": math.log,
    "log10": math.log10,
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
    "asin": math.asin,
    "acos": math.acos,
    "atan": math.atan,
    "sinh": math.sinh,
    "cosh": math.cosh,
    "tanh": math.tanh,
    "cbrt": lambda a: math.copysign(abs(a) ** (1 / 3), a),
    "bitwiseNot": lambda a: ~int(a),
    "bitCount": lambda a: (int(a) & (2**64 - 1)).bit_count(),
    "signum": lambda a: (a > 0) - (a < 0),
}
for _name, _function in _UNARY.items():
    _register_unary(_name, _function)


def _cast(name: str) -> Callable[[float], float]:
    pixel_type = NAMED[name]

    def convert(value: float) -> float:
        if pixel_type.precision != "int":
            return float(pixel_type.dtype.type(value))
        low, high = int(pixel_type.low or 0), int(pixel_type.high or 0)
        return 0 if math.isnan(value) else int(min(max(value, low), high))

    return convert


for _name in NAMED:
    _register_unary(_name, _cast(_name))
    _register_unary(f"to{_name.capitalize()}", _cast(_name))


@algorithm("Number.clamp")
def clamp(number: float, min: float, max: float) -> float:
    """Limited to [min, max]. https://developers.google.com/earth-engine/apidocs/ee-number-clamp"""
    return min if number < min else max if number > max else number


@algorithm("Number.unitScale")
def unit_scale(number: float, min: float, max: float) -> float:
    """(number - min) / (max - min). https://developers.google.com/earth-engine/apidocs/ee-number-unitscale"""
    if min == max:
        raise ServiceError(f"Number.unitScale: 'min' and 'max' are both {min}.")
    return (number - min) / (max - min)


@algorithm("Number.parse")
def parse(input: str, radix: int) -> float:
    """The number that a text spells. https://developers.google.com/earth-engine/apidocs/ee-number-parse"""
    try:
        return int(input, radix)
    except ValueError:
        if radix != 10:
            raise ServiceError(f"Number.parse: '{input:.60}' is not an integer of base {radix}.") from None
    try:
        return float(input)
    except ValueError:
        raise ServiceError(f"Number.parse: Cannot parse '{input:.60}' as a number.") from None


@algorithm("Number.format")
def format_(number: float, pattern: str) -> str:
    """A printf-style text. https://developers.google.com/earth-engine/apidocs/ee-number-format"""
    try:
        return pattern % number
    except (TypeError, ValueError) as error:
        raise ServiceError(f"Number.format: Bad pattern '{pattern:.60}': {error}.") from error
