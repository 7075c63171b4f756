"""The list of `make mutants` fits the code; whether the tests notice them is its own question, which takes long."""

from pathlib import Path

from listed import MUTANTS

PROJECT = Path(__file__).parents[2]


def test_every_mutant_fits_the_code() -> None:
    """Its old text is there once, its new text is another, and its tests are files."""
    stale = [str(mutant) for mutant in MUTANTS if (PROJECT / mutant.file).read_text().count(mutant.old) != 1]
    assert stale == []
    assert all(mutant.old != mutant.new for mutant in MUTANTS)
    assert [name for mutant in MUTANTS for name in mutant.tests.split() if not (PROJECT / name).is_file()] == []
