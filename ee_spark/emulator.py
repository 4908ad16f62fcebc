"""The emulator under its old name: ``from ee_spark import emulator`` and ``python -m ee_spark.emulator``."""

from ee_emulator import Emulator, main, start

__all__ = ["Emulator", "main", "start"]

if __name__ == "__main__":
    main(prog_name="ee-spark emulator")
