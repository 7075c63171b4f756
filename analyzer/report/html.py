"""Every page of the analyzer: one style, self-contained, nothing loaded and no script.

A page may be mailed and opened from a file, so its Content-Security-Policy is in it as well as in the header: no
script at all, one style sheet known by its hash, no connection anywhere.
"""

import base64
import hashlib
from functools import cache
from pathlib import Path

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

TEMPLATES = Path(__file__).parent / "templates"
STYLE = (TEMPLATES / "style.css").read_text(encoding="utf-8")
_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
IN_PAGE = f"default-src 'none'; style-src 'sha256-{_HASH}'; img-src data:; base-uri 'none'; form-action 'self'"
CONTENT_SECURITY_POLICY = f"{IN_PAGE}; frame-ancestors 'none'"
CONTENT_TYPE = "text/html; charset=utf-8"


@cache
def _environment(folder: Path) -> Environment:
    loader = ChoiceLoader([FileSystemLoader(folder), FileSystemLoader(TEMPLATES)])
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"marked": marked, "plain": plain}
    environment.globals |= {"style": Markup(STYLE), "policy_of_the_page": IN_PAGE}  # noqa: S704 - our own file
    return environment


def plain(text: str) -> Markup:
    """Escape what needs it between tags, and nothing more: JSON is half quotes."""
    return Markup(text.replace("&", "&amp;").replace("<", "&lt;"))  # noqa: S704


def marked(text: str) -> Markup:
    """Return escaped text with code between backticks marked as code."""
    parts = str(escape(text)).split("`")
    return Markup("".join(f"<code>{part}</code>" if odd % 2 else part for odd, part in enumerate(parts)))  # noqa: S704


def write(template: str, folder: Path = TEMPLATES, **values: object) -> str:
    """Return a page from a template that extends ``base.html``; every value is escaped.

    Parameters
    ----------
    template : name of the file
    folder : where it is, if it is not one of the report's
    """
    return _environment(folder).get_template(template).render(**values)
