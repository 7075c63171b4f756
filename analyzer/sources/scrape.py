"""Counts straight from the pods' /metrics pages: no Prometheus needed, for small clusters and first tries.

The addresses stand in the settings; a request only names the arms. The counters are read as they are, so the
counts are those since the processes started: a restart loses what was counted before it. What earlier readings saw
of the baseline is remembered for the dispersion of its counts, see `memory`.
"""

import math
import time
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from urllib.parse import urlsplit, urlunsplit

import numpy as np
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.exceptions import HTTPError, NewConnectionError
from urllib3.exceptions import TimeoutError as TimeoutError_

from analyzer.config.profile import LatencyHistogram, Way, main_selectors, selectors, traffic_selectors
from analyzer.config.selector import Selector, fill
from analyzer.errors import BadResponse, Problem, RequestError, SourceError, SourceUnavailable
from analyzer.model.counts import Counts, Reading, Readings
from analyzer.model.findings import Code, Gap, Kind
from analyzer.quantity import nearest
from analyzer.sources.assembly import Grown, Selection, absent, assemble, choose_way, noted, window_of
from analyzer.sources.exposition import ExpositionError, parse_page
from analyzer.sources.http import Observer, brief, connections, gather, ignore, read_body, timed_out, until
from analyzer.sources.memory import Memory, Snapshot, with_memory
from analyzer.sources.origins import origins, values_of
from analyzer.sources.samples import may_fall
from analyzer.sources.shares import FairPool, on_behalf_of

TIMEOUT = 5.0  # seconds for one page
MOST_BYTES = 4 * 2**20  # of a page


@dataclass(frozen=True)
class Sample:
    """One sample of a page: which arm it is of, the metric, its labels, its value, the page and the line."""

    arm: str
    metric: str
    labels: Mapping[str, str]
    value: float
    address: str = ""
    line: int = 0


