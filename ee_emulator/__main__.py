"""`python -m ee_emulator`."""

from .command import main

main(prog_name="ee-spark emulator")
