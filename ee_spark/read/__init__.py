"""From tables back to rows and arrays."""
