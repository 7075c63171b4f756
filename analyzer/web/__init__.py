"""The HTTP interface: HTTP in, JSON out. Knows nothing of statistics."""
