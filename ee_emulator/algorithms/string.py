"""Texts. https://developers.google.com/earth-engine/apidocs/ee-string"""

from __future__ import annotations

import json
from typing import Any

from ..errors import ServiceError
from ..evaluation.registry import algorithm
from ..evaluation.text import pattern_of, replaced
from ..values.date import Date
from ..values.description import describe


@algorithm("String")
def string(input: Any) -> str:
    """A value as text. https://developers.google.com/earth-engine/apidocs/ee-string"""
    return text_of(input)


def text_of(value: Any) -> str:
    """Texts as they are, whole numbers without a fraction."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float, list, dict)):
        return str(value)
    if isinstance(value, Date):
        return value.local().strftime("%Y-%m-%dT%H:%M:%S")
    raise ServiceError(f"String: cannot convert a {type(value).__name__} to a String.")


@algorithm("String.cat")
def cat(string1: str, string2: str) -> str:
    """Both texts. https://developers.google.com/earth-engine/apidocs/ee-string-cat"""
    return string1 + string2


@algorithm("String.length")
def length(string: str) -> int:
    """The number of characters. https://developers.google.com/earth-engine/apidocs/ee-string-length"""
    return len(string)


@algorithm("String.slice")
def slice_(string: str, start: int, end: int | None) -> str:
    """From `start` to before `end`. https://developers.google.com/earth-engine/apidocs/ee-string-slice"""
    return string[start:end]


@algorithm("String.index")
def index(target: str, pattern: str) -> int:
    """Where the text first is, or -1. https://developers.google.com/earth-engine/apidocs/ee-string-index"""
    return target.find(pattern)


@algorithm("String.toLowerCase")
def to_lower_case(string: str) -> str:
    """In lower case. https://developers.google.com/earth-engine/apidocs/ee-string-tolowercase"""
    return string.lower()


@algorithm("String.toUpperCase")
def to_upper_case(string: str) -> str:
    """In upper case. https://developers.google.com/earth-engine/apidocs/ee-string-touppercase"""
    return string.upper()


@algorithm("String.equals")
def equals(reference: str, target: Any) -> bool:
    """Whether the texts are the same. https://developers.google.com/earth-engine/apidocs/ee-string-equals"""
    return bool(reference == target)


@algorithm("String.split")
def split(string: str, regex: str, flags: str) -> list[str]:
    """The parts between matches. https://developers.google.com/earth-engine/apidocs/ee-string-split"""
    return list(string) if regex == "" else pattern_of(regex, "String.split", flags).split(string)


@algorithm("String.match")
def match(input: str, regex: str, flags: str) -> list[str]:
    """The first match and its groups, or all matches with the flag g. https://developers.google.com/earth-engine/apidocs/ee-string-match"""
    pattern = pattern_of(regex, "String.match", flags)
    if "g" in flags:
        return [found.group() for found in pattern.finditer(input)]
    found = pattern.search(input)
    return [found.group(), *(group or "" for group in found.groups())] if found else []


@algorithm("String.replace")
def replace(input: str, regex: str, replacement: str, flags: str) -> str:
    """The first match replaced, or all with the flag g. https://developers.google.com/earth-engine/apidocs/ee-string-replace"""
    return replaced(regex, replacement, input, "String.replace", every="g" in flags, flags=flags)


@algorithm("String.trim")
def trim(string: str) -> str:
    """Without blanks at both ends. https://developers.google.com/earth-engine/apidocs/ee-string-trim"""
    return string.strip()


@algorithm("String.rindex")
def rindex(target: str, pattern: str) -> int:
    """Where the text last is, or -1. https://developers.google.com/earth-engine/apidocs/ee-string-rindex"""
    return target.rfind(pattern)


@algorithm("String.compareTo")
def compare_to(string1: str, string2: str) -> int:
    """-1, 0 or 1 by the order of characters. https://developers.google.com/earth-engine/apidocs/ee-string-compareto"""
    return (string1 > string2) - (string1 < string2)


@algorithm("String.encodeJSON")
def encode_json(object: Any) -> str:
    """A value as JSON text. https://developers.google.com/earth-engine/apidocs/ee-string-encodejson"""
    return json.dumps(describe(object), separators=(",", ":"))


@algorithm("String.decodeJSON")
def decode_json(string: str) -> Any:
    """The value of a JSON text. https://developers.google.com/earth-engine/apidocs/ee-string-decodejson"""
    try:
        return json.loads(string)
    except ValueError as error:
        raise ServiceError(f"String.decodeJSON: not valid JSON: {error!s:.100}.") from error
