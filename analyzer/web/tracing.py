"""Traces by OpenTelemetry, an extra that is off by default: a span for each verdict and, within it, for each query."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from analyzer.config.settings import PREFIX
from analyzer.errors import ConfigError, Problem
from analyzer.verdict.judge import Verdict
from analyzer.verdict.request import VerdictRequest
from analyzer.version import __version__
from analyzer.web.event_log import log_event

NAME = "rollout-analyzer"


class _AsEvents(logging.Handler):
    """Writes what OpenTelemetry logs, such as a collector that does not answer, as lines of the event log."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line, of 500 characters at most."""
        log_event("tracing", record.levelno, message=record.getMessage()[:500])


class Tracing:
    """Starts and ends the spans; where they go is in the variables OTEL_EXPORTER_OTLP_*, OTEL_SERVICE_NAME and others.

    Parameters
    ----------
    processor : what takes the spans that have ended; None: OTLP over HTTP, in batches

    Raises
    ------
    ConfigError : the packages of the extra are missing
    """

    def __init__(self, processor: Any = None) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
            from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415
            from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
            from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        except ImportError as error:
            text = f"{error.name} is not installed: pip install 'rollout-analyzer[otel]', or do not set it"
            raise ConfigError([Problem(f"{PREFIX}TRACING", text)]) from error
        for name in ("opentelemetry.sdk", "opentelemetry.exporter"):
            logger = logging.getLogger(name)
            logger.handlers, logger.propagate = [_AsEvents()], False
        about = Resource({"service.name": NAME, "service.version": __version__}).merge(OTELResourceDetector().detect())
        self.provider = TracerProvider(resource=about)
        self.provider.add_span_processor(processor or BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self.provider.get_tracer(NAME, __version__)

    @contextmanager
    def verdict(self, request: VerdictRequest) -> Iterator[Callable[[Verdict], None]]:
        """Hold the span of a verdict; yields what takes the verdict."""
        named = {"service": request.service, "namespace": request.namespace, "canary": request.canary}
        known = {f"analyzer.{name}": value for name, value in named.items() if value is not None}
        with self._tracer.start_as_current_span("verdict", attributes=known) as span:

            def end(verdict: Verdict) -> None:
                span.set_attribute("analyzer.policy", verdict.policy.name)
                span.set_attribute("analyzer.outcome", verdict.outcome.value)
                span.set_attribute("analyzer.code", [finding.code.value for finding in verdict.findings.values()])

            yield end

    def query(self, seconds: float, reason: str | None) -> None:
        """Add the span of a query that has just ended: how long it took, and the error's reason or None."""
        ended = time.time_ns()
        span = self._tracer.start_span("query", start_time=ended - int(seconds * 1e9))
        if reason is not None:
            span.set_attribute("error.type", reason)
        span.end(ended)
