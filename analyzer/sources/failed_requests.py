"""Failed requests among all: whether the status can tell them, and whose hang-ups and probes are among them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from analyzer.config.profile import ErrorCounters
from analyzer.config.selector import Selector
from analyzer.config.vocabulary import not_understood, telling_matchers
from analyzer.model.counts import Counts, Errors, Floats
from analyzer.quantity import format_ratio

if TYPE_CHECKING:
    from analyzer.sources.assembly import Table

CHANCE = 4.0  # standard deviations by which hang-ups must exceed the baseline's to count as failed for certain
UNDER_WAY, FEW = 0.05, 5.0  # requests that are counted before their responses, as a ratio and as a number
MOST_NAMED = 6  # values of a label


def untold(way: ErrorCounters, table: "Table", arms: Mapping[str, str]) -> str:
    """Return why failed requests cannot be told by the status of the series that counted any; empty: they can.

    Parameters
    ----------
    arms : what each arm is called, by its name
    """
    failures = (*way.errors, *way.gone)
    for requests in way.requests:
        for arm, word in arms.items():
            series = [grown for grown in table[requests] if grown.arm == arm]
            needed = {matcher.label for selector in failures for matcher in telling_matchers(selector, requests)}
            if needed and series and not any(grown.labels.get(label) for grown in series for label in needed):
                return (
                    f"no series of {requests.metric} of {arm} has the label {' or '.join(sorted(needed))}, so "
                    "none of its requests could ever count as failed: name the label with the status in the errors of "
                    "the profile"
                )
            counted = [grown.labels for grown in series if grown.growth.sum() > 0]
            for label, values in not_understood(failures, requests, counted).items():
                every = dict.fromkeys(grown.labels.get(label, "") for grown in series)
                return why_untold(requests.metric, word, label, values, [*every], way)
    return ""


def why_untold(
    metric: str, word: str, label: str, values: Sequence[str], every: Sequence[str], way: ErrorCounters
) -> str:
    """Say that values of a status label can never be selected, and what to write instead."""
    matchers = dict.fromkeys(
        str(matcher) for failed in way.errors for matcher in failed.matchers if matcher.label == label
    )
    others = f" (of {_named(sorted(every))})" if len(every) > len(values) else ""
    return (
        f"{metric} of the {word} has {label}={_named(values)}{others}, which the profile's "
        f"{' or '.join(matchers)} can never select: failed requests would count as succeeded; name the values of "
        "failed requests in the errors of a profile of your own, and those of clients that hung up in its gone"
    )


def _named(values: Sequence[str]) -> str:
    more = f" and {len(values) - MOST_NAMED} more" if len(values) > MOST_NAMED else ""
    return ", ".join(f'"{value}"' for value in values[:MOST_NAMED]) + more


def total(selectors: Iterable[Selector], arm: str, table: "Table", slices: int) -> Floats:
    """Add up the growth of an arm's series; one that several selectors of a metric select counts once."""
    taken: dict[tuple[str, frozenset[tuple[str, str]]], Selector] = {}
    grown = np.zeros(slices)
    for selector in selectors:
        for series in table[selector]:
            if series.arm == arm:
                key = selector.metric, frozenset(series.labels.items())
                if taken.setdefault(key, selector) == selector:
                    grown = grown + series.growth
    return grown


def errors_of(way: ErrorCounters, arm: str, table: "Table", slices: int) -> Errors:
    """Count an arm's requests and failed ones, of which as many are doubtful as may be those of probes that fail.

    That probes fail shows where more failed than there were requests.
    """
    errors, requests = total(way.errors, arm, table, slices), total(way.requests, arm, table, slices)
    beyond = errors.cumsum() > requests.cumsum() * (1 + UNDER_WAY) + FEW
    if not way.responses or not beyond.any():
        return Errors(errors=errors, requests=requests)
    others = max(0.0, float(total(way.responses, arm, table, slices).sum() - requests.sum()))
    certain = max(0.0, float(errors.sum()) - others)
    perhaps = min(float(errors.sum()), float(requests.sum())) - certain
    share = errors / errors.sum()
    return Errors(errors=share * certain, requests=requests, doubtful=share * max(perhaps, 0.0))


def parts_of(
    way: ErrorCounters, arm: str, before: Errors, whole: Errors, parts: Sequence["Table"], slices: int
) -> list[Errors]:
    """Return the counts of parts of an arm, which add up to it: what is doubtful of the whole is so of each part.

    Parameters
    ----------
    before, whole : counts of the arm without the requests whose clients hung up, and with them
    parts : series of each part
    """
    errors, gone = ([total(several, arm, part, slices) for part in parts] for several in (way.errors, way.gone))
    none = np.zeros(slices)
    doubts = [none if counts.doubtful is None else counts.doubtful for counts in (before, whole)]

    def ratio(counted: Floats, of: Sequence[Floats]) -> float:
        among = float(np.sum(of))
        return float(counted.sum()) / among if among else 0.0

    failed, doubted = ratio(before.errors, errors), ratio(doubts[0], errors)
    hung_up, left_open = ratio(whole.errors - before.errors, gone), ratio(doubts[1] - doubts[0], gone)
    return [
        Errors(
            errors=failed * errors[number] + hung_up * gone[number],
            requests=total(way.requests, arm, part, slices),
            doubtful=None if whole.doubtful is None else doubted * errors[number] + left_open * gone[number],
        )
        for number, part in enumerate(parts)
    ]


def with_hang_ups(
    way: ErrorCounters, counts: dict[str, Counts | None], canary: str, baseline: str | None, gone: Mapping[str, Floats]
) -> tuple[dict[str, Counts | None], tuple[str, ...]]:
    """Count the canary's requests whose client hung up, as far as they exceed the baseline's share, as failed.

    What exceeds it for certain has failed; the rest of the excess is doubtful. Without a baseline all of them are.

    Parameters
    ----------
    counts : of each arm
    gone : requests of each arm whose client hung up, shape (slices,)

    Returns
    -------
    The counts, and what should be known of them.
    """
    ours = counts[canary]
    hung_up = float(gone[canary].sum())
    if not isinstance(ours, Errors) or hung_up <= 0:
        return counts, ()
    requests, theirs = float(ours.requests.sum()), counts.get(baseline) if baseline else None
    shown = f"clients hung up on {format_ratio(hung_up / requests)} of the canary's requests"
    named = ", ".join(dict.fromkeys(str(matcher) for selector in way.gone for matcher in selector.matchers[-1:]))
    certain, excess = 0.0, hung_up
    if isinstance(theirs, Errors) and baseline and theirs.requests.sum() > 0:
        other, others = float(gone[baseline].sum()), float(theirs.requests.sum())
        shown += f" and {format_ratio(other / others)} of the baseline's"
        pooled = min((hung_up + other) / (requests + others), 1.0)
        spread = math.sqrt(pooled * (1 - pooled) * (1 / requests + 1 / others)) * requests
        excess = max(0.0, hung_up - requests * other / others)
        certain = max(0.0, excess - CHANCE * spread)
    share = gone[canary] / hung_up
    known = ours.doubtful if ours.doubtful is not None else np.zeros(len(share))
    counted = replace(ours, errors=ours.errors + share * certain, doubtful=known + share * (excess - certain))
    doubted = f"{excess - certain:,.0f} stand against a pass"
    note = f"{shown} ({named}): {certain:,.0f} of them count as failed, {doubted}"
    return {**counts, canary: counted}, (note,)
