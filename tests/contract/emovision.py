"""What EmoVision's document shows, and a way to send it."""

from typing import Any

import httpx

from tests.contract.following import followed

METADATA = '{"candidate": "John Doe", "position": "Senior Engineer"}'

ANALYSIS = {
    "recording_id": "rec_a1b2c3d4e5f6",
    "duration_minutes": 5.25,
    "overall_honesty_score": 78.5,
    "emotion_breakdown": {},
    "key_moments": [{"timestamp_ms": 45000, "type": "honesty_drop", "score": 0.45}],
    "cost_usd": 1.31,
    "status": "completed",
}
"""The document's answer; which emotions there are depends on the recording."""

USAGE = {
    "month": "2025-01",
    "total_analyses": 150,
    "total_minutes_analyzed": 487.5,
    "total_cost_usd": 121.88,
    "rate_limit": {"limit": 60, "remaining": 45, "reset": 1706745600},
}

RATE_HEADERS = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")


async def analyze(
    client: httpx.AsyncClient,
    video: bytes,
    name: str = "interview.mp4",
    kind: str | None = None,
    fields: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
) -> httpx.Response:
    """The document's request: a multipart form with a video."""
    part = (name, video, kind) if kind else (name, video)
    return await client.post(
        "/api/v1/analyze", files={"video": part}, data=fields or {}, headers=headers or {}
    )


async def completed(client: httpx.AsyncClient, recording_id: str) -> dict[str, Any]:
    """A recording once it is no longer processing."""
    path = f"/api/v1/recordings/{recording_id}"
    return await followed(client, path, lambda now: now["status"] != "processing")
