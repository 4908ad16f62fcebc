"""The tables: their schema, their parts, and the chunk logs that commit each row exactly once."""
