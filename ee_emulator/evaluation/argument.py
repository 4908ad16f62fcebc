"""Arguments converted to the types that the signatures declare, with the promotions that Earth Engine makes.

A number where an image is expected becomes a constant image, text or milliseconds become a Date, a feature stands for
its geometry, a code for its projection. What cannot be converted is a 400 that names the parameter and its value.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from ..errors import ServiceError
from ..values import date as dates
from ..values import element
from ..values.band import constant_band
from ..values.confusion import ConfusionMatrix
from ..values.crs import parse_crs
from ..values.date import Date, DateRange
from ..values.element import Collection, Feature
from ..values.filter import Filter
from ..values.function import Function
from ..values.geometry import Geometry, from_geojson
from ..values.image import Image
from ..values.join import Join
from ..values.kernel import Kernel
from ..values.limit import BANDS, too_large
from ..values.pixeltype import PixelType, of_number
from ..values.projection import IDENTITY, Projection, six_numbers
from ..values.reducer import Reducer
from .classifier import Classifier

_T = TypeVar("_T")
_GREATEST = sys.float_info.max
_MOST_IMAGES = 20_000
"""Images that a list argument may hold."""


def convert(value: Any, type_name: str, what: str) -> Any:
    """`value` as `type_name` (a type of the packaged list); `what` begins the message when it does not fit."""
    base = type_name.partition("<")[0]
    reader = _READERS.get(base)
    if reader is None:
        return value
    result = reader(value)
    if result is None:
        raise mismatch(value, base, what)
    if base == "List" and "<" in type_name:
        inner = type_name[5:-1]
        if inner in ("Object", "List<Object>"):
            return result
        if inner.startswith("Image") and len(result) > _MOST_IMAGES:
            raise too_large()
        return [convert(part, inner, what) for part in result]
    return result


def mismatch(value: Any, type_name: str, what: str) -> ServiceError:
    """A 400 for a value of another type: its text, or the name of its type where it has no short one."""
    plain = value is None or isinstance(value, (bool, int, float, str, list, dict))
    text = str(value) if plain else type(value).__name__
    return ServiceError(f"{what} must be of type {type_name}, got {text if len(text) <= 60 else text[:57] + '...'}.")


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return int(value)
    return value if isinstance(value, (int, float)) else None


def _integer(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return int(value) if isinstance(value, bool) else None
    return int(value)


def _boolean(value: Any) -> bool | None:
    return bool(value) if isinstance(value, (bool, int, float)) else None


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _list(value: Any) -> list[Any] | None:
    return list(value) if isinstance(value, (list, tuple)) else None


def _dictionary(value: Any) -> dict[str, Any] | None:
    return dict(value) if isinstance(value, dict) else None


def image_of(value: Any) -> Image | None:
    """An image from an image, a number, a list of numbers, or a boolean."""
    if isinstance(value, Image):
        return value
    numbers = value if isinstance(value, list) and value else [value]
    if len(numbers) > BANDS:
        raise too_large()
    if not all(isinstance(n, float) or (isinstance(n, int) and abs(n) <= _GREATEST) for n in numbers):
        return None
    names = ["constant"] if len(numbers) == 1 else [f"constant_{i}" for i in range(len(numbers))]
    return Image(tuple(constant_band(n, name, of_number(n)) for n, name in zip(numbers, names, strict=True)))


def _collection(value: Any) -> Collection | None:
    if isinstance(value, Collection):
        return value
    if isinstance(value, (Image, Feature)):
        return element.of_elements([value])
    return None


def _element(value: Any) -> Image | Feature | Collection | None:
    if isinstance(value, (Image, Feature, Collection)):
        return value
    return Feature(value) if isinstance(value, Geometry) else None


def _feature(value: Any) -> Feature | None:
    if isinstance(value, Geometry):
        return Feature(value)
    return value if isinstance(value, Feature) else None


def _geometry(value: Any) -> Geometry | None:
    if isinstance(value, Geometry):
        return value
    if isinstance(value, (Image, Feature, Collection)):
        return element.geometry_of(value)
    return from_geojson(value, geodesic=True) if isinstance(value, dict) else None


def _date(value: Any) -> Date | None:
    return None if isinstance(value, DateRange) else dates.instant_of(value)


def projection_of(value: Any) -> Projection | None:
    """A projection from a projection, a code or WKT, or the packaged list's JSON default."""
    if isinstance(value, Projection):
        return value
    if isinstance(value, str):
        parse_crs(value)
        return Projection(value)
    if isinstance(value, dict) and isinstance(value.get("crs"), str):
        parse_crs(value["crs"])
        return Projection(
            value["crs"], six_numbers(value.get("transform", IDENTITY), "Projection: Parameter 'transform'")
        )
    return None


def _instance(kind: type[_T]) -> Callable[[Any], _T | None]:
    """For types into which nothing else is converted."""
    return lambda value: value if isinstance(value, kind) else None


_READERS: dict[str, Callable[[Any], Any]] = {
    "Algorithm": _instance(Function),
    "Boolean": _boolean,
    "Classifier": _instance(Classifier),
    "ConfusionMatrix": _instance(ConfusionMatrix),
    "Date": _date,
    "DateRange": dates.range_of,
    "Dictionary": _dictionary,
    "Element": _element,
    "Feature": _feature,
    "FeatureCollection": _collection,
    "Filter": _instance(Filter),
    "Float": _number,
    "Geometry": _geometry,
    "Image": image_of,
    "ImageCollection": _collection,
    "Integer": _integer,
    "Join": _instance(Join),
    "Kernel": _instance(Kernel),
    "List": _list,
    "Long": _integer,
    "Number": _number,
    "PixelType": _instance(PixelType),
    "Projection": projection_of,
    "Reducer": _instance(Reducer),
    "String": _string,
}
