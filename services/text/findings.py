"""What is asked about a text, and what is found."""

from dataclasses import dataclass

from services.common.inference import ModelInfo
from services.text.aspects import Aspect
from services.text.entities import Entity


@dataclass(frozen=True, slots=True)
class Options:
    """What to compute; what is off costs nothing."""

    aspects: bool = True
    entities: bool = True
    sarcasm: bool = True
    dimensions: bool = True
    sentences: bool = False


@dataclass(frozen=True, slots=True)
class Warning:
    """What makes the result worth less: code in upper snake case, message for people."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Sentiment:
    """polarity in [-1, 1]; subjectivity and confidence in [0, 1]; label of LABELS."""

    polarity: float
    subjectivity: float
    label: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Emotion:
    """A label of the platform's vocabulary; derived ones are computed from others."""

    label: str
    confidence: float
    derived: bool = False


@dataclass(frozen=True, slots=True)
class FoundEntity:
    """An entity with the primary emotion of the sentence it stands in."""

    entity: Entity
    emotion: str


@dataclass(frozen=True, slots=True)
class FoundSentence:
    """One sentence, code points [start, end), with its own sentiment and primary emotion."""

    start: int
    end: int
    sentiment: Sentiment
    emotion: Emotion


@dataclass(frozen=True, slots=True)
class Sarcasm:
    """Calibrated probability, and whether it passes the threshold tuned in training."""

    detected: bool
    confidence: float


@dataclass(frozen=True, slots=True)
class Analysis:
    """Everything that was asked about one text; None or empty where it was not asked for.

    dimensions: valence, arousal and dominance in [-1, 1].
    """

    length: int
    language: str
    sentiment: Sentiment
    emotions: tuple[Emotion, ...]
    dimensions: tuple[float, ...] | None
    aspects: tuple[Aspect, ...]
    entities: tuple[FoundEntity, ...]
    sarcasm: Sarcasm | None
    sentences: tuple[FoundSentence, ...]
    warnings: tuple[Warning, ...]
    models: tuple[ModelInfo, ...]


@dataclass(frozen=True, slots=True)
class Item:
    """One text of a batch."""

    id: str
    text: str
    language: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """Mean polarity of a batch, and how many of its texts lean each way."""

    average_sentiment: float
    positive: int
    negative: int
    neutral: int
