"""What has become of a plan's pairs before a run of it: what it would ask for is what is left."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Standing:
    """How many pairs of a plan are ``committed`` (ok or empty), ``failed`` before, or ``new``: nobody has an answer.

    ``requests`` is what a run of the plan comes to, if none is split or asked for again. With ``skips_failed`` those
    that failed are left. Not ``exact``: reckoned from some of the dataset's ledgers, as all of them are too many.
    """

    committed: int
    failed: int
    new: int
    requests: int
    skips_failed: bool = False
    exact: bool = True

    @property
    def asked(self) -> int:
        """How many pairs a run asks for."""
        return self.new + (0 if self.skips_failed else self.failed)
