"""Requests in flight: within the quota, each failure dealt with once, each answer checked before it counts."""
