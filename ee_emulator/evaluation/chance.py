"""Random numbers by a seed: the same seed draws the same again, though not what Earth Engine draws."""

from __future__ import annotations

import numpy as np

_WORD = 2**64 - 1


def generator(seed: int, *stream: int) -> np.random.Generator:
    """A generator for a seed, which may be negative; other streams of the same seed draw other numbers."""
    return np.random.default_rng([*stream, seed & _WORD] if stream else seed & _WORD)
