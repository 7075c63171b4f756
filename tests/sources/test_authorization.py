"""Tests of a pod's identity in a cloud: the SDKs are real, what hands out credentials speaks as the services do."""

import hashlib
import hmac
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote

import orjson
import pytest
from sources.hostile import Answer, Asked, Connection, HostileServer, hang, say, serving, vector

from analyzer.errors import ConfigError, NotInstalled, SourceUnavailable
from analyzer.sources.authorization import amazon, google
from analyzer.sources.prometheus_api import Connection as To
from analyzer.sources.prometheus_api import PrometheusApi

SECRET = "do-not-show-this-8472"
REGION = "eu-west-1"
GOOD = say(vector("42", pod="a"))


@pytest.fixture(autouse=True)
def _no_identity(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Take away what this machine may have of one."""
    for name in (
        "AWS_ACCESS_KEY_ID",
        "AWS_PROFILE",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "GOOGLE_APPLICATION_CREDENTIALS",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))


def ask(connection: To, seconds: float = 5.0) -> float:
    """Ask a query whose text needs quoting, and return the value."""
    return float(
        PrometheusApi(connection).instant('sum(up{a=~"b c+/~*"})', 1.0, time.monotonic() + seconds)[0].values[0]
    )


def signed(request: Asked, host: str, key: str) -> bool:
    """Check a signature as "Create a signed AWS API request" of the IAM user guide describes it."""
    kind, _, rest = request.headers["authorization"].partition(" ")
    parts = dict(part.split("=", 1) for part in rest.split(", "))
    scope = parts["Credential"].split("/", 1)[1]
    path, _, query = request.path.partition("?")
    headers = {**request.headers, "host": host}
    canonical = "\n".join(
        [
            request.method,
            path,
            "&".join(sorted(query.split("&"))),
            *(f"{name}:{headers[name]}" for name in parts["SignedHeaders"].split(";")),
            "",
            parts["SignedHeaders"],
            hashlib.sha256(request.body).hexdigest(),
        ]
    )
    text = "\n".join([kind, request.headers["x-amz-date"], scope, hashlib.sha256(canonical.encode()).hexdigest()])
    derived = f"AWS4{key}".encode()
    for part in (*scope.split("/"), text):
        derived = hmac.new(derived, part.encode(), hashlib.sha256).digest()
    assert scope == f"{request.headers['x-amz-date'][:8]}/{REGION}/aps/aws4_request"
    return parts["Signature"] == derived.hex()


def keys(number: int, valid: timedelta) -> Answer:
    """Answer as the credential endpoint of EKS Pod Identity does."""
    ends = (datetime.now(UTC) + valid).strftime("%Y-%m-%dT%H:%M:%SZ")
    found = {"AccessKeyId": f"AK{number}", "SecretAccessKey": SECRET, "Token": f"session-{number}", "Expiration": ends}
    return lambda connection: connection.reply(orjson.dumps(found), Content_Type="application/json")


def of_pod(monkeypatch: pytest.MonkeyPatch, server: HostileServer) -> None:
    """Be a pod with an identity of AWS."""
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"http://127.0.0.1:{server.port}/v1/credentials")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "of-the-service-account")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_query_to_amazon_is_signed(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """With all that the signature must cover, the body or the parameters included."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    with serving(keys(1, timedelta(hours=6))) as endpoint, serving(GOOD) as server:
        of_pod(monkeypatch, endpoint)

        assert ask(To(f"{server.url}/workspaces/ws-1", method=method, authorize=amazon(server.url))) == 42.0
        (request,) = server.asked

    assert request.headers["x-amz-security-token"] == "session-1"
    assert signed(request, f"localhost:{server.port}", SECRET)
    assert not signed(request, f"localhost:{server.port}", SECRET + "x")
    assert SECRET not in str(request)


def test_credentials_of_amazon_are_refreshed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that end soon are fetched again, others are not."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    answers = keys(1, timedelta(seconds=30)), keys(2, timedelta(hours=6)), keys(3, timedelta(hours=6))
    with serving(*answers) as endpoint, serving(GOOD) as server:
        of_pod(monkeypatch, endpoint)
        connection = To(server.url, authorize=amazon(server.url))
        for _ in range(3):
            ask(connection)

    assert [request.headers["x-amz-security-token"] for request in server.asked[1:]] == ["session-2", "session-2"]


def test_the_region_is_that_of_the_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its address names it; elsewhere a region must be set."""
    amazon(f"https://aps-workspaces.{REGION}.amazonaws.com/workspaces/ws-1")

    with pytest.raises(ConfigError, match=r"no region is known: .* AWS_DEFAULT_REGION"):
        amazon("https://prometheus.example")


def test_without_credentials_there_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor where fetching them hangs; what went wrong is said without what they are."""
    url = f"https://aps-workspaces.{REGION}.amazonaws.com"
    with serving(GOOD) as server:
        with pytest.raises(SourceUnavailable, match=r"no credentials of AWS: .*service account"):
            ask(To(server.url, authorize=amazon(url)))
        with serving(hang) as endpoint:
            of_pod(monkeypatch, endpoint)
            began = time.monotonic()
            with pytest.raises(SourceUnavailable, match="no credentials of AWS in time"):
                ask(To(server.url, authorize=amazon(url)), 0.5)

    assert time.monotonic() - began < 3.0
    assert server.asked == []


def metadata(expires_in: list[int]) -> Answer:
    """Answer as the metadata server of Google's clusters does; each token is valid for so long, the last for ever."""
    handed = iter([*expires_in, *[3600] * 100])
    number = 0

    def answer(connection: Connection) -> None:
        nonlocal number
        path = unquote(connection.asked.path)
        found: object = {"default": {"email": "analyzer@models.example", "scopes": ["x"]}}
        if "/token" in path:
            number += 1
            found = {"access_token": f"token-{number}", "expires_in": next(handed), "token_type": "Bearer"}
        elif "service-accounts/" in path:
            found = {"email": "analyzer@models.example", "scopes": ["x"], "aliases": ["default"]}
        connection.reply(orjson.dumps(found), Metadata_Flavor="Google", Content_Type="application/json")

    return answer


def test_tokens_of_google_are_refreshed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that has ended is never sent again."""
    with serving(metadata([1, 3600])) as endpoint, serving(GOOD) as server:
        monkeypatch.setenv("GCE_METADATA_HOST", f"127.0.0.1:{endpoint.port}")
        monkeypatch.setenv("GCE_METADATA_IP", f"127.0.0.1:{endpoint.port}")
        connection = To(server.url, authorize=google())
        for _ in range(3):
            assert ask(connection) == 42.0

    sent = [request.headers["authorization"] for request in server.asked]
    assert sent[1:] == ["Bearer token-2", "Bearer token-2"]


def test_without_an_identity_of_google_there_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason says whose credentials are missing."""
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with serving(GOOD) as server, pytest.raises(SourceUnavailable, match="no credentials of Google: "):
        ask(To(server.url, authorize=google()))


@pytest.mark.parametrize("connect", [lambda: amazon("https://a.example"), google], ids=["aws", "google"])
def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch, connect: Callable[[], object]) -> None:
    """With the command that installs it."""
    for name in ("botocore.auth", "google.auth"):
        monkeypatch.setitem(__import__("sys").modules, name, None)

    with pytest.raises(NotInstalled, match=r"pip install 'rollout-analyzer\[cloud\]'"):
        connect()
