"""Only what is asked for is made."""

import asyncio

import numpy as np

from services.text.model import ENGLISH
from tests.text.conftest import CountingInference

INPUTS = {
    "ids": np.array([[101, 2054, 1037, 2154, 102, 0, 0, 0]]),
    "cases": np.zeros((1, 8), np.int64),
}


async def test_calls_for_other_outputs_at_once_get_their_own(inference: CountingInference) -> None:
    wanted = [("emotions",), ("sentiment", "emotions"), (), ("emotions",)]
    first, second, everything, again = await asyncio.gather(
        *(inference.infer(ENGLISH.affect, INPUTS, names) for names in wanted)
    )
    assert first.keys() == again.keys() == {"emotions"}
    assert second.keys() == {"sentiment", "emotions"}
    assert everything.keys() == {*ENGLISH.heads, "states"}
    assert everything["states"].shape == (1, 8, 384)
    for one in (first, second, again):
        np.testing.assert_allclose(one["emotions"], everything["emotions"], atol=1e-5)


async def test_padding_does_not_change_the_dimensions(inference: CountingInference) -> None:
    states = (await inference.infer(ENGLISH.affect, INPUTS, ("states",)))["states"]
    mask = (INPUTS["ids"] != 0).astype(np.float32)
    noisy = np.where(mask[..., None] > 0, states, np.float32(9.0))
    found = [
        (await inference.infer(ENGLISH.dimensions, {"states": given, "mask": seen}))["dimensions"]
        for given, seen in ((states, mask), (noisy, mask), (states[:, :5], mask[:, :5]))
    ]
    np.testing.assert_allclose(found[1], found[0], atol=1e-5)
    np.testing.assert_allclose(found[2], found[0], atol=1e-5)
