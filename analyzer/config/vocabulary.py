"""Which values of a status label a matcher can tell: codes, words and gRPC names are vocabularies of their own.

A matcher that selects failed requests by HTTP codes can never select ``error`` or ``UNAVAILABLE``: where a counter has
such values, its failed requests would all look like successes.
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from http import HTTPStatus

from analyzer.config.selector import Matcher, Selector

GRPC = (
    "OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists",
    "PermissionDenied", "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented",
    "Internal", "Unavailable", "DataLoss", "Unauthenticated",
)  # fmt: skip
SUCCESS = ("success", "succeeded", "successful", "ok", "pass", "passed", "good", "true", "completed", "done")
WORDS = (
    *SUCCESS,
    "error", "errors", "errored", "failure", "failed", "fail", "exception", "fault", "fatal", "crash", "bad", "false",
    "timeout", "rejected", "invalid",
)  # fmt: skip
CLASSES = frozenset("12345")
IN_WORDS = tuple(frozenset(form(word) for word in WORDS) for form in (str.lower, str.upper, str.capitalize))
VOCABULARIES: tuple[frozenset[str], ...] = (
    frozenset(str(code) for code in range(100, 600)),
    frozenset(f"{digit}{rest}" for digit in range(1, 6) for rest in ("xx", "XX")),
    CLASSES,
    frozenset(str(number) for number in range(17)),
    frozenset(GRPC),
    frozenset(["OK", "CANCELED", "CANCELLED", *(re.sub(r"(?<!^)(?=[A-Z])", "_", name).upper() for name in GRPC[1:])]),
    frozenset([*(status.phrase for status in HTTPStatus), "I'm a teapot", "Internal Error"]),
    *IN_WORDS,
)
NUMERIC = re.compile(r"[\d.xX-]*\d[\d.xX-]*")
LETTERS = re.compile(r"[A-WYZa-wyz_]{2,}")  # in a pattern; "xx" is that of a class of codes


def understands(matcher: Matcher, value: str) -> bool:
    """Return whether a matcher selects a value, or could select another value of the same vocabulary."""
    if matcher.matches({matcher.label: value}):
        return True
    if not value:
        return False
    ours, theirs = _vocabularies(matcher), {known for known in VOCABULARIES if value in known}
    if ours & theirs:
        return True
    if ours:  # beyond codes and gRPC's names only words are many
        return not ours.isdisjoint(IN_WORDS) and (value.lower() in SUCCESS or not (theirs or NUMERIC.fullmatch(value)))
    # A vocabulary of its own, of numbers or of words.
    pattern = re.sub(r"\\[A-Za-z]", "0", matcher.value)
    return bool(re.search(r"[\d.]", pattern)) if NUMERIC.fullmatch(value) else bool(LETTERS.search(pattern))


@lru_cache(maxsize=1024)
def _vocabularies(matcher: Matcher) -> frozenset[frozenset[str]]:
    """Return which vocabularies a matcher selects a value of; of gRPC's numbers, one that is no class of codes."""
    return frozenset(
        known
        for known in VOCABULARIES
        if any(matcher.matches({matcher.label: value}) for value in (known - CLASSES if known > CLASSES else known))
    )


def telling_matchers(failed: Selector, requests: Selector) -> tuple[Matcher, ...]:
    """Return the matchers by which failed requests are told among all those of the same counter."""
    if failed.metric != requests.metric:
        return ()
    return tuple(matcher for matcher in failed.matchers if matcher not in requests.matchers and not matcher.matches({}))


def not_understood(
    failed: Iterable[Selector], requests: Selector, values: Iterable[Mapping[str, str]]
) -> dict[str, list[str]]:
    """Return the values of status labels that no matcher can tell, by label.

    Parameters
    ----------
    failed : selectors of failed requests, and of others that are told apart by status
    requests : selector of all requests of one counter
    values : labels of its series that counted anything
    """
    ways = [matchers for selector in failed if (matchers := telling_matchers(selector, requests))]
    unknown: dict[str, dict[str, None]] = {}
    for labels in values if ways else ():
        missed = [[m for m in matchers if not understands(m, labels.get(m.label, ""))] for matchers in ways]
        if all(missed):
            for matcher in missed[0]:
                unknown.setdefault(matcher.label, {})[labels.get(matcher.label, "")] = None
    return {label: sorted(several) for label, several in unknown.items()}
