"""Where speech is: Silero VAD over windows, and the spans its probabilities make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.common.inference import Inference
from services.voice.features import SAMPLE_RATE_HZ, Samples

MODEL = "voice_activity"
FRAME = 512
FRAME_MS = 1000 * FRAME // SAMPLE_RATE_HZ
_CONTEXT = 64
_FRAMES_A_CALL = 512

#: Hysteresis of the Silero authors: speech begins at 0.5 and lasts until it falls below 0.35.
BEGIN, END = 0.5, 0.35
MIN_SPEECH_MS = 250
PAD_MS = 60


@dataclass(frozen=True)
class Span:
    """A stretch of a recording, in samples at 16 kHz, end exclusive."""

    start: int
    end: int

    @property
    def samples(self) -> int:
        return self.end - self.start

    @property
    def start_ms(self) -> int:
        return round(self.start * 1000 / SAMPLE_RATE_HZ)

    @property
    def end_ms(self) -> int:
        return round(self.end * 1000 / SAMPLE_RATE_HZ)


class SpeechDetector:
    """The probability of speech, frame by frame (32 ms), of one stream of 16 kHz samples.

    The net's memory is carried from call to call, so a long recording or a live stream may be
    fed in pieces of any size and gives the same numbers as in one piece.
    """

    def __init__(self, inference: Inference) -> None:
        self._inference = inference
        self._hidden = np.zeros((1, 1, 128), np.float32)
        self._cell = np.zeros((1, 1, 128), np.float32)
        self._context = np.zeros(_CONTEXT, np.float32)
        self._rest = np.zeros(0, np.float32)

    async def feed(self, samples: Samples, *, last: bool = False) -> NDArray[np.float32]:
        """Return the probabilities of the frames that `samples` completes.

        Samples short of a frame wait for the next call; `last` pads and flushes them.
        """
        waiting = np.concatenate((self._rest, samples))
        if last and waiting.size % FRAME:
            waiting = np.pad(waiting, (0, FRAME - waiting.size % FRAME))
        whole = waiting.size - waiting.size % FRAME
        self._rest = waiting[whole:]
        frames = waiting[:whole].reshape(-1, FRAME)
        blocks = np.split(frames, range(_FRAMES_A_CALL, len(frames), _FRAMES_A_CALL))
        found = [await self._infer(block) for block in blocks if len(block)]
        return np.concatenate([np.zeros(0, np.float32), *found])

    async def _infer(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        context = np.concatenate((self._context[None], frames[:-1, -_CONTEXT:]))
        self._context = frames[-1, -_CONTEXT:]
        result = await self._inference.infer(
            MODEL,
            {
                "input": np.concatenate((context, frames), axis=1),
                "h": self._hidden,
                "c": self._cell,
            },
        )
        self._hidden, self._cell = result["hn"], result["cn"]
        return result["speech_probs"].astype(np.float32, copy=False)


def speech_spans(
    probabilities: NDArray[np.float32], total: int, *, min_silence_ms: int
) -> list[Span]:
    """Return the speech in a recording of `total` samples, in order, never overlapping.

    A span ends where the probability stays below 0.35 for `min_silence_ms`; spans shorter
    than 250 ms are dropped, the others padded by 60 ms within the silence around them.
    """
    patience = max(1, min_silence_ms // FRAME_MS)
    loose: list[tuple[int, int]] = []
    start = quiet = -1
    for frame, probability in enumerate(probabilities.tolist()):
        if probability >= BEGIN:
            quiet = -1
            if start < 0:
                start = frame
        elif start >= 0 and probability < END:
            if quiet < 0:
                quiet = frame
            if frame - quiet + 1 >= patience:
                loose.append((start, quiet))
                start = quiet = -1
    if start >= 0:
        loose.append((start, len(probabilities) if quiet < 0 else quiet))

    kept = [
        (a, b)
        for a, b in loose
        if (b - a) * FRAME_MS >= min(MIN_SPEECH_MS, total * 500 // SAMPLE_RATE_HZ)
    ]
    pad = PAD_MS * SAMPLE_RATE_HZ // 1000
    spans = []
    for index, (first, end) in enumerate(kept):
        before = kept[index - 1][1] * FRAME if index else 0
        after = kept[index + 1][0] * FRAME if index + 1 < len(kept) else total
        begin = max(first * FRAME - pad, (before + first * FRAME) // 2 if index else 0)
        finish = min(
            end * FRAME + pad, (end * FRAME + after) // 2 if index + 1 < len(kept) else total
        )
        spans.append(Span(begin, min(finish, total)))
    return spans


def first(spans: Sequence[Span], samples: int) -> list[Span]:
    """Return the spans, in order, as far as they hold so many samples together."""
    kept: list[Span] = []
    for span in spans:
        if samples <= 0:
            break
        kept.append(Span(span.start, min(span.end, span.start + samples)))
        samples -= span.samples
    return kept


def until(spans: Sequence[Span], end: int) -> list[Span]:
    """Return what of the spans lies before a sample."""
    return [Span(span.start, min(span.end, end)) for span in spans if span.start < end]
