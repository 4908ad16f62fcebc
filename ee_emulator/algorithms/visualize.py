"""Images made visible. https://developers.google.com/earth-engine/guides/image_visualization"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import ServiceError
from ..evaluation.registry import algorithm
from ..evaluation.visualization import Style, colour, visualized
from ..values.image import Image, matching


@algorithm("Image.visualize")
def visualize(
    image: Image,
    bands: Any,
    gain: Any,
    bias: Any,
    min: Any,
    max: Any,
    gamma: Any,
    opacity: float | None,
    palette: Any,
    force_rgb_output: bool,
) -> Image:
    """8-bit RGB of one or three bands, or grey of one. https://developers.google.com/earth-engine/apidocs/ee-image-visualize"""
    if (gain is not None or bias is not None) and (min is not None or max is not None):
        raise ServiceError("Image.visualize: Can't specify both gain/bias and min/max.")
    names = _texts(bands, "bands")
    if names:
        chosen = image.with_bands(band for name in names for band in matching(image, name, "Image.visualize"))
    else:
        chosen = image.with_bands(image.bands[:3])
    lows, highs = _numbers(min, "min"), _numbers(max, "max")
    if gain is not None or bias is not None:
        lows, highs = _ends(_numbers(gain, "gain") or [1.0], _numbers(bias, "bias") or [0.0])
    gammas = _numbers(gamma, "gamma")
    if any(value <= 0 for value in gammas):
        raise ServiceError(f"Image.visualize: Parameter 'gamma' must be positive, got {gamma}.")
    if opacity is not None and not 0 <= opacity <= 1:
        raise ServiceError(f"Image.visualize: Parameter 'opacity' must be between 0 and 1, got {opacity}.")
    style = Style(
        _paired(lows, highs),
        gammas,
        [colour(text) for text in _texts(palette, "palette")],
        1.0 if opacity is None else opacity,
        force_rgb_output,
    )
    return visualized(chosen, style, "Image.visualize")


def _ends(gains: list[float], biases: list[float]) -> tuple[list[float], list[float]]:
    """The values that value * gain + bias maps to 0 and to 255."""
    if any(value == 0 for value in gains):
        raise ServiceError("Image.visualize: Parameter 'gain' must not be 0.")
    pairs = list(_paired(gains, biases))
    lows = [-float(bias or 0) / float(gain or 1) for gain, bias in pairs]
    return lows, [low + 255 / float(gain or 1) for low, (gain, _) in zip(lows, pairs, strict=True)]


def _paired(first: list[float], second: list[float]) -> list[tuple[float | None, float | None]]:
    """Two lists side by side; a list of one goes with each of the other, an empty one is None."""
    count = len(first) if len(first) > len(second) else len(second)
    if not {len(first), len(second)} <= {0, 1, count}:
        raise ServiceError(f"Image.visualize: lists of {len(first)} and {len(second)} values do not go together.")
    return list(zip(_spread(first, count), _spread(second, count), strict=True))


def _spread(values: list[float], count: int) -> Sequence[float | None]:
    if not values:
        return [None] * count
    return values * count if len(values) == 1 else values


def _numbers(value: Any, name: str) -> list[float]:
    """Numbers of a number, a list of them, or a text with commas."""
    if value is None:
        return []
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else [value]
    try:
        return [float(part) for part in parts]
    except (TypeError, ValueError):
        raise ServiceError(f"Image.visualize: Parameter '{name}' must be numbers, got {value!s:.60}.") from None


def _texts(value: Any, name: str) -> list[str]:
    if value is None:
        return []
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list) or not all(isinstance(part, (str, int)) for part in parts):
        raise ServiceError(f"Image.visualize: Parameter '{name}' must be a list, got {value!s:.60}.")
    return [part.strip() if isinstance(part, str) else str(part) for part in parts]
