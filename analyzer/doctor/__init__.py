"""Before the first rollout: what a profile finds in the user's Prometheus, and what to change (``analyzer doctor``).

`question` reads the request, `survey` runs the `queries` and returns `observations`; `diagnosis` collects in `notices`
what follows from them, by `absence`, `buckets` and `shortcomings`.
"""
