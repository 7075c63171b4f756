"""A model server with the four metrics that a verdict needs: an example of how to instrument one.

Run it with `python -m analyzer.demo.model_server --version v1 --port 8001`, then

    curl -s localhost:8001/predict -d '{"amount_eur": 80, "distance_km": 3, "hour": 14,
                                        "account_age_days": 400, "attempts": 0}'
    curl -s localhost:8001/metrics

The names of the metrics are those of the profile `prometheus-client`. A fault can be built in, to see it
caught. Knows nothing of rollouts and verdicts.
"""

import sys
import zlib
from dataclasses import dataclass

import click
import numpy as np
import orjson
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from analyzer.demo.fraud_model import Transaction, fit
from analyzer.demo.http_server import Reply, serve

# The limits of a latency check (200 and 500 ms by default) must be among these bounds, or it cannot be exact.
DURATION_BOUNDS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5)
SCORE_BOUNDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
# Of the customers whose payment is let through, so many complete the purchase.
PURCHASE_RATIO = 0.48


@dataclass(frozen=True)
class Fault:
    """What is wrong with a version; by default nothing.

    Parameters
    ----------
    error_ratio : so many of the requests are answered with status 500, in [0, 1]
    slow_ratio : so many of the requests take `slow_seconds` longer, in [0, 1]
    slow_seconds : the extra time of a slow request
    kilometre : what one kilometre is taken for; anything but 1 is a mistaken unit
    decline_from : the score from which a payment is declined
    """

    error_ratio: float = 0.0
    slow_ratio: float = 0.0
    slow_seconds: float = 0.7
    kilometre: float = 1.0
    decline_from: float = 0.5


FAULTS = {
    "none": Fault(),
    "errors": Fault(error_ratio=0.06),
    "slow": Fault(slow_ratio=0.05),
    # The distance is taken for metres: every customer seems to be at home. Nothing fails, more is sold.
    "drift": Fault(kilometre=0.001),
    # A decimal point in the wrong place: good customers are declined, at the very same scores.
    "business": Fault(decline_from=0.05),
}


class Metrics:
    """What the server tells Prometheus, one attribute a metric."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        # process_start_time_seconds tells a restart, after which counters begin at 0 again.
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "http_requests", "Requests answered, by HTTP status.", ["status"], registry=self.registry
        )
        self.duration = Histogram(
            "http_request_duration_seconds",
            "Time from request to answer.",
            buckets=DURATION_BOUNDS_SECONDS,
            registry=self.registry,
        )
        self.score = Histogram(
            "model_prediction_score",
            "Score of each prediction.",
            buckets=SCORE_BOUNDS,
            registry=self.registry,
        )
        self.business_events = Counter(
            "model_business_events", "What customers did next.", ["event"], registry=self.registry
        )
        # A series that exists from the start says 0; one born with its first error says nothing until then,
        # and Prometheus' increase() never sees that first one.
        for status in ("200", "400", "500"):
            self.requests.labels(status)
        self.business_events.labels("conversion")


class ModelServer:
    """A version of the fraud model behind POST /predict, and its metrics behind GET /metrics.

    Parameters
    ----------
    version : of the model, such as "v1"
    fault : what is wrong with this version
    """

    def __init__(self, version: str, fault: Fault) -> None:
        self.metrics = Metrics()
        self._version = version
        self._fault = fault
        self._model = fit(version)
        self._rng = np.random.default_rng(zlib.crc32(version.encode()))

    def handle(self, method: str, path: str, body: bytes) -> Reply:
        """Return the answer to one request."""
        match method, path:
            case "POST", "/predict":
                return self._predict(body)
            case "GET", "/metrics":
                return Reply(200, generate_latest(self.metrics.registry), CONTENT_TYPE_PLAIN_0_0_4)
            case _, "/predict" | "/metrics":
                return _error(405, "method not allowed")
            case _:
                return _error(404, "not found")

    def observe(self, path: str, status: int, duration_seconds: float) -> None:
        """Count one answered prediction; a scrape of /metrics is not traffic."""
        if path == "/predict":
            self.metrics.requests.labels(str(status)).inc()
            self.metrics.duration.observe(duration_seconds)

    def _predict(self, body: bytes) -> Reply:
        try:
            transaction: Transaction = orjson.loads(body)
            score = self._model.score(self._in_kilometres(transaction))
        except (KeyError, TypeError, ValueError):
            return _error(400, "send a JSON object with the numbers of one transaction")
        if self._happens(self._fault.error_ratio):
            return _error(500, "the feature store did not answer")
        self.metrics.score.observe(score)
        decision = "decline" if score >= self._fault.decline_from else "approve"
        if decision == "approve" and self._happens(PURCHASE_RATIO):
            self.metrics.business_events.labels("conversion").inc()
        answer = {"score": round(score, 6), "decision": decision, "version": self._version}
        delay_seconds = self._fault.slow_seconds if self._happens(self._fault.slow_ratio) else 0.0
        return Reply(200, orjson.dumps(answer), delay_seconds=delay_seconds)

    def _in_kilometres(self, transaction: Transaction) -> Transaction:
        return {**transaction, "distance_km": transaction["distance_km"] * self._fault.kilometre}

    def _happens(self, ratio: float) -> bool:
        return ratio > 0.0 and float(self._rng.random()) < ratio


def _error(status: int, message: str) -> Reply:
    return Reply(status, orjson.dumps({"error": message}))


def _announce(port: int) -> None:
    sys.stdout.write(f"listening on http://127.0.0.1:{port}\n")
    sys.stdout.flush()


@click.command()
@click.option("--version", default="v1", show_default=True, help="Version of the model.")
@click.option("--port", default=0, show_default=True, type=click.IntRange(0, 65535), help="0: a free one.")
@click.option("--fault", default="none", show_default=True, type=click.Choice(list(FAULTS)))
def main(version: str, port: int, fault: str) -> None:
    """Serve one version of a small fraud model on 127.0.0.1, until Ctrl-C."""
    serve(ModelServer(version, FAULTS[fault]), host="127.0.0.1", port=port, announce=_announce)


if __name__ == "__main__":
    main()
