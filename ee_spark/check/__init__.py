"""Is a dataset whole: verified against itself and against the service, and repaired where that is possible."""
