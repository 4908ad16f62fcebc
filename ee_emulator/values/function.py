"""Functions as values: what map and iterate are given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, eq=False)
class Function:
    """A function value: positional arguments in, a value out."""

    argument_names: tuple[str, ...]
    body: Callable[[Mapping[str, Any]], Any]

    def __call__(self, *arguments: Any) -> Any:
        """Apply the function; missing arguments are null."""
        padded = (*arguments, *([None] * (len(self.argument_names) - len(arguments))))
        return self.body(dict(zip(self.argument_names, padded, strict=False)))
