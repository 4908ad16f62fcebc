"""A dataset for people: one page, its charts, pictures and quick looks, drawn from what the readers return."""
