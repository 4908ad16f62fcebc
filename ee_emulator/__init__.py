"""An Earth Engine on loopback: the protocol, the catalog and the algorithms, answering the unmodified client.

    import ee_emulator

    with ee_emulator.start() as service:
        ee.Initialize(AnonymousCredentials(), project="any", url=service.url)

It needs no account and no network; its catalog holds small real scenes, or what `catalog.json` of a folder names.
It imports nothing of ee_spark.
"""

from .command import main, missing
from .process import Emulator, start

__all__ = ["Emulator", "main", "missing", "start"]
