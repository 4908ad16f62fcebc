"""The version of ee_spark, and of the emulator beside it."""

__version__ = "0.1.0"
