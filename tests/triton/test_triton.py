"""The same request gives the same numbers in process and on a real Triton."""

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from services.common import errors
from services.common.inference import Next
from services.common.inference.embedded import EmbeddedInference
from services.common.inference.repository import DIGEST, Repository
from services.common.inference.triton import TritonInference
from services.common.settings import Settings
from tests.triton.server import TritonServer

pytestmark = pytest.mark.slow

_SETTINGS = Settings()
MODELS = Repository(_SETTINGS.model_repository, _SETTINGS.research_repository).names()

RELATIVE, ABSOLUTE = 1e-3, 1e-4
"""Most that an output may differ by: two builds of ONNX Runtime round differently, above all where
models are quantized."""


@pytest.fixture
async def pair(
    triton: TritonServer, repository: Repository
) -> AsyncIterator[tuple[EmbeddedInference, TritonInference]]:
    embedded = EmbeddedInference(repository, 1)
    remote = TritonInference(repository, triton.url)
    yield embedded, remote
    await remote.close()
    await embedded.close()


@pytest.mark.parametrize("model", MODELS)
async def test_numbers_are_the_same_on_both(
    pair: tuple[EmbeddedInference, TritonInference], repository: Repository, model: str
) -> None:
    embedded, remote = pair
    await remote.load(model)
    inputs = repository[model].example()
    here, there = await embedded.infer(model, inputs), await remote.infer(model, inputs)
    assert here.keys() == there.keys()
    for name, array in here.items():
        np.testing.assert_allclose(there[name], array, RELATIVE, ABSOLUTE)
    assert remote.info(model) == embedded.info(model)


async def test_a_model_that_goes_on_gives_the_same_numbers_on_both(
    pair: tuple[EmbeddedInference, TritonInference], repository: Repository
) -> None:
    inputs = repository["text_affect"].example()
    then = Next("text_dimensions", {"mask": np.ones(inputs["ids"].shape, np.float32)})
    here, there = [await one.infer("text_affect", inputs, ("emotions",), then) for one in pair]
    assert here.keys() == there.keys() == {"emotions", "dimensions"}
    for name, array in here.items():
        np.testing.assert_allclose(there[name], array, RELATIVE, ABSOLUTE)


async def test_server_says_the_digest_of_every_model(
    pair: tuple[EmbeddedInference, TritonInference], repository: Repository
) -> None:
    for model in MODELS:
        found = await pair[1]._client.get_model_config(model)
        assert found.config.parameters[DIGEST].string_value == repository[model].info.digest
        assert found.config.model_warmup
        (group,) = repository[model].config.instance_group
        assert found.config.instance_group[0].count == group.count


async def test_other_weights_than_the_repository_holds_are_refused(
    triton: TritonServer, repository: Repository, tmp_path: Path
) -> None:
    source = repository["text_dimensions"]
    folder = tmp_path / "text_dimensions"
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text((source.path / "config.pbtxt").read_text())
    (folder / "1" / "model.onnx").write_bytes(source.weights.read_bytes() + b"\0")
    remote = TritonInference(Repository(tmp_path), triton.url)
    with pytest.raises(errors.Unavailable, match="other weights of text_dimensions"):
        await remote.load("text_dimensions")
    await remote.close()


async def test_wrong_input_is_our_fault_and_is_not_repeated(
    pair: tuple[EmbeddedInference, TritonInference], repository: Repository
) -> None:
    for _ in range(5):
        with pytest.raises(errors.Internal):
            await pair[1].infer("text_dimensions", {"states": np.zeros((1, 3), np.float32)})
    inputs = repository["text_dimensions"].example()
    assert (await pair[1].infer("text_dimensions", inputs))["dimensions"].shape == (1, 3)
