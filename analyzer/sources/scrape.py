"""Counts straight from the pods' /metrics pages: no Prometheus needed, for small clusters and first tries.

The addresses stand in the settings; a request only names the arms. The counters are read as they are, so the
counts are those since the processes started: a restart loses what was counted before it.
"""

import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import requests
from prometheus_client.parser import text_string_to_metric_families
from urllib3.exceptions import HTTPError

from analyzer.config.profile import LatencyHistogram, Way, main_selector, main_selectors, selectors, traffic_selectors
from analyzer.config.selector import Selector, fill
from analyzer.errors import BadResponse, Problem, RequestError, SourceError, SourceUnavailable
from analyzer.model.counts import Counts, Reading, Readings
from analyzer.model.findings import Code, Gap, Kind
from analyzer.quantity import nearest
from analyzer.sources.assembly import Grown, Selection, absent, assemble, choose_way, window_of
from analyzer.sources.http import Observer, brief, gather, ignore, read_body, timed_out

TIMEOUT = 5.0  # seconds for one page
CANNOT_BE_EMPTY = re.compile(r"\S")


@dataclass(frozen=True)
class Sample:
    """One sample of a page: which arm it is of, the metric, its labels, its value, and the page."""

    arm: str
    metric: str
    labels: Mapping[str, str]
    value: float
    address: str = ""


class ScrapeSource:
    """Reads the pods of an arm one by one and adds them up.

    Parameters
    ----------
    targets : for every name of an arm the addresses of its pods' pages
    """

    name = "scrape"

    def __init__(self, targets: Mapping[str, Sequence[str]], *, workers: int = 16, observe: Observer = ignore) -> None:
        self._targets = targets
        self._observe = observe
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy, no .netrc
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="scrape")

    def ready(self, deadline: float) -> None:
        """Raise SourceError unless addresses are configured and every page can be read."""
        if not self._targets:
            raise SourceUnavailable("no addresses are configured: set ANALYZER_SCRAPE_TARGETS, or ANALYZER_SOURCE")
        _, failures = self._pages(tuple(self._targets), deadline)
        if failures:
            raise failures[0]

    def read(self, selection: Selection, deadline: float) -> Readings:
        """Read what a verdict asks for; what cannot be read is a gap with the reason.

        Raises
        ------
        RequestError : an arm has no addresses in the settings, or the request asks for the past
        """
        self._refuse(selection)
        samples, failures = self._pages(selection.arms, deadline)
        queries = tuple(address for arm in selection.arms for address in self._targets[arm])
        if failures:
            some = f"{len(failures)} of {len(queries)} pages could not be read"
            code = Code.SOURCE_UNAVAILABLE if len(failures) == len(queries) else Code.PARTIAL_DATA
            gap = Gap(code, f"{some}: {failures[0]}")
            return Readings(window_of(selection, None), dict.fromkeys(selection.checks, gap), queries)
        by_kind = {kind: _reading(kind, selection, samples) for kind in set(selection.checks.values())}
        window = window_of(selection, _started(selection, samples))
        return Readings(window, {name: by_kind[kind] for name, kind in selection.checks.items()}, queries)

    def _refuse(self, selection: Selection) -> None:
        problems = [
            Problem(field, f"source scrape has no addresses for {arm!r}; {nearest(arm, self._targets)}")
            for field, arm in (("canary", selection.canary), ("baseline", selection.baseline))
            if arm is not None and arm not in self._targets
        ]
        if selection.start is not None or selection.window_seconds is not None:
            problems.append(Problem("window", "source scrape knows only the counts since the start; use window start"))
        if selection.at_this_weight:
            problems.append(Problem("window", "source scrape has no time slices to find the step in; use window start"))
        if abs(selection.at - time.time()) > 60:
            problems.append(Problem("at", "source scrape knows only the present; leave the field out"))
        if problems:
            raise RequestError(problems)

    def _pages(self, arms: Sequence[str], deadline: float) -> tuple[list[Sample], list[SourceError]]:
        pages = [(arm, address) for arm in arms for address in self._targets[arm]]
        tasks = {number: partial(self._page, *page, deadline) for number, page in enumerate(pages)}
        samples: list[Sample] = []
        failures: list[SourceError] = []
        for answer in gather(self._pool, tasks, deadline).values():
            if isinstance(answer, SourceError):
                failures.append(answer)
            else:
                samples += answer
        return samples, failures

    def _page(self, arm: str, address: str, deadline: float) -> list[Sample]:
        began = time.monotonic()
        try:
            samples = _parse(arm, address, self._fetch(address, min(deadline, began + TIMEOUT)))
        except SourceError as error:
            self._observe(time.monotonic() - began, error.reason)
            raise
        self._observe(time.monotonic() - began, None)
        return samples

    def _fetch(self, address: str, ends: float) -> str:
        left = ends - time.monotonic()
        if left <= 0:
            raise timed_out(None)
        headers = {"Accept": "text/plain; version=0.0.4", "Accept-Encoding": "identity"}
        try:
            with self._session.get(
                address, headers=headers, timeout=left, allow_redirects=False, stream=True
            ) as response:
                body = read_body(response.raw, ends)
                if response.status_code != 200:
                    raise SourceUnavailable(f"{address} answered HTTP {response.status_code}")
        except requests.Timeout as error:
            raise timed_out(left) from error
        except (requests.RequestException, HTTPError) as error:
            raise SourceUnavailable(f"{address} gave no answer: {brief(error)}") from error
        return body.decode("utf-8", errors="replace")


