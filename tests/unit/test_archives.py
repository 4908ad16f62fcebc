"""A NumPy archive has an array for each column, whatever the points' file called it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ee_spark.export.records import _write_archive

NAMES = {"file": "file", "allow_pickle": "allow_pickle", "land cover (2020)": "land cover (2020)", "größe": "größe"}
ENCODED = {"../x": "%2E.%2Fx", "/etc/x": "%2Fetc%2Fx", "a\nb": "a%0Ab", "": "%"}


def test_columns_of_any_name_are_members_of_the_archive(tmp_path: Path) -> None:
    arrays: dict[str, npt.NDArray[Any]] = {name: np.arange(index) for index, name in enumerate([*NAMES, *ENCODED])}
    _write_archive(tmp_path / "all.npz", arrays)
    with np.load(tmp_path / "all.npz", allow_pickle=False) as found:
        assert set(found.files) == {*NAMES.values(), *ENCODED.values()}
        for name, stem in {**NAMES, **ENCODED}.items():
            np.testing.assert_array_equal(found[stem], arrays[name])
