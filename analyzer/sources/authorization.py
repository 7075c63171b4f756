"""Who asks Prometheus: the headers that a token, a password or the pod's identity in a cloud give a query."""

import re
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TimeoutError_
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analyzer.errors import ConfigError, NotInstalled, Problem, SourceUnavailable

GOOGLE_SCOPE = "https://www.googleapis.com/auth/monitoring.read"
AMAZON = re.compile(r"https://aps-workspaces\.([a-z0-9-]+)\.amazonaws\.com")


@dataclass(frozen=True)
class ToSign:
    """What is sent, as a signature covers it.

    Attributes
    ----------
    method, url : GET with all parameters in the URL, or POST
    body : of a POST
    ends : on the monotonic clock, until when credentials may be waited for
    """

    method: str
    url: str
    body: str | None
    ends: float


Authorize = Callable[[ToSign], Mapping[str, str]]
"""Returns the headers that a query needs; raises SourceUnavailable where there are no credentials in time."""


def nobody(_: ToSign) -> Mapping[str, str]:
    """Return no header: whoever reaches the server may ask."""
    return {}


def bearer(file: Path) -> Authorize:
    """Return the token in a file, read again for every query because Kubernetes rotates it."""

    def authorize(_: ToSign) -> Mapping[str, str]:
        token = _secret(file)
        if not token.isascii():
            raise SourceUnavailable(f"the token in {file} has other than ASCII characters")
        return {"Authorization": f"Bearer {token}"}

    return authorize


def basic(username: str, password_file: Path | None) -> Authorize:
    """Return name and password, the latter read again for every query."""

    def authorize(_: ToSign) -> Mapping[str, str]:
        password = _secret(password_file) if password_file else ""
        pair = b64encode(f"{username}:{password}".encode()).decode()
        return {"Authorization": f"Basic {pair}"}

    return authorize


def amazon(url: str) -> Authorize:
    """Return a signature (SigV4, service ``aps``) by the credentials that AWS's own SDK finds and refreshes.

    Parameters
    ----------
    url : of the workspace, which names the region; any other takes the region of the SDK's configuration

    Raises
    ------
    NotInstalled : without the extra `cloud`
    ConfigError : no region is known
    """
    try:
        from botocore.auth import SigV4Auth  # noqa: PLC0415 - only who uses it has it
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415
        from botocore.session import Session  # noqa: PLC0415
    except ImportError as error:
        raise NotInstalled("botocore", "cloud") from error
    session = Session()
    named = AMAZON.match(url)
    region = named[1] if named else session.get_config_variable("region")
    if not region:
        problem = "no region is known: name that of the workspace in the variable AWS_DEFAULT_REGION"
        raise ConfigError([Problem("ANALYZER_PROMETHEUS_AUTH", problem)])
    credentials = _Waiting(lambda: session.get_credentials().get_frozen_credentials(), "AWS")

    def authorize(query: ToSign) -> Mapping[str, str]:
        content = {"Content-Type": "application/x-www-form-urlencoded"} if query.body is not None else {}
        request = AWSRequest(method=query.method, url=query.url, data=query.body or "", headers=content)
        SigV4Auth(credentials.get(query.ends), "aps", region).add_auth(request)
        return dict(request.headers.items())

    return authorize


def google() -> Authorize:
    """Return an access token of the application default credentials, which Google's own library finds and refreshes.

    Raises
    ------
    NotInstalled : without the extra `cloud`
    """
    try:
        import google.auth  # noqa: PLC0415 - only who uses it has it
        from google.auth.transport.requests import Request  # noqa: PLC0415
    except ImportError as error:
        raise NotInstalled("google-auth", "cloud") from error
    transport = Request()
    kept: list[Any] = []

    def fresh() -> dict[str, str]:
        if not kept:
            kept.append(google.auth.default(scopes=[GOOGLE_SCOPE])[0])
        headers: dict[str, str] = {}
        kept[0].before_request(transport, "GET", "", headers)
        return {name.title(): text for name, text in headers.items()}

    tokens = _Waiting(fresh, "Google")

    def authorize(query: ToSign) -> Mapping[str, str]:
        headers: dict[str, str] = tokens.get(query.ends)
        return headers

    return authorize


class _Waiting:
    """Credentials that may have to be fetched, by a thread of their own: an SDK knows nothing of our deadline."""

    def __init__(self, fetch: Callable[[], Any], whose: str) -> None:
        self._fetch, self._whose = fetch, whose
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="credentials")

    def get(self, ends: float) -> Any:
        """Return what `fetch` returns; raise SourceUnavailable where it fails, or takes longer than until `ends`."""
        try:
            return self._pool.submit(self._fetch).result(max(0.0, ends - time.monotonic()))
        except TimeoutError_ as error:
            raise SourceUnavailable(f"no credentials of {self._whose} in time") from error
        except Exception as error:  # of any kind, by what the SDK tried; its text may hold a part of a credential
            remedy = "is the pod's service account bound to a role?"
            raise SourceUnavailable(f"no credentials of {self._whose}: {type(error).__name__}; {remedy}") from error


def _secret(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SourceUnavailable(f"the credential file cannot be read: {error}") from error
    except UnicodeDecodeError as error:
        raise SourceUnavailable(f"the credential file {path} is not text in UTF-8") from error
    if not text or not text.isprintable():
        raise SourceUnavailable(f"the credential file {path} is empty, or is not one line of text")
    return text
