"""The path of one verdict: request, analysis, case, judge, answer."""
