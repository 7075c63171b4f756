"""What the tests of the pages share: a page as a browser that cannot be fooled by quotes would read it."""

from html.parser import HTMLParser

from flask.testing import FlaskClient

ACCEPT = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
BROWSER = {"Accept": ACCEPT}
VOID = {"meta", "link", "input", "br"}


class Markup(HTMLParser):
    """A page taken apart; every element that must be closed has to be, in order.

    Attributes
    ----------
    elements : name and attributes of each
    text : all that is no element, its entities resolved
    texts : what stands directly in the elements that have an id, by this
    """

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.texts: dict[str, str] = {}
        self._open: list[tuple[str, str]] = []
        assert page.startswith("<!doctype html>")
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take one that closes itself, as in SVG."""
        self.elements.append((tag, dict(attrs)))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take a beginning."""
        assert len({name for name, _ in attrs}) == len(attrs), f"an attribute of <{tag}> twice"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append((tag, dict(attrs).get("id") or ""))

    def handle_endtag(self, tag: str) -> None:
        """Take an end."""
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        """Take text, but the style sheet."""
        tag, name = self._open[-1] if self._open else ("", "")
        if tag != "style":
            self.text += data
            self.texts[name] = self.texts.get(name, "") + data

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        """Give the attributes of all elements of these names."""
        return [attributes for tag, attributes in self.elements if tag in tags]


def page_of(client: FlaskClient, path: str, status: int = 200) -> Markup:
    """Ask as a browser does; the answer must be a page of this status."""
    response = client.get(path, headers=BROWSER)
    assert (response.status_code, response.content_type) == (status, "text/html; charset=utf-8"), response.text
    return Markup(response.text)
