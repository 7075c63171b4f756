"""Tests of the client of the query API against a server that answers wrongly, late, or not at all."""

import base64
import gc
import ssl
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from sources.hostile import (
    Answer,
    Asked,
    close,
    cut,
    cut_chunk,
    enormous,
    flood,
    hang,
    say,
    serving,
    trickle,
    trickle_chunks,
    trickle_headers,
    vector,
)
from sources.hostile import Connection as Client
from sources.pods import selection

from analyzer.errors import BadResponse, PartialData, SourceError, SourceUnavailable
from analyzer.model.findings import Code, Gap
from analyzer.sources import prometheus_api
from analyzer.sources.authorization import basic, bearer
from analyzer.sources.http import few_large
from analyzer.sources.prometheus import PrometheusSource
from analyzer.sources.prometheus_api import Connection, PrometheusApi

SECRET = "do-not-show-this-8472"
GOOD = say(vector("42", pod="a"))


def ask(connection: Connection, seconds: float = 5.0) -> list[float]:
    """Ask one query and return the values."""
    return [float(one.values[0]) for one in PrometheusApi(connection).instant("up", 1.0, time.monotonic() + seconds)]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask again at once."""
    monkeypatch.setattr(prometheus_api, "PAUSES", (0.01, 0.01))


def matrix(values: object) -> dict[str, object]:
    """Write a matrix where a vector is asked for, or the other way round."""
    return {"status": "success", "data": {"resultType": "matrix", "result": values}}


def with_result(result: object, **more: object) -> dict[str, object]:
    """Write a vector with any result."""
    return {"status": "success", "data": {"resultType": "vector", "result": result}, **more}


WRONG: dict[str, tuple[Answer, type[SourceError], int]] = {  # how often it is asked
    "HTML": (say(b"<html><body>Welcome</body></html>"), BadResponse, 1),
    "empty": (say(b""), BadResponse, 1),
    "no content": (say(b"", 204), BadResponse, 1),
    "a list": (say(b"[]"), BadResponse, 1),
    "an error with status 200": (
        say({"status": "error", "errorType": "bad_data", "error": "parse error"}), BadResponse, 1),
    "an internal timeout with status 200": (
        say({"status": "error", "errorType": "timeout", "error": "too slow"}), SourceUnavailable, 3),
    "a matrix": (say(matrix([])), BadResponse, 1),
    "a scalar": (say({"status": "success", "data": {"resultType": "scalar", "result": [1, "1"]}}), BadResponse, 1),
    "no data": (say({"status": "success"}), BadResponse, 1),
    "null data": (say({"status": "success", "data": None}), BadResponse, 1),
    "null result": (say(with_result(None)), BadResponse, 1),
    "no labels": (say(with_result([{"value": [1, "1"]}])), BadResponse, 1),
    "labels that are no text": (say(with_result([{"metric": {"a": ["b"]}, "value": [1, "1"]}])), BadResponse, 1),
    "a series that is a number": (say(with_result([7])), BadResponse, 1),
    "no pair": (say(with_result([{"metric": {}, "value": [1]}])), BadResponse, 1),
    "three instead of a pair": (say(with_result([{"metric": {}, "value": [1, "1", "2"]}])), BadResponse, 1),
    "a text instead of a pair": (say(with_result([{"metric": {}, "value": "12"}])), BadResponse, 1),
    "null for a value": (say(with_result([{"metric": {}, "value": [1, None]}])), BadResponse, 1),
    "null for a time": (say(with_result([{"metric": {}, "value": [None, "1"]}])), BadResponse, 1),
    "a word for a value": (say(vector("many")), BadResponse, 1),
    "NaN": (say(vector("NaN")), BadResponse, 1),
    "infinity": (say(vector("+Inf")), BadResponse, 1),
    "bare NaN": (say(b'{"status": "success", "data": NaN}'), BadResponse, 1),
    "invalid UTF-8": (say(b'{"status": "succ\xff\xfe"}'), BadResponse, 1),
    "deep nesting": (say(b"[" * 100_000), BadResponse, 1),
    "a warning": (say(with_result([], warnings=["a store is down"])), PartialData, 1),
    "isPartial": (say(with_result([], isPartial=True)), PartialData, 1),
    "bad request": (say({"status": "error", "errorType": "bad_data", "error": "no"}, 400), BadResponse, 1),
    "bad execution": (say({"status": "error", "errorType": "execution", "error": "no"}, 422), BadResponse, 1),
    "unauthorized": (say(b"who are you", 401), BadResponse, 1),
    "forbidden": (say(b"no", 403), BadResponse, 1),
    "not found": (say(b"404 page not found", 404), BadResponse, 1),
    "internal error": (say(b"oops", 500), BadResponse, 1),
    "too many requests": (say(b"slow down", 429), SourceUnavailable, 3),
    "bad gateway": (say(b"<html>502</html>", 502), SourceUnavailable, 3),
    "unavailable": (say({"status": "error", "errorType": "unavailable", "error": "no"}, 503), SourceUnavailable, 3),
    "gateway timeout": (say(b"", 504), SourceUnavailable, 3),
    "cut": (cut, SourceUnavailable, 3),
    "cut chunk": (cut_chunk, SourceUnavailable, 3),
    "closed": (close, SourceUnavailable, 3),
    "no HTTP": (lambda to: to.send(b"SSH-2.0-OpenSSH_9.2\r\n"), SourceUnavailable, 3),
    "flood": (flood, BadResponse, 1),
    "enormous": (enormous, BadResponse, 1),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_answer_is_a_typed_error(name: str) -> None:
    """Each wrong answer is an error of its type; only what may pass is asked again, twice at most."""
    answer, error, times = WRONG[name]
    with serving(answer) as server, pytest.raises(error):
        ask(Connection(server.url))

    assert len(server.asked) == times


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_answer_is_a_gap_and_never_a_reading(name: str) -> None:
    """Through the source a wrong answer is a gap with its code in every check, whatever else happens."""
    answer, error, _ = WRONG[name]
    with serving(answer) as server:
        source = PrometheusSource(PrometheusApi(Connection(server.url)))
        readings = source.read(selection("new", "old", 1767614400.0), time.monotonic() + 5)

    if name != "a matrix":  # an empty matrix is what the first query asks for
        code = Code.PARTIAL_DATA if error is PartialData else Code.SOURCE_UNAVAILABLE
        assert {one.code for one in readings.by_check.values() if isinstance(one, Gap)} == {code}
    assert all(isinstance(one, Gap) for one in readings.by_check.values())


@pytest.mark.parametrize("wrong", [hang, trickle, trickle_headers])
def test_the_deadline_is_kept(wrong: Answer) -> None:
    """A server that hangs, or trickles, holds a verdict no longer than its deadline, and is not asked again."""
    with serving(wrong) as server:
        source = PrometheusSource(PrometheusApi(Connection(server.url, timeout=30.0)))
        began = time.monotonic()
        readings = source.read(selection("new", "old", 1767614400.0), began + 0.7)
        took = time.monotonic() - began

    assert took < 0.7 + 0.5
    assert {one.code for one in readings.by_check.values() if isinstance(one, Gap)} == {Code.SOURCE_UNAVAILABLE}
    queries = [request for request in server.asked if b"vector%281%29" not in request.body]
    assert len(queries) <= 2  # those that look for the canary, beside the breaker's own


def test_a_single_query_has_its_own_time() -> None:
    """The time for one query is kept where the verdict would have more."""
    with serving(hang) as server, pytest.raises(SourceUnavailable, match=r"within 0\.3 s") as caught:
        ask(Connection(server.url, timeout=0.3))

    assert caught.value.reason == "timeout"
    assert len(server.asked) == 1


def test_nobody_listening_is_unavailable() -> None:
    """A refused connection is an unavailable source."""
    with serving(close) as server:
        url = server.url
    with pytest.raises(SourceUnavailable, match="refused"):
        ask(Connection(url))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(status: int) -> None:
    """A redirect is an error that names where to; the other host sees nothing, least of all the token."""
    with serving(GOOD) as other:
        away = say(b"", status, Location=f"{other.url}/api/v1/query")
        with serving(away) as server, pytest.raises(BadResponse, match=f"redirects to '{other.url}"):
            ask(Connection(server.url))

        assert len(server.asked) == 1
        assert other.asked == []


def test_what_passes_is_asked_again() -> None:
    """An overloaded answer, then a cut one, then a good one: the good one counts."""
    with serving(say(b"", 503), cut, GOOD) as server:
        assert ask(Connection(server.url)) == [42.0]


def test_the_form_carries_query_time_and_timeout() -> None:
    """A query is posted as a form, with the time to judge at and a timeout that Prometheus understands."""
    with serving(GOOD) as server:
        ask(Connection(f"{server.url}/prometheus/", headers={"X-Scope-OrgID": "team-a"}, parameters={"dedup": "true"}))

    asked = server.asked[0]
    form = parse_qs(asked.body.decode())
    assert (asked.method, asked.path) == ("POST", "/prometheus/api/v1/query")
    assert form["query"] == ["up"]
    assert form["time"] == ["1.000"]
    assert form["dedup"] == ["true"]
    assert form["timeout"][0].endswith("ms")
    assert asked.headers["x-scope-orgid"] == "team-a"


def test_get_puts_the_form_into_the_url() -> None:
    """Engines that refuse POST are asked by GET."""
    with serving(GOOD) as server:
        ask(Connection(server.url, method="GET"))

    path, _, form = server.asked[0].path.partition("?")
    assert (server.asked[0].method, path) == ("GET", "/api/v1/query")
    assert parse_qs(form)["query"] == ["up"]
    assert server.asked[0].body == b""


def test_the_token_is_read_anew_for_every_query(tmp_path: Path) -> None:
    """A token that Kubernetes rotates is used as soon as it is there."""
    token = tmp_path / "token"
    with serving(GOOD) as server:
        api = PrometheusApi(Connection(server.url, authorize=bearer(token)))
        for text in ("first\n", "second\n"):
            token.write_text(text, encoding="utf-8")
            api.instant("up", 1.0, time.monotonic() + 5)

    assert [one.headers["authorization"] for one in server.asked] == ["Bearer first", "Bearer second"]


def test_basic_authentication_takes_any_password(tmp_path: Path) -> None:
    """User and password are sent in UTF-8."""
    password = tmp_path / "password"
    password.write_text("pässwörd€\n", encoding="utf-8")
    with serving(GOOD) as server:
        ask(Connection(server.url, authorize=basic("reader", password)))

    kind, _, pair = server.asked[0].headers["authorization"].partition(" ")
    assert (kind, base64.b64decode(pair).decode()) == ("Basic", "reader:pässwörd€")


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", f"{SECRET}\nsecond line".encode(), f"{SECRET}\u20ac".encode(), SECRET.encode() + b"\xff", None],
    ids=["empty", "blank", "two lines", "not ASCII", "not UTF-8", "not there"],
)
def test_a_bad_token_file_is_unavailable_and_not_shown(tmp_path: Path, content: bytes | None) -> None:
    """A token that cannot be sent is an error that names the file, never the token."""
    token = tmp_path / "token"
    if content is not None:
        token.write_bytes(content)
    with serving(GOOD) as server, pytest.raises(SourceUnavailable) as caught:
        ask(Connection(server.url, authorize=bearer(token)))

    assert server.asked == []
    assert str(token) in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("name", WRONG)
def test_no_error_shows_a_secret(name: str, tmp_path: Path) -> None:
    """Token, password and headers are in no error's text."""
    token = tmp_path / "token"
    token.write_text(SECRET, encoding="utf-8")
    with serving(WRONG[name][0]) as server, pytest.raises(SourceError) as caught:
        ask(
            Connection(
                server.url, method="GET", authorize=bearer(token), headers={"X-Key": SECRET}, parameters={"k": SECRET}
            )
        )

    assert SECRET not in str(caught.value)