class ScrapeSource:
    """Reads the pods of an arm one by one and adds them up.

    Parameters
    ----------
    targets : for every name of an arm the addresses of its pods' pages; one that is there twice is read once
    most_bytes : of a page
    """

    name = "scrape"

    def __init__(
        self,
        targets: Mapping[str, Sequence[str]],
        *,
        most_bytes: int = MOST_BYTES,
        workers: int = 16,
        observe: Observer = ignore,
    ) -> None:
        self._targets = {arm: tuple({_same(page): page for page in pages}.values()) for arm, pages in targets.items()}
        self._most_bytes, self._observe, self._memory = most_bytes, observe, Memory()
        # No proxy, no .netrc: only the settings.
        self._connections = connections(
            num_pools=64, maxsize=4, ca_certs=DEFAULT_CA_BUNDLE_PATH, cert_reqs="CERT_REQUIRED"
        )
        self._pool = FairPool(workers, "scrape")

    def ready(self, deadline: float) -> None:
        """Raise SourceError unless addresses are configured and every page can be read."""
        if not self._targets:
            raise SourceUnavailable("no addresses are configured: set ANALYZER_SCRAPE_TARGETS, or ANALYZER_SOURCE")
        _, failures = self._pages(tuple(self._targets), None, deadline)
        if failures:
            raise failures[0]

    def read(self, selection: Selection, deadline: float) -> Readings:
        """Read what a verdict asks for; what cannot be read is a gap with the reason.

        Raises
        ------
        RequestError : an arm has no addresses in the settings, or the request asks for the past
        """
        self._refuse(selection)
        with on_behalf_of((selection.namespace, selection.service)):
            samples, failures = self._pages(selection.arms, _wanted(selection), deadline)
        queries = tuple(address for arm in selection.arms for address in self._targets[arm])
        if failures:
            some = f"{len(failures)} of {len(queries)} pages could not be read"
            code = Code.SOURCE_UNAVAILABLE if len(failures) == len(queries) else Code.PARTIAL_DATA
            impossible = [failure for failure in failures if isinstance(failure, ExpositionError)]
            if impossible:
                some, code = "a page is no page of metrics", Code.INCONSISTENT_DATA
            gap = Gap(code, f"{some}: {(impossible or failures)[0]}")
            return Readings(window_of(selection, None), dict.fromkeys(selection.checks, gap), queries)
        pages = [set(map(_same, self._targets[arm])) for arm in selection.arms]
        if len(pages) > 1 and (shared := set.intersection(*pages)):
            text = f"{min(shared)} is a page of both arms: give each pod to one arm in ANALYZER_SCRAPE_TARGETS"
            gap = Gap(Code.INCONSISTENT_DATA, text)
            return Readings(window_of(selection, None), dict.fromkeys(selection.checks, gap), queries)
        by_kind = {
            kind: self._remembering(kind, selection, samples, _reading(kind, selection, samples))
            for kind in set(selection.checks.values())
        }
        window = window_of(selection, _started(selection, samples))
        return Readings(window, {name: by_kind[kind] for name, kind in selection.checks.items()}, queries)

    def _remembering(
        self, kind: Kind, selection: Selection, samples: Sequence[Sample], reading: Reading[Counts] | Gap
    ) -> Reading[Counts] | Gap:
        """Remember what the baseline counted, and add what it had counted before."""
        if isinstance(reading, Gap) or reading.baseline is None or not selection.history_seconds:
            return reading
        of = selection.profile.name, selection.service, selection.namespace, selection.matchers
        subject = (*of, selection.baseline, kind)
        started = frozenset(_processes(selection, samples))
        snapshot = Snapshot(selection.at, started, reading.baseline)
        return with_memory(reading, self._memory.add(subject, snapshot, selection.history_seconds))

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

    def _pages(
        self, arms: Sequence[str], wanted: Container[str] | None, deadline: float
    ) -> tuple[list[Sample], list[SourceError]]:
        pages = [(arm, address) for arm in arms for address in self._targets[arm]]
        tasks = {number: partial(self._page, *page, wanted, deadline) for number, page in enumerate(pages)}
        samples: list[Sample] = []
        failures: list[SourceError] = []
        for answer in gather(self._pool, tasks, deadline).values():
            if isinstance(answer, SourceError):
                failures.append(answer)
            else:
                samples += answer
        return samples, failures

    def _page(self, arm: str, address: str, wanted: Container[str] | None, deadline: float) -> list[Sample]:
        began = time.monotonic()
        ends = min(deadline, began + TIMEOUT)
        try:
            samples = _parse(arm, address, self._fetch(address, ends), wanted, ends)
        except SourceError as error:
            self._observe(time.monotonic() - began, error.reason)
            raise
        self._observe(time.monotonic() - began, None)
        return samples

    def _fetch(self, address: str, ends: float) -> bytes:
        left = ends - time.monotonic()
        if left <= 0:
            raise timed_out(None)
        headers = {"Accept": "text/plain; version=0.0.4", "Accept-Encoding": "identity"}
        try:
            with (
                until(ends),
                self._connections.urlopen(
                    "GET", address, headers=headers, timeout=left, retries=False, redirect=False, preload_content=False
                ) as response,
            ):
                body = bytes(read_body(response, ends, self._most_bytes))
                if response.status != 200:
                    raise SourceUnavailable(f"{address} answered HTTP {response.status}")
        except TimeoutError_ as error:
            if isinstance(error, NewConnectionError):  # which urllib3 counts among the timeouts
                raise SourceUnavailable(f"{address} gave no answer: {brief(error)}") from error
            raise timed_out(left) from error
        except (OSError, HTTPError) as error:
            raise SourceUnavailable(f"{address} gave no answer: {brief(error)}") from error
        return body


def _same(address: str) -> str:
    """Write an address as others may write it: in small letters, without the port that the scheme has anyway."""
    parts = urlsplit(address)
    host = (parts.hostname or "").lower()
    port = "" if parts.port in (None, {"http": 80, "https": 443}.get(parts.scheme)) else f":{parts.port}"
    return urlunsplit((parts.scheme.lower(), host + port, parts.path or "/", parts.query, ""))


def _wanted(selection: Selection) -> frozenset[str]:
    """Name the metrics that are read."""
    profile, kinds = selection.profile, set(selection.checks.values())
    every = (
        selector for kind in kinds for way in profile.ways(kind) for selector in (*selectors(way), *main_selectors(way))
    )
    gauge = (profile.process_start,) if profile.process_start else ()
    return frozenset(selector.metric for selector in (*every, *gauge))


