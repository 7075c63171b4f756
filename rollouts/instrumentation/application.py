"""The application that asks the model, here a shop: it knows what customers do next, and so it counts that.

pip install flask requests prometheus-client
MODEL_URL=http://fraud-detector/predict flask --app application run --port 8090
"""

import os

import requests
from flask import Flask, Response, jsonify, request, session
from prometheus_client import Counter, Histogram, make_wsgi_app
from werkzeug.middleware.dispatcher import DispatcherMiddleware

# Which version of the model led to it: Prometheus makes it the label that tells the arms apart.
EVENTS = Counter("model_business_events", "What customers did next.", ["event", "answered_by"])
VALUE = Histogram("model_business_value", "Revenue in euros.", ["answered_by"], buckets=(1, 3, 10, 30, 100, 300, 1000))

app = Flask(__name__)
app.secret_key = os.environ.get("SECRET_KEY") or os.urandom(16)
app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/metrics": make_wsgi_app()})


@app.post("/orders")
def order() -> Response:
    """Ask the model, and remember which version answered."""
    answer = requests.post(os.environ["MODEL_URL"], json=request.get_json(), timeout=2)
    answer.raise_for_status()
    session["answered_by"] = answer.headers.get("x-model-version", "")
    EVENTS.labels("conversion", session["answered_by"])  # there from the first answer on, with 0
    return jsonify(answer.json())


@app.post("/payments")
def payment() -> tuple[str, int]:
    """Count a purchase for the version that answered, whichever serves now."""
    EVENTS.labels("conversion", session["answered_by"]).inc()
    VALUE.labels(session["answered_by"]).observe(request.get_json()["euros"])
    return "", 204
