"""Dictionaries. https://developers.google.com/earth-engine/apidocs/ee-dictionary"""

from __future__ import annotations

from typing import Any

from ..errors import ServiceError, not_implemented
from ..evaluation.argument import image_of
from ..evaluation.registry import algorithm
from ..evaluation.text import picked
from ..values.array import Array, array_of
from ..values.function import Function
from ..values.geometry import Geometry
from ..values.image import Image

Values = dict[str, Any]

KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "getNumber": ((int, float), "number"),
    "getString": ((str,), "string"),
    "getGeometry": ((Geometry,), "geometry"),
    "getArray": ((Array,), "array"),
}
"""What the typed getters of lists and dictionaries accept."""


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


def _typed(name: str, kinds: tuple[type, ...], what: str) -> None:
    def apply(dictionary: Values, key: str) -> Any:
        value = get(dictionary, key, None)
        if not isinstance(value, kinds):
            raise ServiceError(f"Dictionary.{name}: '{key}' is not a {what}: {value!s:.60}.")
        return value

    apply.__doc__ = (
        f"The {what} of a key. https://developers.google.com/earth-engine/apidocs/ee-dictionary-{name.lower()}"
    )
    algorithm(f"Dictionary.{name}")(apply)


for _name, (_kinds, _what) in KINDS.items():
    _typed(_name, _kinds, _what)


def _matched(dictionary: Values, selectors: list[str], ignore_missing: bool, operation: str) -> list[str]:
    """The keys that names or patterns pick, in the selectors' order."""
    found: list[str] = []
    for selector in selectors:
        keys = picked(sorted(dictionary), selector, operation)
        if not keys and not ignore_missing:
            raise ServiceError(f"{operation}: Dictionary does not contain key: '{selector:.60}'.")
        found += [key for key in keys if key not in found]
    return found


@algorithm("Dictionary.select")
def select(dictionary: Values, selectors: list[str], ignore_missing: bool) -> Values:
    """Only some keys, by name or pattern. https://developers.google.com/earth-engine/apidocs/ee-dictionary-select"""
    return {key: dictionary[key] for key in _matched(dictionary, selectors, ignore_missing, "Dictionary.select")}


@algorithm("Dictionary.remove")
def remove(dictionary: Values, selectors: list[str], ignore_missing: bool) -> Values:
    """Without some keys, by name or pattern. https://developers.google.com/earth-engine/apidocs/ee-dictionary-remove"""
    gone = _matched(dictionary, selectors, ignore_missing, "Dictionary.remove")
    return {key: value for key, value in dictionary.items() if key not in gone}


@algorithm("Dictionary.rename")
def rename(dictionary: Values, from_: list[str], to: list[str], overwrite: bool) -> Values:
    """Keys by other names. https://developers.google.com/earth-engine/apidocs/ee-dictionary-rename"""
    if len(from_) != len(to):
        raise ServiceError(f"Dictionary.rename: {len(from_)} names for {len(to)} new ones.")
    names = dict(zip(_matched(dictionary, from_, False, "Dictionary.rename"), to, strict=False))
    kept = {key: value for key, value in dictionary.items() if key not in names}
    taken = [name for name in names.values() if name in kept]
    if taken and not overwrite:
        raise ServiceError(f"Dictionary.rename: the key '{taken[0]}' is already there.")
    return {**kept, **{name: dictionary[key] for key, name in names.items()}}


@algorithm("Dictionary.toArray")
def to_array(dictionary: Values, keys: list[str] | None, axis: int) -> Array:
    """The numbers of some or all keys as an array. https://developers.google.com/earth-engine/apidocs/ee-dictionary-toarray"""
    if axis != 0:
        raise not_implemented("Dictionary.toArray with an 'axis' other than 0")
    return Array(array_of(values(dictionary, keys), "Dictionary.toArray"))


@algorithm("Dictionary.toImage")
def to_image(dictionary: Values, names: list[str] | None) -> Image:
    """A constant band for each number. https://developers.google.com/earth-engine/apidocs/ee-dictionary-toimage"""
    bands = []
    for key in sorted(dictionary) if names is None else names:
        found = image_of(get(dictionary, key, None)) if key else None
        if found is None or len(found.bands) != 1:
            raise ServiceError(f"Dictionary.toImage: '{key}' is not a number: {dictionary[key]!s:.60}.")
        bands.append(found.bands[0].renamed(key))
    return Image(tuple(bands))
