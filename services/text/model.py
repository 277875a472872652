"""Runs a text model over windows of tokens and calibrates what it says."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from services.common.inference import Arrays, Inference, ModelInfo, Next
from services.text import calibration
from services.text.aspects import Mention
from services.text.calibration import Curves
from services.text.emotions import GROUPS, EmotionTable
from services.text.entities import Entity
from services.text.sentences import Window
from services.text.tagging import spans
from services.text.tokens import TokenReader, Tokens


@dataclass(frozen=True, slots=True)
class Names:
    """A model and the dimensions model that goes on from what it makes of a text.

    A full model also reads letter case, and says sarcasm, aspects and entities. heads: its outputs
    that do not only go to the dimensions model.
    """

    affect: str
    dimensions: str
    full: bool
    heads: tuple[str, ...]


_HEADS = ("emotions", "sentiment", "subjectivity")
_MORE_HEADS = ("sarcasm", "aspect_tags", "aspect_polarity", "entity_tags")
ENGLISH = Names("text_affect", "text_dimensions", True, _HEADS + _MORE_HEADS)
MULTILINGUAL = Names("text_multilingual", "text_multilingual_dimensions", False, _HEADS)

BUCKETS = (8, 16, 24, 32, 48, 64)
"""Padded lengths in tokens, [CLS] and [SEP] included, of runs that others may join."""

RUNS_AT_ONCE = 2
"""Of one request; the others wait, so that a short text need not wait for a whole batch."""

_DIRECTIONS = (0, 2, 3)
"""Where negative, neutral and positive begin among the five levels of sentiment."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Reading:
    """Calibrated output for one window of a text.

    labels [28]: probability of each GoEmotions label. groups: of each label in GROUPS.
    polarity in [-1, 1]; directions [3]: probability of negative, neutral, positive.
    subjectivity and sarcasm in [0, 1]. dimensions [3]: valence, arousal and dominance in [-1, 1];
    empty where they were not asked for.
    weight: content tokens. What a model that is not full does not say is 0 or empty.
    """

    labels: Floats
    groups: Floats
    polarity: float
    directions: Floats
    subjectivity: float
    sarcasm: float
    aspect_tags: Floats
    aspect_polarity: Floats
    entity_tags: Floats
    dimensions: Floats
    weight: int


