"""Ray Serve. Profile `ray-serve`.

pip install "ray[serve]"
serve run ray_serve_app:app
"""

import os

from ray import serve
from ray.serve.metrics import Counter, Histogram
from scoring import score
from starlette.requests import Request
from starlette.responses import JSONResponse


@serve.deployment
class Fraud:
    """The model behind POST /."""

    def __init__(self) -> None:
        # Made inside the replica, whose labels they get. Ray puts ray_ in front of the names.
        self._score = Histogram(
            "model_prediction_score", "Score of each prediction.", boundaries=[n / 20 for n in range(1, 21)]
        )
        self._predictions = Counter("model_predictions", "Predictions by class.", ("predicted_class",))

    async def __call__(self, request: Request) -> JSONResponse:
        """Score a transaction; what it raises is answered and counted as 500."""
        fraud = score((await request.json())["features"])
        decision = "fraud" if fraud >= 0.5 else "ok"
        self._score.observe(fraud)
        self._predictions.inc(tags={"predicted_class": decision})
        headers = {"x-model-version": os.environ.get("MODEL_VERSION", "")}
        return JSONResponse({"score": fraud, "decision": decision}, headers=headers)


app = Fraud.bind()