def test_a_header_that_cannot_be_sent_is_an_error() -> None:
    """A header of the settings with a line break is refused without showing it."""
    with serving(GOOD) as server, pytest.raises(SourceError) as caught:
        ask(Connection(server.url, headers={"X-Key": f"{SECRET}\nX-Other: 1"}))

    assert SECRET not in str(caught.value)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority with certificates for a server and a client, and a stranger's."""
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    new = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    extensions = ("-addext", "keyUsage=critical,keyCertSign")
    for name in ("ca", "stranger"):
        openssl(*new, "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}", *extensions)
    for name in ("server", "client"):
        signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "subjectAltName=DNS:localhost"]
        signed += ["-addext", "basicConstraints=critical,CA:FALSE"]  # else Python 3.13 asks for a key usage as well
        openssl(*new, "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}", *signed)
    return folder


@pytest.fixture
def tls(certificates: Path) -> ssl.SSLContext:
    """TLS that demands a certificate of the client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    context.load_verify_locations(certificates / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def test_mutual_tls(certificates: Path, tls: ssl.SSLContext) -> None:
    """With the authority and the client's certificate the answer comes, with the key beside it or in the same file."""
    both = certificates / "both.pem"
    both.write_bytes((certificates / "client.pem").read_bytes() + (certificates / "client.key").read_bytes())
    beside = {"cert_file": certificates / "client.pem", "key_file": certificates / "client.key"}
    for files in (beside, {"cert_file": both}):
        with serving(GOOD, tls=tls) as server:
            assert ask(Connection(server.url, ca_file=certificates / "ca.pem", **files)) == [42.0]


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"ca_file": "stranger.pem", "cert_file": "client.pem", "key_file": "client.key"},
        {"ca_file": "ca.pem"},
        {"ca_file": "ca.pem", "cert_file": "stranger.pem", "key_file": "stranger.key"},
        {"ca_file": "ca.pem", "cert_file": "client.pem", "key_file": "server.key"},
        {"ca_file": "gone.pem"},
        {"ca_file": "ca.pem", "cert_file": "gone.pem"},
    ],
    ids=["nothing", "stranger's authority", "no certificate", "stranger", "wrong key", "no CA file", "no file"],
)
def test_wrong_certificates_are_unavailable(certificates: Path, tls: ssl.SSLContext, files: dict[str, str]) -> None:
    """Who is not trusted, on either side, gets no answer, and the server no query."""
    with serving(GOOD, tls=tls) as server, pytest.raises(SourceUnavailable):
        ask(Connection(server.url, **{name: certificates / file for name, file in files.items()}))

    assert server.asked == []


