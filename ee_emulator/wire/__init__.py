"""The protocol: HTTP, requests and replies, files and pages, and the traffic that a far service would have."""
