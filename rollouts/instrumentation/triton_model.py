"""Triton's Python backend: model.py of a model repository. Profile `triton`.

models/fraud/1/model.py     this file
models/fraud/1/scoring.py
tritonserver --model-repository models
"""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

sys.path.append(str(Path(__file__).parent))
from scoring import score


class TritonPythonModel:
    """The model behind POST /v2/models/fraud/infer."""

    @staticmethod
    def auto_complete_config(config: Any) -> Any:
        """Say what goes in and out, as config.pbtxt would."""
        config.add_input({"name": "features", "data_type": "TYPE_FP64", "dims": [-1]})
        config.add_output({"name": "score", "data_type": "TYPE_FP64", "dims": [1]})
        config.add_output({"name": "version", "data_type": "TYPE_STRING", "dims": [1]})
        config.set_max_batch_size(0)
        return config

    def initialize(self, _: dict[str, Any]) -> None:
        """Make the metrics. Older versions of Triton have no histograms: there the counter alone tells the drift."""
        self._families = (
            scores := pb_utils.MetricFamily(
                name="model_prediction_score",
                description="Score of each prediction.",
                kind=pb_utils.MetricFamily.HISTOGRAM,
            ),
            predictions := pb_utils.MetricFamily(
                name="model_predictions_total", description="Predictions by class.", kind=pb_utils.MetricFamily.COUNTER
            ),
        )
        self._score = scores.Metric(labels={}, buckets=[n / 20 for n in range(1, 21)])
        self._predictions = {each: predictions.Metric(labels={"predicted_class": each}) for each in ("fraud", "ok")}

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer requests; without dynamic_batching it is one at a time.

        What it raises is counted as a failure. An answer with a TritonError would be counted as a success.
        """
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        fraud = score(pb_utils.get_input_tensor_by_name(request, "features").as_numpy().tolist())
        self._score.observe(fraud)
        self._predictions["fraud" if fraud >= 0.5 else "ok"].increment(1)
        version = np.array([os.environ.get("MODEL_VERSION", "")], dtype=object)
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor("score", np.array([fraud])), pb_utils.Tensor("version", version)]
        )