def answering(by: Callable[[Asked], dict[str, object]]) -> Answer:
    """Answer by what was asked."""
    return lambda to: say(by(to.asked))(to)


@pytest.mark.parametrize("spoiled", ["off the grid", "without a tag", "NaN", "empty"])
def test_answers_that_do_not_fit_the_question_are_gaps(spoiled: str) -> None:
    """Values for other times, or without the label that was asked for, are never counted."""
    arm = {"rollouts_pod_template_hash": "new", "instance": "a"}
    at = 1767614400.0

    def answer(asked: Asked) -> dict[str, object]:
        form = {name: values[0] for name, values in parse_qs(asked.body.decode()).items()}
        if "step" in form:
            pairs: dict[str, object] = {"off the grid": [[at - 33.3, "1"]], "NaN": [[at - 60, "NaN"]], "empty": []}
            return matrix([{"metric": {"__name__": "http_requests_total", **arm}, "values": pairs.get(spoiled, [])}])
        if "count by" in form["query"] and "analyzer_stat" not in form["query"]:
            return vector("1", **arm)
        return vector("1", **arm) if spoiled == "without a tag" else vector()

    with serving(answering(answer)) as server:
        source = PrometheusSource(PrometheusApi(Connection(server.url)))
        asked = selection("new", None, at, window_seconds=60.0)
        readings = source.read(asked, time.monotonic() + 5)

    code = Code.INCONSISTENT_DATA if spoiled == "NaN" else Code.SOURCE_UNAVAILABLE
    if spoiled != "empty":
        assert {one.code for one in readings.by_check.values() if isinstance(one, Gap)} == {code}
    assert all(isinstance(one, Gap) or not one.canary for one in readings.by_check.values()), readings


