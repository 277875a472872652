"""What the API answers, as objects. `raw` is the whole answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Status = Literal["completed", "processing", "failed"]
Depth = Literal["basic", "advanced"]
Format = Literal["json", "csv", "emotionml"]
Raw = Mapping[str, Any]


@dataclass(frozen=True)
class KeyMoment:
    """A moment worth looking at."""

    timestamp_ms: int
    type: str
    score: float
    raw: Raw

    @classmethod
    def read(cls, raw: Raw) -> KeyMoment:
        return cls(raw["timestamp_ms"], raw["type"], raw["score"], raw)


@dataclass(frozen=True)
class Recording:
    """A recording and what is known of it.

    overall_honesty_score: behavioural consistency, 0 to 100; None where it was not measured.
    emotion_breakdown: shares that sum to 1. cost_usd: None until completed. A recording asked for
    by its id has the timeline, transcript, body language and more in `raw`.
    """

    recording_id: str
    status: Status
    duration_minutes: float | None
    overall_honesty_score: float | None
    emotion_breakdown: Mapping[str, float]
    key_moments: Sequence[KeyMoment]
    cost_usd: float | None
    raw: Raw

    @property
    def honesty_score(self) -> float | None:
        """The overall honesty score."""
        return self.overall_honesty_score

    @classmethod
    def read(cls, raw: Raw) -> Recording:
        return cls(
            raw["recording_id"],
            raw["status"],
            raw["duration_minutes"],
            raw["overall_honesty_score"],
            raw["emotion_breakdown"],
            [KeyMoment.read(one) for one in raw["key_moments"]],
            raw["cost_usd"],
            raw,
        )


@dataclass(frozen=True)
class Page:
    """A page of recordings, newest first."""

    recordings: Sequence[Recording]
    page: int
    per_page: int
    total: int
    total_pages: int

    @classmethod
    def read(cls, raw: Raw) -> Page:
        recordings = [Recording.read(one) for one in raw["recordings"]]
        return cls(recordings, raw["page"], raw["per_page"], raw["total"], raw["total_pages"])


@dataclass(frozen=True)
class Deletion:
    """Proof that a recording is gone. sha256: of each deleted file."""

    recording_id: str
    receipt_id: str
    deleted_at: str
    sha256: Sequence[str]

    @classmethod
    def read(cls, raw: Raw) -> Deletion:
        return cls(raw["recording_id"], raw["receipt_id"], raw["deleted_at"], raw["sha256"])


@dataclass(frozen=True)
class RateLimit:
    """Requests a minute, those left, and the Unix time when all are back."""

    limit: int
    remaining: int
    reset: int


@dataclass(frozen=True)
class Usage:
    """The current month."""

    month: str
    total_analyses: int
    total_minutes_analyzed: float
    total_cost_usd: float
    rate_limit: RateLimit
    raw: Raw

    @classmethod
    def read(cls, raw: Raw) -> Usage:
        limit = raw["rate_limit"]
        return cls(
            raw["month"],
            raw["total_analyses"],
            raw["total_minutes_analyzed"],
            raw["total_cost_usd"],
            RateLimit(limit["limit"], limit["remaining"], limit["reset"]),
            raw,
        )


@dataclass(frozen=True)
class Webhook:
    """An address that is told of events. secret: shown at creation and rotation only."""

    webhook_id: str
    url: str
    events: Sequence[str]
    enabled: bool
    secret: str | None
    raw: Raw

    @classmethod
    def read(cls, raw: Raw) -> Webhook:
        return cls(
            raw["webhook_id"], raw["url"], raw["events"], raw["enabled"], raw.get("secret"), raw
        )


@dataclass(frozen=True)
class Delivery:
    """One event sent, or tried, to one webhook."""

    delivery_id: str
    event: str
    attempts: int
    delivered: bool
    last_status: int | None
    last_error: str | None
    raw: Raw

    @classmethod
    def read(cls, raw: Raw) -> Delivery:
        return cls(
            raw["delivery_id"],
            raw["event"],
            raw["attempts"],
            raw["delivered"],
            raw["last_status"],
            raw["last_error"],
            raw,
        )
