"""A verdict for people: the page that alerts and dashboards link to, and its summary as a picture."""

from analyzer.report.page import page
from analyzer.report.picture import picture

__all__ = ["page", "picture"]
