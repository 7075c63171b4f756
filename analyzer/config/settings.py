"""The settings of the service: environment variables that begin with ANALYZER_, and the files they name."""

import os
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

import orjson
from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from analyzer.config.validation import problems_of
from analyzer.errors import ConfigError, Problem
from analyzer.quantity import Seconds, nearest

PREFIX = "ANALYZER_"
WAYS_TO_ASK = ("prometheus_auth", "prometheus_token_file", "prometheus_username")
# Kubernetes sets the first for a Service named analyzer, the tests the second.
SET_BY_OTHERS = re.compile(r"ANALYZER_(SERVICE_(HOST|PORT)|PORT(_\d|$)|REQUIRE_)")


class SourceName(StrEnum):
    """Where counts come from."""

    SCRAPE = "scrape"
    PROMETHEUS = "prometheus"


class OnSourceError(StrEnum):
    """What a source that does not answer becomes: an inconclusive verdict, or HTTP 503."""

    INCONCLUSIVE = "inconclusive"
    ERROR = "error"


class Method(StrEnum):
    """How Prometheus is asked."""

    POST = "POST"
    GET = "GET"


class Identity(StrEnum):
    """Of the pod in a cloud, by which Prometheus knows it."""

    AWS = "aws"
    GOOGLE = "google"


def _address(value: object) -> str:
    return _address_in(str(value), str(value))


def _address_in(whole: str, text: str) -> str:
    """Check an address, which is a part of the whole that was given."""
    try:
        parts = urlsplit(text)
        possible = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port or an IPv6 address that cannot be
        possible = False
    if "@" in whole and (not possible or "@" in parts.netloc):  # not shown: what stands before it may be a password
        raise ValueError("must not contain credentials: use the settings for user and password, or a token file")
    if not possible:
        raise ValueError(f"{text[:80]!r} is no address: write http://host:port or https://host/path")
    return text.rstrip("/")


def _targets(value: object) -> dict[str, list[str]]:
    """Read ``v1=http://a/metrics,v2=http://b/metrics``; a name may occur several times."""
    if isinstance(value, dict):
        return {str(name): [_address(address) for address in addresses] for name, addresses in value.items()}
    targets: dict[str, list[str]] = {}
    whole = str(value)
    for part in filter(None, (part.strip() for part in whole.split(","))):
        name, separator, address = part.partition("=")
        if not separator or not name.strip():
            shown = "an address" if "@" in whole else repr(part[:60])
            raise ValueError(f"{shown} lacks a name: write arm=http://host:port/metrics")
        targets.setdefault(name.strip(), []).append(_address_in(whole, address.strip()))
    return targets


def _mapping(value: object) -> dict[str, str]:
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError as error:
            raise ValueError(f'must be a JSON object such as {{"X-Scope-OrgID": "team-a"}}: {error}') from error
    if not isinstance(value, dict):
        raise ValueError('must be a JSON object such as {"X-Scope-OrgID": "team-a"}')  # noqa: TRY004
    return {str(name): str(text) for name, text in value.items()}


Address = Annotated[str, BeforeValidator(_address)]
Texts = Annotated[dict[str, str], NoDecode, BeforeValidator(_mapping)]


