"""Plots in a page, and whether they can be drawn at all: matplotlib is an extra."""

from dataclasses import dataclass
from importlib.util import find_spec

from markupsafe import Markup

from analyzer.errors import NotInstalled

PLOTS = find_spec("matplotlib") is not None


@dataclass(frozen=True)
class Drawn:
    """A plot in a page.

    Attributes
    ----------
    svg : the element
    heading, caption : what it shows, and how to read it
    wide : it takes the whole width
    """

    svg: Markup
    heading: str
    caption: str
    wide: bool = False


def require_plots() -> None:
    """Raise NotInstalled without matplotlib."""
    if not PLOTS:
        raise NotInstalled("matplotlib", "report")
