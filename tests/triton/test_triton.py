"""The same request gives the same numbers in process and on a real Triton."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from services.common import errors
from services.common.inference import Next, ensembles
from services.common.inference.embedded import EmbeddedInference
from services.common.inference.repository import DIGEST, Repository
from services.common.inference.triton import TritonInference
from services.common.settings import Settings
from tests.triton.server import TritonServer

pytestmark = pytest.mark.slow

_SETTINGS = Settings()
REPOSITORY = Repository(_SETTINGS.model_repository, _SETTINGS.research_repository)
MODELS = REPOSITORY.names()
ENSEMBLE = "text_affect_text_dimensions"

RELATIVE, ABSOLUTE = 1e-3, 1e-4
"""Most that an output may differ by, the same version of ONNX Runtime on both sides."""


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
    embedded, remote = pair
    inputs = repository["text_affect"].example()
    then = Next("text_dimensions", {"mask": np.ones(inputs["ids"].shape, np.float32)})

    async def found(inference: EmbeddedInference | TritonInference) -> dict[str, np.ndarray]:
        return await inference.infer("text_affect", inputs, ("emotions",), then)

    async def ensemble_runs() -> int:
        statistics = await remote._client.get_inference_statistics(ENSEMBLE)
        return int(statistics.model_stats[0].inference_count)

    here, by_two_calls, before = await found(embedded), await found(remote), await ensemble_runs()
    await remote.load("text_affect", "text_dimensions")
    by_one_call = await found(remote)
    async with asyncio.timeout(10):
        while await ensemble_runs() == before:  # noqa: ASYNC110 - counted once the answer is out
            await asyncio.sleep(0.05)
    for there in (by_two_calls, by_one_call):
        assert here.keys() == there.keys() == {"emotions", "dimensions"}
        for name, array in here.items():
            np.testing.assert_allclose(there[name], array, RELATIVE, ABSOLUTE)


async def test_without_its_ensemble_a_model_that_goes_on_is_called_by_itself(
    pair: tuple[EmbeddedInference, TritonInference], repository: Repository
) -> None:
    remote = pair[1]
    await remote.load("text_affect", "text_dimensions")
    inputs = repository["text_affect"].example()
    then = Next("text_dimensions", {"mask": np.ones(inputs["ids"].shape, np.float32)})
    await remote._client.unload_model(ENSEMBLE, unload_dependents=False)
    try:
        found = await remote.infer("text_affect", inputs, (), then)
    finally:
        await remote._client.load_model(ENSEMBLE)
    assert found.keys() == {*repository["text_affect"].outputs, "dimensions"} - {"states"}
    assert await remote.ready()
    assert ENSEMBLE in remote._ensembles


@pytest.mark.parametrize("first_and_then", ensembles.pairs(REPOSITORY))
async def test_every_pair_is_an_ensemble_that_answers(
    pair: tuple[EmbeddedInference, TritonInference],
    repository: Repository,
    first_and_then: tuple[str, str],
) -> None:
    first, then = first_and_then
    await pair[1].load(first, then)
    assert ensembles.name(first, then) in pair[1]._ensembles
    handed = set(repository[first].outputs)
    given = {k: v for k, v in repository[then].example().items() if k not in handed}
    here, there = [
        await one.infer(first, repository[first].example(), (), Next(then, given)) for one in pair
    ]
    assert here.keys() == there.keys()
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
