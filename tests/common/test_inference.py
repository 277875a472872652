"""Models run in process: what is batched, what fails, and what is known of a model."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from services.common import errors, metrics
from services.common.inference import Next
from services.common.inference.embedded import EmbeddedInference
from services.common.inference.open import open_inference
from services.common.inference.repository import Repository
from services.common.settings import Settings
from tests.common.onnx_bytes import FLOAT, INT64, write_model

TABLE = np.array([10.0, 11.0, 12.0, 13.0])

DOUBLE = """
platform: "onnxruntime_onnx"
max_batch_size: 8
dynamic_batching { max_queue_delay_microseconds: 1000 }
parameters { key: "version" value { string_value: "2.1.0" } }
parameters { key: "calibration" value { string_value: "held-out set, ECE 0.02" } }
parameters { key: "labels" value { string_value: "anger,fear" } }
"""
LOOKUP = """
platform: "onnxruntime_onnx"
max_batch_size: 8
dynamic_batching { }
"""
SINGLE = """
platform: "onnxruntime_onnx"
max_batch_size: 0
"""
ADDERS = {
    "double": DOUBLE,
    "single": SINGLE,
    "shared": DOUBLE + "instance_group [ { count: 2 } ]",
    "bounded": DOUBLE + 'parameters { key: "run_tokens" value { string_value: "7" } }',
}
"""Models that add their input to itself, and their configurations."""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for name, config in ADDERS.items():
        write_model(
            tmp_path,
            name,
            operator="Add",
            inputs=[("x", FLOAT, ["batch", "length"])],
            output=("y", FLOAT, ["batch", "length"]),
            arguments=["x", "x"],
            config=config,
        )
    write_model(
        tmp_path,
        "product",
        operator="Mul",
        inputs=[("y", FLOAT, ["batch", "length"]), ("z", FLOAT, ["batch", "length"])],
        output=("product", FLOAT, ["batch", "length"]),
        arguments=["y", "z"],
        config=DOUBLE,
    )
    write_model(
        tmp_path,
        "lookup",
        operator="Gather",
        inputs=[("index", INT64, ["batch", 1])],
        output=("value", FLOAT, ["batch", 1]),
        constant=("table", TABLE),
        arguments=["table", "index"],
        config=LOOKUP,
    )
    return tmp_path


@pytest.fixture
async def inference(repository: Path) -> AsyncIterator[EmbeddedInference]:
    inference = EmbeddedInference(Repository(repository), threads=1)
    yield inference
    await inference.close()


def runs(model: str) -> tuple[float, float]:
    """How often the model has run, and over how many inputs, in this process."""
    samples = {
        sample.name.removeprefix("affectmesh_model_batch_size"): sample.value
        for family in metrics.MODEL_BATCH_SIZE.collect()
        for sample in family.samples
        if sample.labels == {"model": model}
    }
    return samples.get("_count", 0.0), samples.get("_sum", 0.0)


async def double(inference: EmbeddedInference, values: np.ndarray) -> np.ndarray:
    return (await inference.infer("double", {"x": values}))["y"]


async def look_up(inference: EmbeddedInference, *indexes: int) -> list[float]:
    index = np.array(indexes, np.int64)[:, None]
    found: list[float] = (await inference.infer("lookup", {"index": index}))["value"][:, 0].tolist()
    return found


async def test_concurrent_calls_of_equal_shape_share_runs_and_get_their_own_numbers(
    inference: EmbeddedInference,
) -> None:
    random = np.random.default_rng(1)
    calls = [random.random((1, 3), np.float32) for _ in range(20)]
    before = runs("double")
    together = await asyncio.gather(*(double(inference, values) for values in calls))
    after = runs("double")
    assert (after[0] - before[0], after[1] - before[1]) == (3, 20)
    for values, result in zip(calls, together, strict=True):
        np.testing.assert_array_equal(result, values * 2)
        np.testing.assert_array_equal(result, await double(inference, values))


async def test_calls_of_several_rows_get_all_their_rows(inference: EmbeddedInference) -> None:
    calls = [np.full((rows, 2), rows, np.float32) for rows in (1, 3, 2, 8, 5)]
    for values, result in zip(
        calls, await asyncio.gather(*(double(inference, one) for one in calls)), strict=True
    ):
        np.testing.assert_array_equal(result, values * 2)


async def test_a_call_larger_than_a_batch_is_still_answered(inference: EmbeddedInference) -> None:
    values = np.ones((20, 2), np.float32)
    np.testing.assert_array_equal(await double(inference, values), values * 2)


async def test_calls_of_other_shapes_are_not_joined(inference: EmbeddedInference) -> None:
    calls = [np.ones((1, length), np.float32) for length in (2, 3, 2, 4, 3)]
    before = runs("double")
    together = await asyncio.gather(*(double(inference, values) for values in calls))
    assert runs("double")[0] - before[0] == 3
    assert [result.shape for result in together] == [values.shape for values in calls]


async def test_without_dynamic_batching_each_call_is_a_run(inference: EmbeddedInference) -> None:
    values = np.ones((1, 2), np.float32)
    before = runs("single")
    await asyncio.gather(*(inference.infer("single", {"x": values}) for _ in range(3)))
    assert runs("single")[0] - before[0] == 3


async def double_times(
    inference: EmbeddedInference, x: np.ndarray, z: np.ndarray, *outputs: str
) -> dict[str, np.ndarray]:
    return await inference.infer("double", {"x": x}, outputs, Next("product", {"z": z}))


async def test_a_model_goes_on_in_the_same_run_from_what_another_makes(
    inference: EmbeddedInference,
) -> None:
    random = np.random.default_rng(2)
    calls = [random.random((2, rows, 3), np.float32) for rows in (1, 2, 1, 3)]
    before = [runs(model) for model in ("double", "product")]
    together = await asyncio.gather(*(double_times(inference, x, z) for x, z in calls))
    after = [runs(model) for model in ("double", "product")]
    assert [(b[0] - a[0], b[1] - a[1]) for a, b in zip(before, after, strict=True)] == [(1, 7)] * 2
    for (x, z), found in zip(calls, together, strict=True):
        assert found.keys() == {"product"}
        np.testing.assert_array_equal(found["product"], 2 * x * z)


async def test_what_is_handed_on_is_given_where_it_is_named(inference: EmbeddedInference) -> None:
    x = np.ones((1, 2), np.float32)
    found = await double_times(inference, x, 3 * x, "y")
    assert {name: array.tolist() for name, array in found.items()} == {
        "y": [[2.0, 2.0]],
        "product": [[6.0, 6.0]],
    }


async def test_only_calls_that_go_on_alike_are_joined(inference: EmbeddedInference) -> None:
    x = np.ones((1, 3), np.float32)
    good, wide, alone, bad, again = await asyncio.gather(
        double_times(inference, x, x),
        double_times(inference, x, np.ones((1, 1), np.float32)),
        double(inference, x),
        double_times(inference, x, np.ones((1, 2), np.float32)),
        double_times(inference, x, x),
        return_exceptions=True,
    )
    assert isinstance(bad, errors.Internal)
    for found in (good, wide, again):
        assert isinstance(found, dict)
        np.testing.assert_array_equal(found["product"], 2 * x)
    np.testing.assert_array_equal(np.asarray(alone), 2 * x)


async def test_a_model_that_goes_on_is_named_where_it_is_unknown(
    inference: EmbeddedInference,
) -> None:
    with pytest.raises(KeyError, match="telepathy"):
        await inference.infer("double", {"x": np.ones((1, 3))}, then=Next("telepathy"))


async def test_instances_share_what_waits(repository: Path) -> None:
    inference = EmbeddedInference(Repository(repository), threads=2)
    calls = [np.full((1, 3), number, np.float32) for number in range(8)]
    try:
        answers = await asyncio.gather(*(inference.infer("shared", {"x": x}) for x in calls))
        assert runs("shared") == (2, 8)
        again = await inference.infer("shared", {"x": calls[5]})
    finally:
        await inference.close()
    for x, answer in zip(calls, answers, strict=True):
        np.testing.assert_array_equal(answer["y"], x + x)
    np.testing.assert_array_equal(again["y"], calls[5] + calls[5])


async def test_a_batch_has_no_more_tokens_than_the_model_says(
    inference: EmbeddedInference,
) -> None:
    calls = [np.full((1, 3), number, np.float32) for number in range(8)]
    long = np.ones((1, 9), np.float32)
    answers = await asyncio.gather(*(inference.infer("bounded", {"x": x}) for x in calls))
    assert runs("bounded") == (4, 8)
    await inference.infer("bounded", {"x": long})
    for x, answer in zip(calls, answers, strict=True):
        np.testing.assert_array_equal(answer["y"], x + x)


async def test_a_failing_input_fails_only_its_own_caller(inference: EmbeddedInference) -> None:
    outcomes = await asyncio.gather(
        look_up(inference, 0),
        look_up(inference, 99),
        look_up(inference, 1, 2),
        look_up(inference, 3),
        return_exceptions=True,
    )
    assert isinstance(outcomes[1], errors.Internal)
    assert [outcomes[0], outcomes[2], outcomes[3]] == [[10.0], [11.0, 12.0], [13.0]]
    assert await look_up(inference, 2) == [12.0]


@pytest.mark.parametrize(
    "inputs",
    [
        {"x": np.ones((1, 3), np.float64)},
        {"x": np.ones((1, 3, 3), np.float32)},
        {"x": np.float32(1)},
        {"y": np.ones((1, 3), np.float32)},
        {"x": np.ones((1, 3), np.float32), "z": np.ones((1, 3), np.float32)},
        {},
    ],
    ids=["type", "rank", "scalar", "name", "surplus", "nothing"],
)
async def test_an_input_the_model_does_not_take_fails_only_its_own_caller(
    inference: EmbeddedInference, inputs: dict[str, np.ndarray]
) -> None:
    good = np.ones((1, 3), np.float32)
    outcomes = await asyncio.gather(
        double(inference, good),
        inference.infer("double", inputs),
        double(inference, good),
        return_exceptions=True,
    )
    assert isinstance(outcomes[1], errors.Internal)
    for answered in (outcomes[0], outcomes[2], await double(inference, good)):
        np.testing.assert_array_equal(np.asarray(answered), good * 2)


async def test_a_caller_that_leaves_does_not_disturb_the_others(
    inference: EmbeddedInference,
) -> None:
    good = np.ones((1, 3), np.float32)
    tasks = [asyncio.create_task(double(inference, good)) for _ in range(4)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(outcomes[1], asyncio.CancelledError)
    assert sum(isinstance(outcome, np.ndarray) for outcome in outcomes) == 3


async def test_a_call_after_the_end_is_unavailable(repository: Path) -> None:
    inference = EmbeddedInference(Repository(repository), threads=1)
    await inference.load("double")
    await inference.close()
    with pytest.raises(errors.Unavailable):
        await double(inference, np.ones((1, 3), np.float32))


async def test_an_unknown_model_is_named(inference: EmbeddedInference) -> None:
    with pytest.raises(KeyError, match="telepathy"):
        inference.info("telepathy")
    with pytest.raises(KeyError, match="telepathy"):
        await inference.infer("telepathy", {})
    with pytest.raises(KeyError, match="telepathy"):
        await inference.load("double", "telepathy")


def test_what_is_known_of_a_model_comes_from_its_folder(repository: Path) -> None:
    inference = open_inference(Settings(model_repository=repository))
    known = inference.info("double")
    weights = (repository / "double" / "1" / "model.onnx").read_bytes()
    assert known.name == "double"
    assert known.version == "2.1.0"
    assert known.digest == hashlib.sha256(weights).hexdigest()
    assert known.calibration == "held-out set, ECE 0.02"
    assert known.labels == ("anger", "fear")
    assert known.path == repository / "double"
    assert inference.info("single").calibration == ""
