"""Classifiers: trees to be grown, and what they learn from.

Earth Engine's trees are those of another program (SMILE), drawn with other random numbers: its forests agree with these
in what they learn, not pixel by pixel. The same seed gives the same forest again, here as there.
https://developers.google.com/earth-engine/guides/classification
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ServiceError
from ..values.limit import Deadline, too_large
from ..values.pixeltype import DOUBLE, FLOAT, NAMED, PixelType
from . import forest
from .forest import Forest, Parameters

MOST_CELLS = 1 << 24
"""Rows times variables, or rows times classes, or rows times trees, of one training."""
_TYPES: dict[str, PixelType] = {"CLASSIFICATION": NAMED["int32"], "REGRESSION": DOUBLE, "PROBABILITY": FLOAT}


@dataclass(frozen=True, eq=False)
class Training:
    """Rows of variables with what they were observed to be: (n, f) and (n,), both float64."""

    inputs: tuple[str, ...]
    x: NDArray[Any]
    y: NDArray[Any]


@dataclass(frozen=True, eq=False)
class Classifier:
    """Trees to be grown, or, with a `training`, grown when they are first asked."""

    name: str
    parameters: Parameters
    mode: str = "CLASSIFICATION"
    training: Training | None = None
    deadline: Deadline = field(default_factory=Deadline)

    @property
    def known(self) -> Training:
        """What it was trained on; a 400 when it was not."""
        if self.training is None:
            raise ServiceError(f"{self.name}: The classifier has not been trained; call train() first.")
        return self.training

    @cached_property
    def classes(self) -> NDArray[Any]:
        """The classes that were seen, in ascending order."""
        return np.unique(self.known.y)

    @property
    def type(self) -> PixelType:
        """The type of what it gives."""
        return _TYPES[self.mode]

    @cached_property
    def targets(self) -> NDArray[Any]:
        """What the trees learn, (n, outputs): a number, or a column of zeros and ones for each class."""
        y = self.known.y
        if self.mode == "REGRESSION":
            return y[:, None]
        if not (np.trunc(y) == y).all() or np.abs(y).max() >= 2**31:
            wrong = y[(np.trunc(y) != y) | (np.abs(y) >= 2**31)][0]
            raise ServiceError(
                f"{self.name}: classes must be 32-bit integers, got {wrong:g}; use setOutputMode('REGRESSION')."
            )
        if len(self.classes) < 2:
            raise ServiceError(f"{self.name}: Only one class.")
        if len(y) * len(self.classes) > MOST_CELLS:
            raise too_large()
        return np.asarray(y[:, None] == self.classes, np.float64)

    @property
    def forest(self) -> Forest:
        """The trees."""
        return forest.trained(self.parameters, self.known.x, self.targets, self.deadline.check)

    def answers(self, outputs: NDArray[Any]) -> NDArray[Any]:
        """The mean outputs of the trees, (n, outputs), as the mode wants them, (n,)."""
        if self.mode == "REGRESSION":
            return outputs[:, 0]
        if self.mode == "CLASSIFICATION":
            return np.asarray(self.classes[outputs.argmax(axis=1)])
        return outputs[:, 1] if outputs.shape[1] == 2 else np.asarray(outputs.max(axis=1))
