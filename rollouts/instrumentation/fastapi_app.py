"""FastAPI; prometheus-fastapi-instrumentator counts its requests, over all workers. Profile `fastapi`.

pip install fastapi uvicorn prometheus-fastapi-instrumentator
PROMETHEUS_MULTIPROC_DIR=$(mktemp -d) uvicorn fastapi_app:app --port 8080 --workers 2
"""

import os

from fastapi import FastAPI, Response
from prometheus_client import Counter, Histogram
from prometheus_fastapi_instrumentator import Instrumentator, metrics
from pydantic import BaseModel
from scoring import score

SCORE = Histogram("model_prediction_score", "Score of each prediction.", buckets=[n / 20 for n in range(1, 21)])
PREDICTIONS = Counter("model_predictions", "Predictions by class.", ["predicted_class"])
for each in ("fraud", "ok"):
    PREDICTIONS.labels(each)  # there from the start, with 0


class Transaction(BaseModel):
    """What is asked."""

    features: list[float]


app = FastAPI()
# The limits of the latency check must be among these edges.
Instrumentator().add(metrics.default(latency_lowr_buckets=(0.05, 0.1, 0.2, 0.5, 1))).instrument(app).expose(app)


@app.post("/predict")
def predict(transaction: Transaction, response: Response) -> dict[str, float | str]:
    """Score a transaction; what it raises is answered and counted as 500."""
    fraud = score(transaction.features)
    decision = "fraud" if fraud >= 0.5 else "ok"
    SCORE.observe(fraud)
    PREDICTIONS.labels(decision).inc()
    response.headers["x-model-version"] = os.environ.get("MODEL_VERSION", "")
    return {"score": fraud, "decision": decision}


@app.get("/healthz")
def healthz() -> str:
    """Answer a probe; the profile leaves this path out."""
    return "ok"
