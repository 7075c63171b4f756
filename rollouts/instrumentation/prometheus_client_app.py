"""Any WSGI application, here Flask, that counts its requests itself. Profile `prometheus-client`.

pip install flask gunicorn prometheus-client
gunicorn prometheus_client_app:app --bind :8080 --threads 8
"""

import os
import time

from flask import Flask, Response, g, jsonify, request
from prometheus_client import Counter, Histogram, make_wsgi_app
from scoring import score
from werkzeug.middleware.dispatcher import DispatcherMiddleware

REQUESTS = Counter("http_requests", "Predictions answered.", ["status"])
# The limits of the latency check must be among these edges.
DURATION = Histogram("http_request_duration_seconds", "Time to the answer.", buckets=(0.05, 0.1, 0.2, 0.5, 1))
SCORE = Histogram("model_prediction_score", "Score of each prediction.", buckets=[n / 20 for n in range(1, 21)])
PREDICTIONS = Counter("model_predictions", "Predictions by class.", ["predicted_class"])
for each in ("200", "500"):
    REQUESTS.labels(each)  # there from the start, with 0
for each in ("fraud", "ok"):
    PREDICTIONS.labels(each)

app = Flask(__name__)
app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/metrics": make_wsgi_app()})


@app.before_request
def begin() -> None:
    """Note the time."""
    g.began = time.perf_counter()


@app.after_request
def count(response: Response) -> Response:
    """Count an answer, also that to an exception; probes have another path."""
    if request.path == "/predict":
        REQUESTS.labels(str(response.status_code)).inc()
        DURATION.observe(time.perf_counter() - g.began)
    response.headers["x-model-version"] = os.environ.get("MODEL_VERSION", "")
    return response


@app.post("/predict")
def predict() -> Response:
    """Score a transaction."""
    fraud = score(request.get_json()["features"])
    decision = "fraud" if fraud >= 0.5 else "ok"
    SCORE.observe(fraud)
    PREDICTIONS.labels(decision).inc()
    return jsonify(score=fraud, decision=decision)


@app.get("/healthz")
def healthz() -> str:
    """Answer a probe."""
    return "ok"
