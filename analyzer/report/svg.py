"""From a figure to SVG that belongs into a page: colours of the page's theme, its font, no style attributes.

matplotlib writes style attributes, which a strict Content-Security-Policy forbids, and fixed colours, which cannot
follow light and dark. Here each colour of `Colour` becomes a class that the style sheet colours.
"""

import io
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from warnings import catch_warnings, simplefilter
from xml.etree import ElementTree as ET

from matplotlib import rc_context
from matplotlib.figure import Figure

SVG = "{http://www.w3.org/2000/svg}"
XLINK = "{http://www.w3.org/1999/xlink}href"
SMALL = 8.0  # points, of most text
_DRAWING = threading.Lock()  # matplotlib's fonts and settings are not for several threads at once
_KEPT = {"stroke-width", "stroke-dasharray", "stroke-linejoin", "stroke-linecap", "stroke-opacity", "fill-opacity",
         "opacity", "text-anchor", "font-weight", "font-size"}  # fmt: skip

ET.register_namespace("", SVG[1:-1])
ET.register_namespace("xlink", XLINK[1 : XLINK.index("}")])


class Colour(StrEnum):
    """Colours by what they mean; the values stand for them until the style sheet colours them."""

    INK = "#1b1f24"
    MUTED = "#59626d"
    LINE = "#d5dae0"
    SURFACE = "#ffffff"
    CANARY = "#c26a00"
    BASELINE = "#3b6ea5"
    PASS = "#1a7038"  # noqa: S105 - not a password
    FAIL = "#b3261e"
    INCONCLUSIVE = "#7a5600"


_SETTINGS = {
    "svg.fonttype": "none",  # text stays text: for search, screen readers, and a tenth of the bytes
    "svg.hashsalt": "analyzer",  # the same figure, the same bytes
    "font.size": 9.0,
    "text.parse_math": False,
    # What carries nothing is left out: half the frame, and the background.
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), Colour.MUTED.value),
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize"), SMALL),
    **dict.fromkeys(("xtick.major.size", "ytick.major.size"), 3.0),
}
_CLASS = {colour.value: colour.name.lower() for colour in Colour}


@contextmanager
def drawing() -> Iterator[None]:
    """Hold the library while figures are made and written, with settings under which text stays as it is."""
    with _DRAWING, rc_context(_SETTINGS), catch_warnings():  # type: ignore[arg-type]  # the stubs want literal keys
        simplefilter("ignore", UserWarning)  # glyphs that its own font lacks: the page has another
        yield


def printable(text: str) -> str:
    """Replace what XML cannot hold."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def write(figure: Figure, name: str, title: str) -> str:
    """Return a figure as an ``<svg>`` element, while `drawing`.

    Parameters
    ----------
    figure : drawn in the colours of `Colour`
    name : makes its identifiers differ from those of other figures of the page
    title : what it shows, for screen readers
    """
    buffer = io.BytesIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    root = ET.fromstring(buffer.getvalue())  # noqa: S314 - written just above
    for parent in root.iter():
        for child in list(parent):
            if child.tag in (f"{SVG}metadata", f"{SVG}style"):
                parent.remove(child)
    _themed(root, name)
    viewbox = root.get("viewBox", "")
    root.attrib.clear()
    label = ET.Element(f"{SVG}title", {"id": f"{name}-title"})
    label.text = printable(title)
    root.insert(0, label)
    root.attrib |= {"class": "plot", "viewBox": viewbox, "role": "img", "aria-labelledby": f"{name}-title"}
    text = ET.tostring(root, encoding="unicode")
    return re.sub(r">\s+<", "><", text)


def _themed(root: ET.Element, name: str) -> None:
    """Turn style attributes into classes and plain attributes, and make identifiers those of this figure."""
    for element in root.iter():
        parts = (part.split(":", 1) for part in element.attrib.pop("style", "").split(";") if ":" in part)
        style = {key.strip(): value.strip() for key, value in parts}
        classes = []
        for key in ("fill", "stroke"):
            value = style.get(key, element.attrib.pop(key, None))
            if value in _CLASS:
                classes.append(f"{key[0]}-{_CLASS[value]}")
            elif value is not None:
                element.set(key, value)
        if classes:
            element.set("class", " ".join(classes))
        for key in sorted(style.keys() & _KEPT):
            element.set(key, style[key].removesuffix("px"))
        for key in sorted(element.attrib.keys() & {"id", XLINK, "clip-path"}):
            element.set(key, _renamed(element.attrib[key], name))


def _renamed(reference: str, name: str) -> str:
    if reference.startswith("url(#"):
        return f"url(#{name}-{reference[5:]}"
    return f"#{name}-{reference[1:]}" if reference.startswith("#") else f"{name}-{reference}"
