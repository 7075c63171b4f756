"""Where the counts come from: the request itself, the pods' own /metrics, or Prometheus."""
