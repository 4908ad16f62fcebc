"""Visualization options of a request as a style.

https://developers.google.com/earth-engine/reference/rest/v1/VisualizationOptions
"""

from __future__ import annotations

import math
from typing import Any

from ..errors import ServiceError
from ..evaluation.visualization import Style, colour


def style_of(options: Any) -> Style:
    """The style of a request's `visualizationOptions`; a 400 for what is not understood."""
    where = "Invalid value at 'visualizationOptions'"
    if not isinstance(options, dict):
        raise ServiceError(f"{where}: expected an object.")
    unknown = sorted(set(options) - {"ranges", "paletteColors", "gamma", "opacity"})
    if unknown:
        raise ServiceError(
            f"Invalid JSON payload received. Unknown name \"{unknown[0]}\" at 'visualization_options': "
            "Cannot find field."
        )
    ranges, colours = options.get("ranges") or [], options.get("paletteColors") or []
    if not isinstance(ranges, list) or not all(isinstance(entry, dict) for entry in ranges):
        raise ServiceError(f"{where}: 'ranges' must be a list of objects with 'min' and 'max'.")
    if not isinstance(colours, list):
        raise ServiceError(f"{where}: 'paletteColors' must be a list of colours.")
    ends = [(_number(entry.get("min", 0), where), _number(entry.get("max", 0), where)) for entry in ranges]
    gamma = _number(_wrapped(options.get("gamma"), 1.0), where)
    if gamma <= 0:
        raise ServiceError(f"{where}: 'gamma' must be positive, got {gamma}.")
    opacity = _number(_wrapped(options.get("opacity"), 1.0), where)
    if not 0 <= opacity <= 1:
        raise ServiceError(f"{where}: 'opacity' must be between 0 and 1, got {opacity}.")
    return Style(ends, [gamma], [colour(text) for text in colours], opacity)


def _wrapped(value: Any, default: float) -> Any:
    """A number, which the API's clients also write as `{"value": number}`."""
    if isinstance(value, dict):
        value = value.get("value")
    return default if value is None else value


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ServiceError(f"{where}: '{value!s:.40}' is not a number.")
    return float(value)
