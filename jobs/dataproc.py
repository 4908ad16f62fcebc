"""What a Dataproc driver runs: ``dataproc.py FOLDER COMMAND...`` copies the shipped folder here and runs ``ee-spark``.

Dependencies that came as an archive lie unpacked in ``dependencies`` beside the driver.
"""

import os
import sys
import tempfile
from pathlib import Path


def main(folder: str, *command: str) -> None:
    """Run a command of ``ee-spark`` in a copy of ``folder``, which is a plain path or a URL of object storage."""
    unpacked = Path("dependencies").resolve()
    if unpacked.is_dir():
        sys.path.insert(0, str(unpacked))
    from ee_spark.cli import main as ee_spark
    from ee_spark.objects import open_store

    store = open_store(folder)
    with tempfile.TemporaryDirectory(prefix="ee_spark-") as here:
        for entry in store.list(""):
            found = store.read(entry.name) if "/" not in entry.name else None  # what was shipped lies side by side
            if found:
                (Path(here) / entry.name).write_bytes(found[0])
        os.chdir(here)
        ee_spark(list(command), prog_name="ee-spark")


if __name__ == "__main__":
    main(*sys.argv[1:])
