"""The HTTP API of Prometheus and the engines that speak it: bytes to typed samples, failures to typed errors."""

import gc
import math
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import numpy as np
import orjson
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.exceptions import HTTPError, NewConnectionError
from urllib3.exceptions import TimeoutError as TimeoutError_

from analyzer.errors import BadResponse, PartialData, SourceError, SourceUnavailable
from analyzer.model.counts import Floats
from analyzer.sources.authorization import Authorize, ToSign, nobody
from analyzer.sources.http import Observer, alone, brief, connections, few_large, ignore, read_body, timed_out, until

RETRIED = frozenset({429, 502, 503, 504})
PAUSES = (0.1, 0.3)  # seconds before the second and the third try
LAST_TRY = math.inf
SERIES = 20  # values that take as much memory as a series without any, 3 kB
RANGES = re.compile(
    r'"(?:[^"\\]|\\.)*"|(?P<range>\[[0-9a-z]+\])(?: offset (?P<count>[0-9]+)(?P<unit>ms|s))?'
)  # of selectors, and strings, in which there may be what looks like one
OFF_GRID = 2e-3  # seconds by which the time of an answer may differ from what was asked


@dataclass(frozen=True)
class Connection:
    """How to reach the API.

    Attributes
    ----------
    url : up to and without ``/api/v1``, for example ``http://prometheus:9090`` or ``https://mimir/prometheus``
    method : POST, or GET for engines that refuse POST
    timeout : seconds for one query
    authorize : gives the headers that say who asks
    ca_file, cert_file, key_file : own certificate authority, client certificate
    headers : sent with every query, such as X-Scope-OrgID
    parameters : added to every query, such as Thanos' partial_response
    most_values : of an answer; a series costs `SERIES` of them
    """

    url: str
    method: str = "POST"
    timeout: float = 5.0
    authorize: Authorize = nobody
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    most_values: int = 600_000


@dataclass(frozen=True)
class Series:
    """One series of an answer.

    Attributes
    ----------
    labels : including ``__name__`` where the query keeps it
    times, values : Unix seconds and values of its samples; shape (samples,)
    histograms : (Unix seconds, native histogram) pairs
    """

    labels: dict[str, str]
    times: Floats
    values: Floats
    histograms: tuple[tuple[float, dict[str, Any]], ...] = ()

    @property
    def moments(self) -> Floats:
        """Unix seconds of all its samples; shape (samples,)."""
        return np.concatenate([self.times, [moment for moment, _ in self.histograms]])


