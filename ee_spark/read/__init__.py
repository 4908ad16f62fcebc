"""From tables back to arrays, pictures and other formats."""