def test_ready_asks_a_trivial_query() -> None:
    """The source is ready when a trivial query is answered, and says why it is not."""
    with serving(GOOD) as server:
        PrometheusSource(PrometheusApi(Connection(server.url))).ready(time.monotonic() + 2)
    with pytest.raises(SourceUnavailable):
        PrometheusSource(PrometheusApi(Connection(server.url))).ready(time.monotonic() + 2)


@pytest.mark.parametrize("answer", [trickle, trickle_headers, trickle_chunks, hang], ids=lambda answer: answer.__name__)
def test_no_thread_is_held_beyond_the_deadline(answer: Answer) -> None:
    """The query itself ends, not only the waiting for it: threads that stay would be gone for good."""
    with serving(answer) as server:
        began = time.monotonic()
        with pytest.raises(SourceUnavailable):
            PrometheusApi(Connection(server.url, timeout=5.0)).instant("up", 1.0, began + 0.5)

        assert time.monotonic() - began < 1.5


@pytest.mark.parametrize("warnings", [{"a": 1}, 1, "text"])
def test_warnings_that_are_no_list_are_refused(warnings: object) -> None:
    """As all that is not what the API says."""
    with serving(say(with_result([], warnings=warnings))) as server, pytest.raises(BadResponse, match="warnings"):
        ask(Connection(server.url))