class TextModel:
    """A text model behind the inference interface."""

    def __init__(self, inference: Inference, names: Names = ENGLISH) -> None:
        self._inference = inference
        self.names = names
        self.info: ModelInfo = inference.info(names.affect)
        self.reader = TokenReader(self.info.path / "tokenizer.json")
        self.calibration = calibration.read(self.info.path / "calibration.json")
        self.table = EmotionTable(self.info.labels)
        types = self.info.parameters["entity_types"] if names.full else ""
        self.entity_types = tuple(types.split(","))
        curves = self.calibration.curves
        self._label_curves = Curves([curves[f"emotion.{label}"] for label in self.info.labels])
        self._group_curves = Curves([curves[f"group.{group}"] for group in GROUPS])
        self._run_tokens = int(self.info.parameters["run_tokens"])
        self._levels = np.array(
            [float(level) for level in self.info.parameters["sentiment_levels"].split(",")],
            np.float32,
        )

    async def read(
        self, windows: Sequence[tuple[Tokens, Window]], *, dimensions: bool = False
    ) -> list[Reading]:
        """A reading for each window, in order; windows of about one length run together."""
        readings: dict[int, Reading] = {}
        turn = asyncio.Semaphore(RUNS_AT_ONCE)

        async def run(length: int, part: Sequence[int]) -> None:
            async with turn:
                inputs = self._inputs([windows[i] for i in part], length)
                then = self._dimensions(inputs) if dimensions else None
                heads = self.names.heads
                outputs = await self._inference.infer(self.names.affect, inputs, heads, then)
            weights = [windows[i][1].end - windows[i][1].start for i in part]
            readings.update(zip(part, self._readings(outputs, weights), strict=True))

        lengths = [window.end - window.start + 2 for _, window in windows]
        await asyncio.gather(*(run(*one) for one in _runs(lengths, self._run_tokens)))
        return [readings[i] for i in range(len(windows))]

    @property
    def dimensions_info(self) -> ModelInfo:
        """What is known of the dimensions model."""
        return self._inference.info(self.names.dimensions)

    def mentions(
        self, text: str, tokens: Tokens, window: Window, reading: Reading
    ) -> list[Mention]:
        """Aspect terms of a window with calibrated polarity."""
        found = []
        words = tokens.words[window.start : window.end]
        transitions = self.calibration.transitions["aspect"]
        for first, last, _, _ in spans(reading.aspect_tags, words, transitions):
            polarity = self._aspect_polarity(reading, first, last)
            start = tokens.offsets[window.start + first][0]
            end = tokens.offsets[window.start + last - 1][1]
            if any(map(str.isalnum, text[start:end])):
                found.append(Mention(text[start:end], start, end, polarity))
        return found

    def entities(self, text: str, tokens: Tokens, window: Window, reading: Reading) -> list[Entity]:
        """Named entities of a window with the polarity the model sees at their tokens."""
        found = []
        curve = self.calibration.curves["entity"]
        words = tokens.words[window.start : window.end]
        transitions = self.calibration.transitions["entity"]
        for first, last, kind, sure in spans(reading.entity_tags, words, transitions):
            polarity = self._aspect_polarity(reading, first, last)
            start = tokens.offsets[window.start + first][0]
            end = tokens.offsets[window.start + last - 1][1]
            found.append(
                Entity(
                    text[start:end],
                    self.entity_types[kind],
                    start,
                    end,
                    float(polarity[2] - polarity[0]),
                    curve.one(sure),
                )
            )
        return found

    def _dimensions(self, inputs: Arrays) -> Next:
        """The dimensions model, which goes on from what the model makes of the texts."""
        if not self.names.full:
            return Next(self.names.dimensions)
        return Next(self.names.dimensions, {"mask": (inputs["ids"] != 0).astype(np.float32)})

    def _aspect_polarity(self, reading: Reading, first: int, last: int) -> Floats:
        logits = reading.aspect_polarity[first:last].mean(0)
        return softmax(logits / np.float32(self.calibration.numbers["aspect_temperature"]))

    def _inputs(
        self, windows: Sequence[tuple[Tokens, Window]], length: int
    ) -> dict[str, NDArray[np.int64]]:
        ids = np.zeros((len(windows), length), np.int64)
        cases = np.zeros((len(windows), length), np.int64)
        for row, (tokens, window) in enumerate(windows):
            n = window.end - window.start
            ids[row, 0] = self.reader.cls
            ids[row, 1 : n + 1] = tokens.ids[window.start : window.end]
            ids[row, n + 1] = self.reader.sep
            cases[row, 1 : n + 1] = tokens.cases[window.start : window.end]
        return {"ids": ids, "cases": cases} if self.names.full else {"ids": ids}

    def _readings(self, outputs: dict[str, Floats], weights: Sequence[int]) -> list[Reading]:
        raw = sigmoid(outputs["emotions"])
        labels = self._label_curves(raw)
        groups = self.table.coherent(self._group_curves(self.table.group_scores(raw)), labels)
        temperature = np.float32(self.calibration.numbers["sentiment_temperature"])
        levels = softmax(outputs["sentiment"])
        polarity = (levels @ self._levels).clip(-1.0, 1.0)
        tempered = softmax(outputs["sentiment"] / temperature)
        directions = np.add.reduceat(tempered, _DIRECTIONS, -1)
        subjectivity = sigmoid(outputs["subjectivity"][:, 0])
        nothing = np.zeros((len(weights), 0, 1), np.float32)
        dimensions = outputs.get("dimensions", nothing[:, :, 0]).clip(-1.0, 1.0)
        sarcasm = (
            self.calibration.curves["sarcasm"](sigmoid(outputs["sarcasm"][:, 0]))
            if self.names.full
            else nothing.sum((1, 2))
        )
        return [
            Reading(
                labels[row],
                groups[row],
                float(polarity[row]),
                directions[row],
                float(subjectivity[row]),
                float(sarcasm[row]),
                outputs.get("aspect_tags", nothing)[row, 1 : n + 1],
                outputs.get("aspect_polarity", nothing)[row, 1 : n + 1],
                outputs.get("entity_tags", nothing)[row, 1 : n + 1],
                dimensions[row],
                n,
            )
            for row, n in enumerate(weights)
        ]


def _runs(lengths: Sequence[int], tokens: int) -> Iterator[tuple[int, list[int]]]:
    """Which inputs run together, longest first, and the length they are padded to.

    No run of several has more tokens than given. A full one is as long as its longest input; one
    with room is as long as a bucket, so that others may join it.
    """
    left = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    while left:
        longest = lengths[left[0]]
        shorter, bucket = next(pair for pair in pairwise((0, *BUCKETS)) if pair[1] >= longest)
        alike = [i for i in left[: max(tokens // longest, 1)] if lengths[i] > shorter]
        yield longest if len(alike) >= tokens // bucket else bucket, alike
        left = left[len(alike) :]


def pool(readings: Sequence[Reading]) -> Reading:
    """Mean of readings weighted by tokens; token outputs are those of the first."""
    if len(readings) == 1:
        return readings[0]
    weights = np.array([max(r.weight, 1) for r in readings], np.float32)
    weights /= weights.sum()

    def mean(arrays: list[Floats]) -> Floats:
        return np.asarray(weights @ np.stack(arrays), np.float32)

    def number(values: list[float]) -> float:
        return float(weights @ np.array(values, np.float32))

    return replace(
        readings[0],
        labels=mean([r.labels for r in readings]),
        groups=mean([r.groups for r in readings]),
        polarity=number([r.polarity for r in readings]),
        directions=mean([r.directions for r in readings]),
        subjectivity=number([r.subjectivity for r in readings]),
        sarcasm=number([r.sarcasm for r in readings]),
        dimensions=mean([r.dimensions for r in readings]),
        weight=sum(r.weight for r in readings),
    )


def sigmoid(x: Floats) -> Floats:
    """Logistic function."""
    return np.asarray(0.5 * np.tanh(0.5 * x) + 0.5, np.float32)


def softmax(x: Floats) -> Floats:
    """Softmax over the last axis."""
    e = np.exp(x - x.max(-1, keepdims=True))
    out: Floats = e / e.sum(-1, keepdims=True)
    return out
