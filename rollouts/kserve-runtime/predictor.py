"""KServe's scikit-learn server, which also counts its predictions: the same requests, answers and arguments."""

import argparse
from typing import Any

from kserve import ModelServer, model_server
from prometheus_client import Counter
from sklearnserver import SKLearnModel

# For classifiers: each value is a series, so a regression needs a histogram, model_prediction_score, instead.
PREDICTIONS = Counter("model_predictions", "Predictions, by class.", ["predicted_class"])


class CountingModel(SKLearnModel):
    """Counts each prediction of a request by its class."""

    def postprocess(self, result: Any, *_: Any) -> Any:
        """See the answer before it is sent, which is a dict by the V1 protocol only."""
        v1 = isinstance(result, dict)
        for predicted in result["predictions"] if v1 else result.outputs[0].as_numpy().tolist():
            PREDICTIONS.labels(predicted_class=str(predicted)).inc()
        return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(parents=[model_server.parser])
    parser.add_argument("--model_dir", required=True)
    arguments, _ = parser.parse_known_args()
    model = CountingModel(arguments.model_name, arguments.model_dir)
    model.load()
    ModelServer().start([model])
