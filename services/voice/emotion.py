"""Emotion of stretches of speech: Whisper's lower encoder layers, pooled, and a linear head."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from services.common.inference import Inference, ModelInfo, Next
from services.voice.activity import Span
from services.voice.features import HOP, SAMPLE_RATE_HZ, Samples, Sound, log_mel

Floats = NDArray[np.float64]

ENCODER = "voice_encoder"
#: Lengths, in log-mel frames, that windows are padded to.
BUCKETS = (100, 200, 300, 400, 500, 600, 800, 1000)
LONGEST = BUCKETS[-1] * HOP
#: The shortest stretch read alone; shorter ones are read with what surrounds them.
SHORTEST = round(1.5 * SAMPLE_RATE_HZ)
_DYNAMIC_RANGE = 8.0
_AT_ONCE = 4
_GROUP = 64


def encoder_input(samples: Samples) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Return one window (at most 10 s) as the encoder wants it: mel [1, T, 80], frames [1, 1].

    T is the next bucket. The loudest band of the window is set to one fixed value, so that the
    gain of the microphone has no say; Whisper's scaling otherwise.
    """
    mel = log_mel(samples[:LONGEST])
    frames = max(2, len(mel) // 2 * 2)
    mel = mel[:frames]
    top = float(mel.max(initial=-10.0))
    scaled = (np.maximum(mel, top - _DYNAMIC_RANGE) - top + 5.0) / 4.0
    bucket = next(size for size in BUCKETS if size >= frames)
    padded = np.zeros((1, bucket, mel.shape[1]), np.float32)
    padded[0, : len(scaled)] = scaled
    return padded, np.array([[frames]], np.int32)


class EmotionReader:
    """Reads emotions from speech with the head of one pack, "open" or "research"."""

    def __init__(self, inference: Inference, pack: str, pool: Executor) -> None:
        self._inference = inference
        self._pool = pool
        self._head = f"voice_emotion_{pack}"

    @property
    def models(self) -> tuple[str, str]:
        """The models that must be loaded: encoder and head."""
        return ENCODER, self._head

    @cached_property
    def info(self) -> ModelInfo:
        return self._inference.info(self._head)

    @property
    def labels(self) -> tuple[str, ...]:
        return self.info.labels

    async def read(self, samples: Sound, spans: Sequence[Span]) -> Floats:
        """Return the logits of each span of 16 kHz samples, [spans, labels].

        Spans longer than 10 s are read in equal windows and averaged; those shorter than 1.5 s
        with what surrounds them, as one word alone tells little.
        """
        limit = asyncio.Semaphore(_AT_ONCE)
        loop = asyncio.get_running_loop()

        async def read_window(window: Span) -> Floats:
            async with limit:
                part = samples[window.start : window.end]
                mel, frames = await loop.run_in_executor(self._pool, encoder_input, part)
                found = await self._inference.infer(
                    ENCODER, {"mel": mel, "frames": frames}, then=Next(self._head)
                )
                return np.asarray(found["logits"][0], np.float64)

        windows = [_windows(span, samples.size) for span in spans]
        distinct = list(dict.fromkeys(window for parts in windows for window in parts))
        logits: dict[Span, Floats] = {}
        for start in range(0, len(distinct), _GROUP):
            group = distinct[start : start + _GROUP]
            found = await asyncio.gather(*map(read_window, group))
            logits |= zip(group, found, strict=True)
        rows = [np.mean([logits[window] for window in parts], axis=0) for parts in windows]
        return np.array(rows, np.float64).reshape(len(spans), len(self.labels))

    def probabilities(self, logits: Floats, trust: float) -> dict[str, float]:
        """Return the calibrated probability of each label; they sum to 1.

        logits: [labels]. trust in [0, 1]: what the speech is worth as evidence; the rest of the
        probability is spread evenly.
        """
        scaled = logits / float(self.info.parameters["temperature"])
        raised = np.exp(scaled - scaled.max())
        sure = raised / raised.sum()
        mixed = trust * sure + (1 - trust) / len(sure)
        return dict(zip(self.labels, mixed.tolist(), strict=True))


def _windows(span: Span, total: int) -> list[Span]:
    if span.samples < SHORTEST:
        start = max(0, min((span.start + span.end - SHORTEST) // 2, total - SHORTEST))
        return [Span(start, min(total, start + SHORTEST))]
    count = -(-span.samples // LONGEST)
    edges = [span.start + span.samples * place // count for place in range(count + 1)]
    return [Span(start, end) for start, end in pairwise(edges)]
