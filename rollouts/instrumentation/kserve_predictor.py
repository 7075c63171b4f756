"""A custom predictor of KServe. Profile `kserve-python`.

pip install kserve
python kserve_predictor.py --model_name fraud
"""

import argparse
import os
from typing import Any

from kserve import Model, ModelServer, model_server
from prometheus_client import Counter, Histogram
from scoring import score

SCORE = Histogram("model_prediction_score", "Score of each prediction.", buckets=[n / 20 for n in range(1, 21)])
PREDICTIONS = Counter("model_predictions", "Predictions by class.", ["predicted_class"])
for each in ("fraud", "ok"):
    PREDICTIONS.labels(each)  # there from the start, with 0


class Fraud(Model):
    """The model behind POST /v1/models/fraud:predict."""

    def load(self) -> bool:
        """Be ready."""
        self.ready = True
        return self.ready

    async def predict(
        self,
        payload: dict[str, Any],
        headers: dict[str, str] | None = None,  # noqa: ARG002 - of the request
        response_headers: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        """Score each instance of a request; of what it raises KServe counts the time, and no error."""
        predictions = [score(features) for features in payload["instances"]]
        for fraud in predictions:
            SCORE.observe(fraud)
            PREDICTIONS.labels("fraud" if fraud >= 0.5 else "ok").inc()
        response_headers["x-model-version"] = os.environ.get("MODEL_VERSION", "")
        return {"predictions": predictions}


if __name__ == "__main__":
    arguments, _ = argparse.ArgumentParser(parents=[model_server.parser]).parse_known_args()
    model = Fraud(arguments.model_name, return_response_headers=True)
    model.load()
    ModelServer().start([model])