def _parse(arm: str, address: str, text: str) -> list[Sample]:
    try:
        samples = [
            Sample(arm, one.name, one.labels, float(one.value), address)
            for family in text_string_to_metric_families(text)
            for one in family.samples
        ]
    except (ValueError, KeyError, IndexError) as error:
        raise BadResponse(f"{address} is no page of metrics: {error}"[:200]) from error
    if not samples and CANNOT_BE_EMPTY.search(text):
        raise BadResponse(f"{address} is no page of metrics")
    return samples


def _reading(kind: Kind, selection: Selection, samples: Sequence[Sample]) -> Reading[Counts] | Gap:
    """Read one kind by the first way of the profile whose metric the canary has, or else the baseline."""

    def arms(way: Way) -> frozenset[str]:
        there = _arms_with(main_selectors(way), selection, samples)
        return _arms_with(traffic_selectors(way), selection, samples) if there else there

    chosen, present = choose_way(((way, arms(way)) for way in selection.profile.ways(kind)), selection.canary)
    gap = absent(chosen, kind, selection, present)
    if gap is not None or chosen is None:
        return gap or Gap(Code.METRIC_MISSING, f"no metric for {kind}")
    if isinstance(chosen, LatencyHistogram) and chosen.native_histogram:
        return Gap(Code.METRIC_MISSING, "source scrape reads the text format, which has no native histograms")
    table = {
        selector: [_grown(one) for one in samples if _selects(_filled(selector, selection), one)]
        for selector in selectors(chosen)
    }
    odd = [one for series in table.values() for one in series if not np.isfinite(one.growth).all()]
    if odd:
        return Gap(Code.INCONSISTENT_DATA, f"{main_selector(chosen).metric}: a counter is no finite number")
    return assemble(chosen, table, selection, slices=1)


def _arms_with(metrics: Sequence[Selector], selection: Selection, samples: Sequence[Sample]) -> frozenset[str]:
    filled = [_filled(one, selection) for one in metrics]
    return frozenset(one.arm for one in samples if any(_selects(metric, one) for metric in filled))


def _grown(sample: Sample) -> Grown:
    """Take a counter as it is; the page's address tells the pods apart, which Prometheus would do by a label."""
    return Grown(sample.arm, {**sample.labels, "instance": sample.address}, np.array([sample.value]))


def _filled(selector: Selector, selection: Selection) -> Selector:
    return Selector(selector.metric, fill(selector.matchers, selection.service, selection.namespace))


def _selects(selector: Selector, sample: Sample) -> bool:
    """Whether a sample is selected; the profile's own matchers are on labels that only Prometheus sets."""
    return sample.metric == selector.metric and all(one.matches(dict(sample.labels)) for one in selector.matchers)


def _started(selection: Selection, samples: Sequence[Sample]) -> float | None:
    gauge = selection.profile.process_start
    if gauge is None:
        return None
    return min(
        (one.value for one in samples if one.arm == selection.canary and one.metric == gauge.metric), default=None
    )
