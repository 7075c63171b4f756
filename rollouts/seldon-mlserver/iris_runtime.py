"""MLServer's scikit-learn runtime, which also logs the scores of its predictions: the same requests and answers."""

import mlserver
from mlserver.codecs import NumpyRequestCodec
from mlserver.types import InferenceRequest, InferenceResponse
from mlserver_sklearn import SKLearnModel


class Iris(SKLearnModel):
    """Logs the probability of the last class, for each row of a request."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer, then ask the model once more: the answer has the class, and no probability."""
        response = await super().predict(payload)
        rows = self.decode_request(payload, default_codec=NumpyRequestCodec)
        for probabilities in self._model.predict_proba(rows):
            mlserver.log(model_prediction_score=float(probabilities[-1]))
        return response
