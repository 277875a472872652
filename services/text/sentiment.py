"""Polarity, its label, and what sarcasm does to it."""

from services.text.findings import Sarcasm, Sentiment
from services.text.model import Reading

VERY = 0.88
LEANING = 0.2


def label_of(polarity: float) -> str:
    """Five-way label of a polarity in [-1, 1]: cuts at ±0.2 and ±0.88."""
    if polarity >= VERY:
        return "very_positive"
    if polarity >= LEANING:
        return "positive"
    if polarity > -LEANING:
        return "neutral"
    return "negative" if polarity > -VERY else "very_negative"


def turned(polarity: float, sarcasm: Sarcasm | None) -> float:
    """Polarity with sarcasm reckoned in.

    Where sarcasm is detected with probability p, a positive polarity x becomes (1 - 2 p) x, the
    expectation when sarcasm means the opposite: damped below p = 0.5, flipped above. Negative
    and neutral texts are left alone: sarcasm rarely praises by blaming.
    """
    if sarcasm is None or not sarcasm.detected or polarity <= 0:
        return polarity
    return polarity * (1.0 - 2.0 * sarcasm.confidence)


def sentiment(reading: Reading, sarcasm: Sarcasm | None, factor: float) -> Sentiment:
    """Sentiment of a reading; the confidence is that of the label's direction, times factor."""
    polarity = turned(reading.polarity, sarcasm)
    negative, neutral, positive = reading.directions.tolist()
    if sarcasm is not None and polarity != reading.polarity:
        turn = positive * sarcasm.confidence
        negative, positive = negative + turn, positive - turn
    label = label_of(polarity)
    sure = neutral if label == "neutral" else positive if label.endswith("positive") else negative
    return Sentiment(polarity, reading.subjectivity, label, sure * factor)
