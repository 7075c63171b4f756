"""Flask; prometheus-flask-exporter counts its requests, over all workers of gunicorn. Profile `flask`.

pip install flask gunicorn prometheus-flask-exporter
PROMETHEUS_MULTIPROC_DIR=$(mktemp -d) gunicorn flask_app:app --bind :8080 --workers 2 --config python:flask_app
"""

import os

from flask import Flask, Response, jsonify, request
from prometheus_client import Counter, Histogram
from prometheus_flask_exporter.multiprocess import GunicornInternalPrometheusMetrics
from scoring import score

SCORE = Histogram("model_prediction_score", "Score of each prediction.", buckets=[n / 20 for n in range(1, 21)])
PREDICTIONS = Counter("model_predictions", "Predictions by class.", ["predicted_class"])
for each in ("fraud", "ok"):
    PREDICTIONS.labels(each)  # there from the start, with 0

app = Flask(__name__)
# The limits of the latency check must be among these edges.
GunicornInternalPrometheusMetrics(app, buckets=(0.05, 0.1, 0.2, 0.5, 1.0))


@app.post("/predict")
def predict() -> Response:
    """Score a transaction; what it raises is answered and counted as 500."""
    fraud = score(request.get_json()["features"])
    decision = "fraud" if fraud >= 0.5 else "ok"
    SCORE.observe(fraud)
    PREDICTIONS.labels(decision).inc()
    response = jsonify(score=fraud, decision=decision)
    response.headers["x-model-version"] = os.environ.get("MODEL_VERSION", "")
    return response


@app.get("/healthz")
def healthz() -> str:
    """Answer a probe; the profile leaves this path out."""
    return "ok"


def child_exit(server: object, worker: object) -> None:  # noqa: ARG001 - called by gunicorn with both
    """Let the files of a worker that ended be cleaned up."""
    GunicornInternalPrometheusMetrics.mark_process_dead_on_child_exit(worker.pid)
