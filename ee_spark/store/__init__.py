"""The tables: their schema, their parts, and the chunk logs that make each row final exactly once."""
