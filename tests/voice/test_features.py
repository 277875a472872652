"""The log-mel spectrum."""

import numpy as np
import pytest

from services.voice.features import BANDS, HOP, log_mel
from tests.voice.recordings import silence, speech


@pytest.mark.parametrize("samples", [0, 100, 160, 3200, 3360, 48_000])
def test_there_is_a_frame_every_10_ms(samples: int) -> None:
    assert log_mel(speech()[:samples]).shape[1] == BANDS
    assert abs(len(log_mel(speech()[:samples])) - samples // HOP) <= 1


def test_silence_lies_on_the_floor() -> None:
    np.testing.assert_allclose(log_mel(silence(1)), -10, rtol=1e-6)


def test_a_tone_is_loudest_in_its_band() -> None:
    seconds = np.arange(16_000) / 16_000
    low, high = (
        log_mel(np.sin(2 * np.pi * hz * seconds).astype(np.float32)).mean(axis=0).argmax()
        for hz in (300, 3000)
    )
    assert 5 < low < 12
    assert 50 < high < 62
