"""Seldon Core v1's Python wrapper. Profile `seldon-v1`.

pip install seldon-core
seldon-core-microservice seldon_model.Fraud --http-port 9000 --metrics-port 6000
"""

import os
import threading
from typing import Any

from scoring import score


class Fraud:
    """The model behind POST /api/v1.0/predictions."""

    def __init__(self) -> None:
        self._local = threading.local()

    def predict(self, X: Any, names: list[str]) -> list[list[float]]:  # noqa: N803, ARG002 - as the wrapper calls it
        """Score each row; what it raises is answered as 500."""
        scores = [score(row) for row in X.tolist()]
        self._local.classes = ["fraud" if fraud >= 0.5 else "ok" for fraud in scores]
        return [[fraud] for fraud in scores]

    def metrics(self) -> list[dict[str, Any]]:
        """Count what was just predicted; called by the wrapper after each predict, in its thread."""
        classes, self._local.classes = getattr(self._local, "classes", []), []
        return [
            {"type": "COUNTER", "key": "model_predictions", "value": 1, "tags": {"predicted_class": each}}
            for each in classes
        ]

    def tags(self) -> dict[str, str]:
        """Say in meta.tags of the answer which version it is of."""
        return {"model-version": os.environ.get("MODEL_VERSION", "")}