class PrometheusApi:
    """A pooled client; safe to use from many threads."""

    def __init__(self, connection: Connection, *, pool_size: int = 32, observe: Observer = ignore) -> None:
        self._connection = connection
        self._observe = observe
        self._aligned = False  # whether what answers moves the times of ranges
        self._headers = {"Accept": "application/json", "Accept-Encoding": "identity", **connection.headers}
        # Not requests, which takes a millisecond more for every query; and no proxy, no .netrc: only the settings.
        self._pool = connections(
            num_pools=2,
            maxsize=pool_size,
            ca_certs=str(connection.ca_file or DEFAULT_CA_BUNDLE_PATH),
            cert_reqs="CERT_REQUIRED",
            cert_file=str(connection.cert_file) if connection.cert_file else None,
            key_file=str(connection.key_file) if connection.key_file else None,
        )

    def instant(self, query: str, at: float, deadline: float, *, finite: bool = True) -> list[Series]:
        """Evaluate a query at one moment.

        Parameters
        ----------
        query, at : in PromQL, and when in Unix seconds
        deadline : on the monotonic clock
        finite : whether a value that is no finite number makes the answer unusable

        Raises
        ------
        SourceError : no answer in time, one that cannot be used, or one that says that it is not complete
        """
        return self._get("query", {"query": query, "time": f"{at:.3f}"}, "vector", deadline, finite=finite)

    def range(
        self, query: str, start: float, end: float, step: float, deadline: float, *, finite: bool = True
    ) -> list[Series]:
        """Evaluate a query from start to end inclusive, every `step` seconds; raises as `instant`.

        A query frontend may align ranges with their step, or answer from a cache of other ones. Then the same is asked
        for at multiples of the step that are a little later, with an offset that makes up for it.
        """
        if not self._aligned:
            answer = self.plain_range(query, start, end, step, deadline, finite=finite)
            if not any(
                is_moved(times, start, step) for times in {id(series.times): series.times for series in answer}.values()
            ):
                return answer
            self._aligned = True
        later = round(-start % step, 3)
        answer = self.plain_range(offset(query, later), start + later, end + later, step, deadline, finite=finite)
        return [
            replace(
                series,
                times=series.times - later,
                histograms=tuple((moment - later, histogram) for moment, histogram in series.histograms),
            )
            for series in answer
        ]

    def plain_range(
        self, query: str, start: float, end: float, step: float, deadline: float, *, finite: bool = True
    ) -> list[Series]:
        """Evaluate a query as `range` does, but leave the answer at whatever times it is for."""
        parameters = {"query": query, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:.3f}"}
        return _within(
            start - step, end + step, self._get("query_range", parameters, "matrix", deadline, finite=finite)
        )

    def raw(self, query: str, at: float, deadline: float, *, finite: bool = True) -> list[Series]:
        """Evaluate a query for a range of samples, such as ``metric[5m]``, at one moment; raises as `instant`."""
        parameters = {"query": query, "time": f"{at:.3f}"}
        return _within(0.0, at + 1.0, self._get("query", parameters, "matrix", deadline, finite=finite))

    def build(self, deadline: float) -> dict[str, Any] | None:
        """Ask what it is and of which version, as Prometheus and those like it say; None: it does not tell."""
        try:
            status, _, body = self._ask("status/buildinfo", {}, deadline, method="GET")  # which knows no POST
            data = orjson.loads(body).get("data") if status == 200 else None
        except (SourceError, orjson.JSONDecodeError, AttributeError):
            return None
        return data if isinstance(data, dict) else None

    def _get(
        self, endpoint: str, parameters: dict[str, str], kind: str, deadline: float, *, finite: bool
    ) -> list[Series]:
        """Ask, again after short pauses where that may help, and take the result out of its envelope."""
        began = time.monotonic()
        try:
            for pause in (*PAUSES, LAST_TRY):
                try:
                    with few_large() as turn:
                        status, location, body = self._ask(endpoint, parameters, deadline, turn=turn)
                        try:
                            _measure(body, self._connection.most_values)
                            with _no_collection():
                                answer = _parse(_unwrap(status, location, body, kind), kind, finite=finite)
                        finally:
                            body.clear()
                    break
                except SourceUnavailable as error:
                    tried_long_enough = error.reason == "timeout" or pause == LAST_TRY
                    if tried_long_enough or time.monotonic() + pause >= deadline:
                        raise
                    time.sleep(pause)
        except SourceError as error:
            self._observe(time.monotonic() - began, error.reason)
            raise alone(error) from None
        self._observe(time.monotonic() - began, None)
        return answer

    def _ask(
        self,
        endpoint: str,
        parameters: dict[str, str],
        deadline: float,
        *,
        method: str | None = None,
        turn: Callable[[float], None] | None = None,
    ) -> tuple[int, str, bytearray]:
        """Send one request and read its whole answer before the deadline: status, redirect's target, body."""
        left = min(deadline - time.monotonic(), self._connection.timeout)
        if left <= 0:
            raise SourceUnavailable("no time was left for the query before the deadline of the verdict")
        ends = time.monotonic() + left
        form = {**parameters, "timeout": f"{math.ceil(left * 1000)}ms", **self._connection.parameters}
        url = f"{self._connection.url.rstrip('/')}/api/v1/{endpoint}"
        method = method or self._connection.method
        text = urlencode(form, quote_via=quote)  # a signature takes a plus for itself, not for a blank
        body = text if method == "POST" else None
        if body is None:
            url = f"{url}?{text}"
        headers = {**self._headers, **self._connection.authorize(ToSign(method, url, body, ends))}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            with (
                until(ends),
                self._pool.urlopen(
                    method,
                    url,
                    body=body,
                    headers=headers,
                    timeout=max(0.001, ends - time.monotonic()),
                    retries=False,
                    redirect=False,
                    preload_content=False,
                ) as response,
            ):
                return response.status, response.headers.get("Location", ""), read_body(response, ends, turn=turn)
        except TimeoutError_ as error:
            if isinstance(error, NewConnectionError):  # which urllib3 counts among the timeouts
                raise SourceUnavailable(f"no connection: {brief(error)}") from error
            raise timed_out(left) from error
        except (OSError, HTTPError) as error:  # OSError: a certificate that is not there
            raise SourceUnavailable(f"no answer: {brief(error)}") from error
        except ValueError:
            text = "the query cannot be sent: a header in the settings is none"
            raise SourceUnavailable(text) from None  # its text would show the header


def is_moved(times: Floats, start: float, step: float) -> bool:
    """Whether samples of a range are at other moments than those that were asked for."""
    off = (times - start) / step
    return bool((np.abs(off - np.rint(off)) * step > OFF_GRID).any())


def offset(query: str, seconds: float) -> str:
    """Return PromQL for what a query of ours gave some seconds, to the millisecond, before."""

    def moved(match: re.Match[str]) -> str:
        if match["range"] is None:  # a string
            return match[0]
        known = float(match["count"]) * (1 if match["unit"] == "s" else 0.001) if match["count"] else 0.0
        return f"{match['range']} offset {(known + seconds) * 1000:.0f}ms"

    if not seconds:
        return query
    text = RANGES.sub(moved, query)
    return f"{query} offset {seconds * 1000:.0f}ms" if text == query else text  # a selector


def _within(least: float, most: float, answer: list[Series]) -> list[Series]:
    """Return an answer whose samples are of about the time that was asked for, which is as long as arrays will be."""
    for times in {id(series.times): series.times for series in answer}.values():
        if len(times) and not least <= times.min() <= times.max() <= most:
            raise BadResponse("it answered with samples for other times than those that were asked for")
    return answer


