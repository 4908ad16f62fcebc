"""`python -m ee_spark.emulator`."""

from .command import main

main(prog_name="ee-spark emulator")
