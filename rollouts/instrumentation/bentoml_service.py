"""BentoML. Profile `bentoml`.

pip install bentoml
bentoml serve bentoml_service:Fraud --port 8080
"""

import os

import bentoml
from prometheus_client import Counter, Histogram
from scoring import score

SCORE = Histogram("model_prediction_score", "Score of each prediction.", buckets=[n / 20 for n in range(1, 21)])
PREDICTIONS = Counter("model_predictions", "Predictions by class.", ["predicted_class"])


# BentoML adds the metrics of all workers up. The limits of the latency check must be among the edges.
@bentoml.service(workers=2, metrics={"enabled": True, "duration": {"buckets": [0.05, 0.1, 0.2, 0.5, 1.0]}})
class Fraud:
    """The model as a service."""

    @bentoml.api
    def predict(self, features: list[float], context: bentoml.Context) -> dict[str, float | str]:
        """Score a transaction; what it raises is answered and counted as 500."""
        fraud = score(features)
        decision = "fraud" if fraud >= 0.5 else "ok"
        SCORE.observe(fraud)
        PREDICTIONS.labels(decision).inc()
        context.response.headers["x-model-version"] = os.environ.get("MODEL_VERSION", "")
        return {"score": fraud, "decision": decision}