def _measure(body: bytearray, most: int) -> None:
    """Refuse an answer that would take hundreds of megabytes once it is parsed, before it is."""
    series, lists = body.count(b'"metric"'), body.count(b"[")
    if SERIES * series + lists > most:
        raise BadResponse(
            f"the answer is too large: {series:,} series, {lists:,} values (ANALYZER_PROMETHEUS_MAX_SAMPLES)"
        )


def _unwrap(status: int, location: str, body: bytearray, kind: str) -> list[dict[str, Any]]:
    """Take the result out of the envelope; everything that is not a whole result is an error."""
    if 300 <= status < 400:
        raise BadResponse(f"it redirects to {location[:100]!r}, which is not followed: set the URL to where it answers")
    try:
        envelope = orjson.loads(body)
    except orjson.JSONDecodeError:
        envelope = None
    if not isinstance(envelope, dict):
        text = f"HTTP {status} without JSON: is the URL that of a Prometheus API?"
        raise SourceUnavailable(text) if status in RETRIED else BadResponse(text)
    if status != 200 or envelope.get("status") != "success":
        text = f"HTTP {status} {envelope.get('errorType', '')}: {str(envelope.get('error', ''))[:200]}".strip(": ")
        unavailable = status in RETRIED or envelope.get("errorType") in ("timeout", "unavailable", "canceled")
        raise SourceUnavailable(text) if unavailable else BadResponse(text)
    # Hints on the query are among the warnings of Prometheus 2.48 to 2.53 and of Thanos.
    warnings = envelope.get("warnings") or []
    if not isinstance(warnings, list):
        raise BadResponse("it answered with warnings that are no list")
    if warnings := [text for text in warnings if not str(text).startswith("PromQL info")]:
        raise PartialData(f"it warns that its answer may be partial: {str(warnings[0])[:200]}")
    if envelope.get("isPartial"):
        raise PartialData("it says that its answer is partial (isPartial)")
    data = envelope.get("data")
    if not isinstance(data, dict) or data.get("resultType") != kind or not isinstance(data.get("result"), list):
        raise BadResponse(f"it answered with something else than a {kind}")
    result: list[dict[str, Any]] = data["result"]
    if not all(map(_labelled, result)):
        raise BadResponse("it answered with a series that has no labels")
    return result


def _labelled(series: Any) -> bool:
    try:
        "".join(series["metric"].values())
    except (TypeError, KeyError, AttributeError):
        return False
    return True


class _Collection:
    """How many threads hold off the garbage collector at present, and whether it was on before the first of them."""

    def __init__(self) -> None:
        self.lock, self.held_by, self.enabled = threading.Lock(), 0, True


_collection = _Collection()


@contextmanager
def _no_collection() -> Iterator[None]:
    """Hold off the garbage collector, which an answer's thousands of small lists set off to no avail."""
    with _collection.lock:
        if _collection.held_by == 0:
            _collection.enabled = gc.isenabled()
            gc.disable()
        _collection.held_by += 1
    try:
        yield
    finally:
        with _collection.lock:
            _collection.held_by -= 1
            if _collection.held_by == 0 and _collection.enabled:
                gc.enable()


def _parse(result: list[dict[str, Any]], kind: str, *, finite: bool) -> list[Series]:
    labels = [series["metric"] for series in result]
    if kind == "vector":
        samples = [[series["value"]] if "value" in series else [] for series in result]
        histograms = [[series["histogram"]] if "histogram" in series else [] for series in result]
    else:
        samples = [series.get("values", []) for series in result]
        histograms = [series.get("histograms", []) for series in result]
    return _series(labels, samples, histograms, finite=finite)


def _series(labels: list[dict[str, str]], samples: list[Any], histograms: list[Any], *, finite: bool) -> list[Series]:
    """Turn text into numbers; most series of an answer have the same times, which are read once."""
    times: list[Floats] = []
    texts: list[str] = []
    known: dict[tuple[float, ...], Floats] = {}
    try:
        for pairs in samples:
            moments, values = _columns(pairs)
            if moments not in known:
                known[moments] = np.array(list(map(float, moments)))
            times.append(known[moments])
            texts += values
        "".join(texts)  # a value that is no text raises here
        numbers = np.array(list(map(float, texts)))
        natives = [tuple((float(moment), dict(histogram)) for moment, histogram in several) for several in histograms]
    except (TypeError, ValueError) as error:
        raise BadResponse(f"it answered with something else than samples: {str(error)[:100]}") from error
    if (finite and not np.isfinite(numbers).all()) or not (
        all(np.isfinite(histogram).all() for histogram in known.values())
    ):
        raise BadResponse("it answered with a value that is no finite number")
    ends = list(accumulate(map(len, times)))
    return [
        Series(name, moments, numbers[begin:end], native)
        for name, moments, native, begin, end in zip(labels, times, natives, [0, *ends], ends, strict=False)
    ]


def _columns(pairs: Any) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """Part pairs of a time and a value; raises TypeError or ValueError where they are none."""
    if type(pairs) is not list or set(map(type, pairs)) - {list}:
        raise TypeError("a series without a list of pairs")
    moments, values = zip(*pairs, strict=True) if pairs else ((), ())
    return moments, values