def _parse(arm: str, address: str, body: bytes, wanted: Container[str] | None, ends: float) -> list[Sample]:
    try:
        page = parse_page(body, wanted, ends)
    except BadResponse as error:
        raise type(error)(f"{address}, {error}") from error
    return [Sample(arm, row.metric, row.labels, row.value, address, row.line) for row in page]


def _reading(kind: Kind, selection: Selection, samples: Sequence[Sample]) -> Reading[Counts] | Gap:
    """Read one kind by the first way of the profile whose metric the canary has, or else the baseline."""

    def arms(way: Way) -> frozenset[str]:
        there = _arms_with(main_selectors(way), selection, samples)
        return _arms_with(traffic_selectors(way), selection, samples) if there else there

    chosen, present = choose_way(((way, arms(way)) for way in selection.profile.ways(kind)), selection.canary)
    gap = absent(chosen, kind, selection, present)
    if gap is not None or chosen is None:
        return gap or Gap(Code.METRIC_MISSING, f"no metric for {kind}")
    known = (
        (sample.arm, sample.labels) for sample in samples for way in selectors(chosen) if sample.metric == way.metric
    )
    origin = origins(selection.profile, selection.service, values_of(selection, known))
    if origin.gap:
        return origin.gap
    selection = replace(selection, matchers=(*selection.matchers, *origin.matchers))
    if isinstance(chosen, LatencyHistogram) and chosen.native_histogram:
        return Gap(Code.METRIC_MISSING, "source scrape reads the text format, which has no native histograms")
    selected = {
        selector: [sample for sample in samples if _selects(_filled(selector, selection), sample)]
        for selector in selectors(chosen)
    }
    odd = (sample for several in selected.values() for sample in several if _is_odd(sample))
    if (wrong := next(odd, None)) is not None:
        text = "is no finite number" if not math.isfinite(wrong.value) else "is below zero"
        return Gap(
            Code.INCONSISTENT_DATA,
            f"{wrong.address}, line {wrong.line}: the counter {wrong.metric} {text} ({wrong.value:g}): check what the "
            "pod exports",
        )
    table = {selector: [_grown(sample) for sample in several] for selector, several in selected.items()}
    return noted(assemble(chosen, table, selection, slices=1), origin.notes)


def _is_odd(sample: Sample) -> bool:
    """Whether no counter can have this value; the sum of a histogram may be negative."""
    return not math.isfinite(sample.value) or (sample.value < 0 and not may_fall(sample.metric))


def _arms_with(metrics: Sequence[Selector], selection: Selection, samples: Sequence[Sample]) -> frozenset[str]:
    filled = [_filled(metric, selection) for metric in metrics]
    return frozenset(sample.arm for sample in samples if any(_selects(selector, sample) for selector in filled))


def _grown(sample: Sample) -> Grown:
    """Take a counter as it is; the page's address tells the pods apart, which Prometheus would do by a label."""
    return Grown(sample.arm, {**sample.labels, "instance": sample.address}, np.array([sample.value]))


def _filled(selector: Selector, selection: Selection) -> Selector:
    # The profile's own matchers are on labels that Prometheus sets, but for those that exclude something.
    excluding = tuple(matcher for matcher in selection.profile.matchers if matcher.matches({}))
    filled = fill((*selector.matchers, *excluding), selection.service, selection.namespace)
    return Selector(selector.metric, (*filled, *selection.matchers))


def _processes(selection: Selection, samples: Sequence[Sample]) -> list[tuple[str, float | None]]:
    """List the baseline's pages, with the start of the process where it is exported."""
    gauge = selection.profile.process_start
    starts = {
        sample.address: sample.value
        for sample in samples
        if gauge and sample.arm == selection.baseline and sample.metric == gauge.metric
    }
    pages = {sample.address for sample in samples if sample.arm == selection.baseline}
    return [(page, starts.get(page)) for page in pages]


def _selects(selector: Selector, sample: Sample) -> bool:
    """Whether a sample is selected."""
    return sample.metric == selector.metric and all(
        matcher.matches(dict(sample.labels)) for matcher in selector.matchers
    )


def _started(selection: Selection, samples: Sequence[Sample]) -> float | None:
    gauge = selection.profile.process_start
    if gauge is None:
        return None
    return min(
        (sample.value for sample in samples if sample.arm == selection.canary and sample.metric == gauge.metric),
        default=None,
    )
