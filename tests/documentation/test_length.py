"""How many words the READMEs have: what nobody can get through, nobody keeps true."""

import re
from pathlib import Path

from documentation.readmes import PROJECT, READMES, named, prose

MOST_WORDS = 15_000
MOST_OF_THE_FIRST = 2_000  # ten minutes of a reader
GENERATED = PROJECT / "tests" / "bench" / "README.md"
MARKED = re.compile(r"<!-- (\w+) -->.*?<!-- /\1 -->", re.DOTALL)  # what a program writes into a README


def words(readme: Path) -> int:
    """Count the words of text and tables, without blocks of code and what a program wrote."""
    return sum(bool(re.search(r"\w", word)) for word in MARKED.sub("", prose(readme)).split())


def test_the_readmes_stay_short() -> None:
    """All of them together; when this fails, say it in one place and link to it, or leave out what nobody acts on."""
    counted = {named(readme): words(readme) for readme in READMES if readme != GENERATED}

    assert sum(counted.values()) <= MOST_WORDS, counted


def test_the_first_one_is_read_in_ten_minutes() -> None:
    """At 200 words a minute."""
    assert words(PROJECT / "README.md") <= MOST_OF_THE_FIRST
