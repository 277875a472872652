"""Runs the models on NVIDIA Triton, which batches."""

import numpy as np
from tritonclient.grpc import InferInput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from services.common import errors, metrics
from services.common.inference import Arrays, ModelInfo
from services.common.inference.repository import Repository

_TIMEOUT_S = 30


class TritonInference:
    """Inference over the KServe v2 protocol; what is known of a model comes from the repository."""

    def __init__(self, repository: Repository, url: str) -> None:
        self._repository = repository
        self._client = InferenceServerClient(url)

    async def load(self, *models: str) -> None:
        for model in models:
            try:
                ready = await self._client.is_model_ready(model, client_timeout=_TIMEOUT_S)
            except InferenceServerException as error:
                raise _unavailable(model, error) from error
            if not ready:
                raise errors.Unavailable(f"Triton does not serve the model {model}.")

    async def infer(self, model: str, inputs: Arrays) -> dict[str, np.ndarray]:
        try:
            with metrics.MODEL_SECONDS.labels(model).time():
                result = await self._client.infer(
                    model, [_input(*item) for item in inputs.items()], client_timeout=_TIMEOUT_S
                )
        except InferenceServerException as error:
            raise _unavailable(model, error) from error
        names = (output.name for output in result.get_response().outputs)
        return {name: result.as_numpy(name) for name in names}

    def info(self, model: str) -> ModelInfo:
        return self._repository[model].info

    async def close(self) -> None:
        await self._client.close()


def _unavailable(model: str, error: InferenceServerException) -> errors.Unavailable:
    return errors.Unavailable(
        f"The model {model} is not answering.",
        reason=str(error.message()),
        suggestion="Try again in a few seconds.",
        retry_after="2",
    )


def _input(name: str, array: np.ndarray) -> InferInput:
    tensor = InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
    tensor.set_data_from_numpy(array)
    return tensor