class Settings(BaseSettings):
    """Each field is the environment variable ANALYZER_ and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    source: SourceName = Field(SourceName.SCRAPE, description="where counts come from: scrape, prometheus")
    scrape_targets: Annotated[dict[str, list[str]], NoDecode, BeforeValidator(_targets)] = Field(
        default={}, description="source scrape: arm=http://host:port/metrics, comma-separated; a name may repeat"
    )
    scrape_max_page: int = Field(4 * 2**20, ge=1024, description="source scrape: bytes of a page, above: it is refused")
    prometheus_url: Address = Field("http://localhost:9090", description="up to and without /api/v1")
    prometheus_ui_url: Address | None = Field(
        None, description="for links to its page in reports; left out: prometheus_url"
    )
    prometheus_method: Method = Field(Method.POST, description="POST, or GET for engines that refuse POST")
    prometheus_timeout: Seconds = Field(5.0, gt=0, description="for one query")
    prometheus_token_file: Path | None = Field(None, description="bearer token, read anew for every query")
    prometheus_username: str | None = Field(None, description="for basic authentication")
    prometheus_password_file: Path | None = Field(None, description="for basic authentication")
    prometheus_auth: Identity | None = Field(
        None, description="the pod's identity in a cloud: aws (SigV4), google (access token); needs the extra `cloud`"
    )
    prometheus_ca_file: Path | None = Field(None, description="certificate authority of an own PKI")
    prometheus_cert_file: Path | None = Field(None, description="client certificate (mTLS)")
    prometheus_key_file: Path | None = Field(None, description="its key, if it is not in the same file")
    prometheus_headers: Texts = Field(default={}, description="JSON object, such as the tenant X-Scope-OrgID")
    prometheus_parameters: Texts = Field(default={}, description="JSON object, such as Thanos' partial_response")
    prometheus_lookback: Seconds = Field(7 * 86400.0, gt=0, description="how far back a canary may have begun")
    prometheus_max_samples: int = Field(
        120_000, ge=1000, description="for one verdict; above, the server adds series up"
    )
    profile: str = Field("prometheus-client", description="for requests that name none")
    policy: str = Field("ml-model", description="for requests that name none")
    config_dir: Path | None = Field(None, description="folder with policies/ and profiles/, which add to the packaged")
    deadline: Seconds = Field(8.0, gt=0, le=60, description="for a whole verdict; below the 10 s that Argo waits")
    on_source_error: OnSourceError = Field(
        OnSourceError.INCONCLUSIVE, description="what a source that does not answer becomes: inconclusive, error (503)"
    )
    token_file: Path | None = Field(None, description="bearer token that callers must show; none: no token asked")
    metrics_token_file: Path | None = Field(None, description="bearer token for /metrics; none: no token asked there")
    max_body: int = Field(2**20, ge=1024, description="bytes of a request, above: 413")
    tracing: bool = Field(
        default=False, description="OpenTelemetry traces over OTLP, to OTEL_EXPORTER_OTLP_ENDPOINT; needs extra `otel`"
    )
    threads: int = Field(16, ge=2, le=256, description="requests served at the same time")

    @property
    def link_to_prometheus(self) -> str | None:
        """Address of Prometheus' page for links; None where counts come from elsewhere."""
        return (self.prometheus_ui_url or self.prometheus_url) if self.source is SourceName.PROMETHEUS else None

    @model_validator(mode="after")
    def _files_are_there(self) -> Self:
        for name in ("token_file", "metrics_token_file", "prometheus_token_file", "prometheus_password_file",
                     "prometheus_ca_file", "prometheus_cert_file", "prometheus_key_file"):  # fmt: skip
            path: Path | None = getattr(self, name)
            if path is not None and not path.is_file():
                raise ValueError(f"{name}: there is no file {path}")
        ways = [name for name in WAYS_TO_ASK if getattr(self, name)]
        if len(ways) > 1:
            raise ValueError(f"{ways[1]}: set it or {ways[0]}, not both")
        if self.config_dir is not None and not self.config_dir.is_dir():
            raise ValueError(f"config_dir: there is no folder {self.config_dir}")
        return self


def load_settings() -> Settings:
    """Read the settings from the environment.

    Raises
    ------
    ConfigError : naming every variable that is wrong, or that is not known
    """
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    unknown = [
        Problem(name, f"unknown setting; {nearest(name, known)}")
        for name in sorted(os.environ)
        if name.startswith(PREFIX) and name not in known and not SET_BY_OTHERS.match(name)
    ]
    if unknown:
        raise ConfigError(unknown)
    try:
        return Settings()
    except ValidationError as error:
        raise ConfigError([_named(problem) for problem in problems_of(error, Settings)]) from error


def _named(problem: Problem) -> Problem:
    """Name the environment variable instead of the field."""
    return Problem(f"{PREFIX}{problem.field.upper()}", problem.message)