def test_the_garbage_collector_is_on_after_queries_at_once() -> None:
    """Whatever the order in which threads begin and end."""
    first, second = prometheus_api._no_collection(), prometheus_api._no_collection()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not gc.isenabled()
    second.__exit__(None, None, None)
    assert gc.isenabled()


@pytest.mark.parametrize("answer", [flood, enormous])
def test_what_is_refused_is_not_kept(answer: Answer) -> None:
    """An error lives as long as its verdict; thirty megabytes of the answer in its traceback must not."""
    with serving(answer) as server, pytest.raises(BadResponse, match=r"larger than 32 MiB|too large") as raised:
        ask(Connection(server.url))
    held, trace = [], raised.value.__traceback__
    while trace is not None:
        held += [value for value in trace.tb_frame.f_locals.values() if isinstance(value, bytes | bytearray | list)]
        trace = trace.tb_next

    assert sum(map(len, held)) < 10_000
    assert raised.value.__cause__ is raised.value.__context__ is None


def test_few_answers_may_be_large_at_a_time() -> None:
    """The third waits until one of the others is parsed, and no longer than its own deadline."""
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(few_large())(time.monotonic() + 5)
        with few_large() as turn, pytest.raises(SourceUnavailable):
            turn(time.monotonic() + 0.05)
    with few_large() as turn:
        turn(time.monotonic() + 5)
        turn(time.monotonic())


@pytest.mark.parametrize(
    ("query", "later"),
    [
        ('up{job="a"}', 'up{job="a"} offset 2500ms'),
        ('last_over_time({job="a"}[15s])', 'last_over_time({job="a"}[15s] offset 2500ms)'),
        ("min_over_time(a[9500ms] offset 3s) - b[1s]", "min_over_time(a[9500ms] offset 5500ms) - b[1s] offset 2500ms"),
        ('up{a="[15s]"}[1s]', 'up{a="[15s]"}[1s] offset 2500ms'),
        (r'up{a="\"[1s]\""}[900s] offset 500ms', r'up{a="\"[1s]\""}[900s] offset 3000ms'),
    ],
)  # fmt: skip
def test_a_query_is_asked_with_an_offset(query: str, later: str) -> None:
    """Behind every selector, to what there is; what a label has as its value stays."""
    assert prometheus_api.offset(query, 2.5) == later
    assert prometheus_api.offset(query, 0.0) == query


def test_a_range_that_is_moved_is_asked_for_at_moments_that_stay() -> None:
    """At multiples of the step that are later, with an offset, and from then on at once; its times are made up for."""

    def align(to: Client) -> None:
        form = {name: values[0] for name, values in parse_qs(to.asked.body.decode()).items()}
        start, end, step = (float(form[name]) for name in ("start", "end", "step"))
        begin = start // step * step
        values = [[begin + step * number, "1"] for number in range(int((end - begin) // step) + 1)]
        say({"status": "success", "data": {"resultType": "matrix", "result": [{"metric": {}, "values": values}]}})(to)

    with serving(align) as server:
        api = PrometheusApi(Connection(server.url))
        times = [api.range("up[15s]", 1007.0, 1067.0, 15.0, time.monotonic() + 5)[0].times.tolist() for _ in range(2)]

    assert times == [[1007.0, 1022.0, 1037.0, 1052.0, 1067.0]] * 2
    starts = [parse_qs(asked.body.decode())["start"][0] for asked in server.asked]
    assert starts == ["1007.000", "1020.000", "1020.000"]
