"""Dictionaries. https://developers.google.com/earth-engine/apidocs/ee-dictionary"""

from __future__ import annotations

from typing import Any

from ..errors import ServiceError
from ..graph import Function
from .registry import algorithm

Values = dict[str, Any]


@algorithm("Dictionary")
def of(input: Any) -> Values:
    """A dictionary, or one from a flat list of keys and values. https://developers.google.com/earth-engine/apidocs/ee-dictionary"""
    if input is None:
        return {}
    if isinstance(input, dict):
        return input
    if isinstance(input, list) and len(input) % 2 == 0 and all(isinstance(key, str) for key in input[::2]):
        return dict(zip(input[::2], input[1::2], strict=True))
    raise ServiceError(f"Dictionary: cannot convert {input!s:.60} to a Dictionary.")


@algorithm("Dictionary.get")
def get(dictionary: Values, key: str, default_value: Any) -> Any:
    """The value of a key. https://developers.google.com/earth-engine/apidocs/ee-dictionary-get"""
    if key not in dictionary:
        if default_value is None:
            raise ServiceError(f"Dictionary.get: Dictionary does not contain key: '{key}'.")
        return default_value
    return dictionary[key]


@algorithm("Dictionary.set")
def set_(dictionary: Values, key: str, value: Any) -> Values:
    """With one value set. https://developers.google.com/earth-engine/apidocs/ee-dictionary-set"""
    return {**dictionary, key: value}


@algorithm("Dictionary.contains")
def contains(dictionary: Values, key: str) -> bool:
    """Whether the key is there. https://developers.google.com/earth-engine/apidocs/ee-dictionary-contains"""
    return key in dictionary


@algorithm("Dictionary.keys")
def keys(dictionary: Values) -> list[str]:
    """The keys, sorted. https://developers.google.com/earth-engine/apidocs/ee-dictionary-keys"""
    return sorted(dictionary)


@algorithm("Dictionary.values")
def values(dictionary: Values, keys: list[str] | None) -> list[Any]:
    """The values, in the order of the sorted or given keys. https://developers.google.com/earth-engine/apidocs/ee-dictionary-values"""
    return [get(dictionary, key, None) for key in (sorted(dictionary) if keys is None else keys)]


@algorithm("Dictionary.size")
def size(dictionary: Values) -> int:
    """The number of keys. https://developers.google.com/earth-engine/apidocs/ee-dictionary-size"""
    return len(dictionary)


@algorithm("Dictionary.combine")
def combine(first: Values, second: Values, overwrite: bool) -> Values:
    """Both; the second's values win with `overwrite`. https://developers.google.com/earth-engine/apidocs/ee-dictionary-combine"""
    return {**first, **second} if overwrite else {**second, **first}


@algorithm("Dictionary.fromLists")
def from_lists(keys: list[str], values: list[Any]) -> Values:
    """Keys with values. https://developers.google.com/earth-engine/apidocs/ee-dictionary-fromlists"""
    if len(keys) != len(values):
        raise ServiceError(f"Dictionary.fromLists: {len(keys)} keys for {len(values)} values.")
    return dict(zip(keys, values, strict=True))


@algorithm("Dictionary.map")
def map_(dictionary: Values, base_algorithm: Function) -> Values:
    """A function of each key and value. https://developers.google.com/earth-engine/apidocs/ee-dictionary-map"""
    return {key: base_algorithm(key, value) for key, value in dictionary.items()}
