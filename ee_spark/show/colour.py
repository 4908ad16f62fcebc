"""How pixels become colours, in every picture alike: which bands are red, green and blue, the stretch, the palettes."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ee_spark.status import TileStatus

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = npt.NDArray[np.float64]

INK, GREY, LINE, PAPER = "#27303d", "#c9ced6", "#e3e6ea", "#f4f5f7"
"""Text; what is masked; grid lines; what was not asked for."""
STATUS: dict[str, str] = {
    TileStatus.OK: "#3f8f4f",
    TileStatus.EMPTY: GREY,
    TileStatus.FAILED: "#c8102e",
    TileStatus.MISSING: "#f0b400",
}
DATE, MEAN = "#7a9e5f", "#2f6b2f"
"""One date of a curve, and the curve."""
BARS = "#4477aa"
CLASSES = (MEAN, "#4477aa", "#ee6677", "#ccbb44", "#66ccee", "#aa3377", "#8c6d31", "#555555")
"""Curves that are drawn together; one alone has the colour of the curve (after https://sronpersonalpages.nl/~pault/)."""
STRETCH = (2, 98)
"""The percentiles between which values are stretched."""
_MASKED = 0.79
_RED_GREEN_BLUE = tuple(re.compile(text, re.I) for text in ("(B0?4|red)(_|$)", "(B0?3|green)(_|$)", "(B0?2|blue)(_|$)"))


@contextmanager
def plain_texts() -> Iterator[None]:
    """Within this, texts of a dataset are drawn as they are: no ``$`` begins a formula, no strange letter is told."""
    from matplotlib import rc_context

    with rc_context({"text.parse_math": False, "text.usetex": False}), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def shown_bands(bands: Sequence[str]) -> tuple[str, ...]:
    """Return the bands to show: red, green and blue where their names say so, else the first."""
    found = [next((band for band in bands if pattern.match(band)), None) for pattern in _RED_GREEN_BLUE]
    return tuple(band for band in found if band) if all(found) else (bands[0],)


def limits(values: Floats) -> tuple[Floats, Floats]:
    """Return what is shown darkest and brightest in each band of ``values`` (…, bands), of which NaN are not valid."""
    flat = values.reshape(-1, values.shape[-1])
    flat = flat[np.isfinite(flat).all(1)]
    if not len(flat):
        return np.zeros(values.shape[-1]), np.ones(values.shape[-1])
    low, high = np.percentile(flat, STRETCH, axis=0)
    return low, high


def stretched(values: Floats, ends: tuple[Floats, Floats]) -> Floats:
    """Return ``values`` (…, bands) between their :func:`limits` as 0 to 1; NaN stays."""
    low, high = ends
    return np.asarray(np.clip((values - low) / np.maximum(high - low, 1e-12), 0, 1))


def palette() -> Any:
    """Return the colours of single bands: grey where nothing is valid."""
    from matplotlib import colormaps

    return colormaps["YlGn"].with_extremes(bad=GREY)


def of_classes(count: int) -> tuple[str, ...]:
    """Return colours of so many curves, at most eight, which people tell apart who do not see all colours."""
    return CLASSES[:count]


def bar(figure: Any, axes: Sequence[Axes], ends: tuple[Floats, Floats]) -> None:
    """Draw, below some pictures of one band, which values the colours of the palette stand for."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    shown = ScalarMappable(Normalize(float(ends[0][0]), float(ends[1][0])), palette())
    drawn = figure.colorbar(shown, ax=axes, orientation="horizontal", fraction=0.035, pad=0.02, aspect=50)
    drawn.outline.set_visible(False)
    drawn.ax.tick_params(labelsize=8, colors=INK)


def paint(axis: Axes, values: Floats) -> Any:
    """Draw stretched values (height, width, 3 or 1): in true colour or by the palette, grey where a band is masked."""
    if values.shape[-1] == 3:
        good = np.isfinite(values).all(-1, keepdims=True)
        return axis.imshow(np.where(good, values, _MASKED), interpolation="nearest")
    return axis.imshow(values[..., 0], cmap=palette(), vmin=0, vmax=1, interpolation="nearest")
