"""A custom runtime of MLServer. Profile `mlserver`.

pip install mlserver
echo '{"name": "fraud", "implementation": "mlserver_runtime.Fraud"}' > model-settings.json
mlserver start .
"""

import os
from typing import Any

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.metrics.registry import REGISTRY
from mlserver.types import InferenceRequest, InferenceResponse, Parameters, ResponseOutput
from prometheus_client import Counter, Histogram
from scoring import score


def metric(kind: Any, name: str, *about: Any, **options: Any) -> Any:
    """Make a metric, or find it again when MLServer loads the model anew."""
    return REGISTRY[name] if name in REGISTRY else kind(name, *about, **options, registry=REGISTRY)


class Fraud(MLModel):
    """The model behind POST /v2/models/fraud/infer."""

    async def load(self) -> bool:
        """Make the metrics.

        mlserver.log() would do for the scores, but with the edges of the Python client, and it makes no counters.
        """
        edges = [n / 20 for n in range(1, 21)]
        self._score = metric(Histogram, "model_prediction_score", "Score of each prediction.", buckets=edges)
        self._predictions = metric(
            Counter, "model_predictions", "Predictions by class.", labelnames=["predicted_class"]
        )
        for each in ("fraud", "ok"):
            self._predictions.labels(each)  # there from the start, with 0
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Score each row of the first input; what it raises is answered and counted as 500."""
        scores = [score(row) for row in NumpyCodec.decode_input(payload.inputs[0]).tolist()]
        for fraud in scores:
            self._score.observe(fraud)
            self._predictions.labels("fraud" if fraud >= 0.5 else "ok").inc()
        return InferenceResponse(
            model_name=self.name,
            outputs=[ResponseOutput(name="score", shape=[len(scores), 1], datatype="FP64", data=scores)],
            parameters=Parameters(headers={"x-model-version": os.environ.get("MODEL_VERSION", "")}),
        )
