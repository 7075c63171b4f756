"""The values that flow from a request to an answer: counts in, findings out."""
