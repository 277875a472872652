"""The same request gives the same numbers in process and on a real Triton."""

from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from services.common import errors
from services.common.inference.embedded import EmbeddedInference
from services.common.inference.repository import Repository
from services.common.inference.triton import TritonInference
from services.common.settings import Settings

pytestmark = pytest.mark.slow

ROOT = Settings().model_repository
MODELS = sorted(path.parent.name for path in ROOT.glob("*/config.pbtxt"))

TYPES: dict[str, Any] = {
    "TYPE_FP32": np.float32,
    "TYPE_INT64": np.int64,
    "TYPE_INT32": np.int32,
    "TYPE_UINT8": np.uint8,
}


@pytest.fixture
async def pair(triton: str) -> AsyncIterator[tuple[EmbeddedInference, TritonInference]]:
    repository = Repository(ROOT)
    embedded, remote = EmbeddedInference(repository, 1), TritonInference(repository, triton)
    yield embedded, remote
    await remote.close()
    await embedded.close()


def example(model: str) -> dict[str, np.ndarray]:
    """A valid input of the model, its free dimensions set to a length that every model takes."""
    config = Repository(ROOT)[model].config
    random = np.random.default_rng(7)
    inputs = {}
    for tensor in config.input:
        shape = [size if size > 0 else 64 for size in tensor.dims]
        if config.max_batch_size:
            shape = [1, *shape]
        kind = TYPES[
            tensor.DESCRIPTOR.fields_by_name["data_type"]
            .enum_type.values_by_number[tensor.data_type]
            .name
        ]
        if np.issubdtype(kind, np.integer):
            inputs[tensor.name] = random.integers(1, 2, shape).astype(kind)
        else:
            inputs[tensor.name] = random.random(shape).astype(kind)
    return inputs


@pytest.mark.parametrize("model", MODELS)
async def test_numbers_are_the_same_on_both(
    pair: tuple[EmbeddedInference, TritonInference], model: str
) -> None:
    embedded, remote = pair
    await remote.load(model)
    inputs = example(model)
    here, there = await embedded.infer(model, inputs), await remote.infer(model, inputs)
    assert here.keys() == there.keys()
    for name, array in here.items():
        np.testing.assert_allclose(there[name], array, rtol=1e-3, atol=1e-4)
    assert remote.info(model) == embedded.info(model)


async def test_a_server_that_is_gone_is_unavailable() -> None:
    remote = TritonInference(Repository(ROOT), "127.0.0.1:1")
    with pytest.raises(errors.Unavailable):
        await remote.infer(MODELS[0], example(MODELS[0]))
    with pytest.raises(errors.Unavailable):
        await remote.load(MODELS[0])
    await remote.close()
