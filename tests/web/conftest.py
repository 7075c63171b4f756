"""Fixtures of the tests of the service."""

import os
from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient
from web.serving import Counted, Pages, client_of


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("ANALYZER_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def pages() -> Iterator[Pages]:
    """Pages of a good canary at /good, of a bad one at /bad, and of a baseline at /old; /held waits."""
    counted = {
        "/good": Counted(),
        "/held": Counted(),
        "/bad": Counted(errors=600),
        "/idle": Counted(requests=0, errors=0, slow=0, high_scores=0, conversions=0),
        "/old": Counted(requests=60_000, errors=60, slow=60, high_scores=30_000, conversions=6_000),
    }
    with Pages({path: str(one) for path, one in counted.items()}).served() as pages:
        yield pages


@pytest.fixture
def client() -> FlaskClient:
    """The application with the default settings: source scrape without any address."""
    return client_of()
