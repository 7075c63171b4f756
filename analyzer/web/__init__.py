"""The service's face: HTTP in, JSON out. Knows nothing of statistics."""
