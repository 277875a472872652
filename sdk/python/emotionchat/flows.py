"""Every call of the API as steps, which the clients carry out waiting or awaiting.

A flow yields a request to be sent, and is sent its response (or thrown the transport's error), or a
number of seconds to wait. It returns the result.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, TypeVar, cast
from urllib.parse import quote

import httpx

from emotionchat import errors
from emotionchat.models import (
    Deletion,
    Delivery,
    Depth,
    Format,
    Page,
    Recording,
    Status,
    Usage,
    Webhook,
)
from emotionchat.retries import REFUSED, TRANSIENT, Retries

T = TypeVar("T")
Step = httpx.Request | float
Flow = Generator[Step, httpx.Response | None, T]
Video = str | Path | bytes | IO[bytes]

FIRST_POLL_S, LONGEST_POLL_S = 0.5, 10.0


class Flows:
    """Builds requests to one server."""

    def __init__(self, http: httpx.Client | httpx.AsyncClient, retries: Retries) -> None:
        self._http = http
        self._retries = retries

    def analyze(
        self,
        video: Video,
        metadata: Mapping[str, Any] | None,
        depth: Depth,
        language: str | None,
        wait: bool,
        timeout_s: float,
    ) -> Flow[Recording]:
        """Uploads a video, and waits for the result where asked to."""
        until = time.monotonic() + timeout_s
        fields: dict[str, str] = {"depth": depth}
        if metadata is not None:
            fields["metadata"] = json.dumps(metadata)
        if language is not None:
            fields["language"] = language
        headers = {"Idempotency-Key": str(uuid.uuid4()), "Prefer": "respond-async"}
        with ExitStack() as stack:

            def build() -> httpx.Request:
                stack.close()
                return self._http.build_request(
                    "POST",
                    "/api/v1/analyze",
                    headers=headers,
                    data=fields,
                    files={"video": _opened(video, stack)},
                )

            response = yield from self._send(build)
        recording = Recording.read(response.json())
        if not wait or recording.status == "completed":
            return recording
        return (yield from self.wait(recording.recording_id, max(0.0, until - time.monotonic())))

    def wait(self, recording_id: str, timeout_s: float) -> Flow[Recording]:
        """The recording once its analysis has ended. Raises AnalysisFailed, TimeoutError."""
        until, pause_s = time.monotonic() + timeout_s, FIRST_POLL_S
        while True:
            recording = yield from self.recording(recording_id)
            if recording.status == "completed":
                return recording
            if recording.status == "failed":
                raise _failure(recording)
            if time.monotonic() + pause_s > until:
                raise TimeoutError(f"{recording_id} is still processing after {timeout_s:g} s.")
            yield pause_s
            pause_s = min(LONGEST_POLL_S, pause_s * 1.5)

    def page(self, number: int, size: int, status: Status | None) -> Flow[Page]:
        query = {"page": number, "per_page": size, "status": status or "all"}
        return Page.read((yield from self._json("GET", "/api/v1/recordings", params=query)))

    def recording(self, recording_id: str) -> Flow[Recording]:
        return Recording.read((yield from self._json("GET", _recording(recording_id))))

    def export(self, recording_id: str, form: Format) -> Flow[bytes]:
        path = f"{_recording(recording_id)}/export"
        request = self._builder("GET", path, params={"format": form})
        return (yield from self._send(request)).content

    def delete(self, recording_id: str) -> Flow[Deletion]:
        return Deletion.read((yield from self._json("DELETE", _recording(recording_id))))

    def usage(self) -> Flow[Usage]:
        return Usage.read((yield from self._json("GET", "/api/v1/usage")))

    def create_webhook(
        self, url: str, events: Iterable[str] | None, secret: str | None
    ) -> Flow[Webhook]:
        body: dict[str, Any] = {"url": url}
        if events is not None:
            body["events"] = list(events)
        if secret is not None:
            body["secret"] = secret
        return Webhook.read((yield from self._json("POST", "/api/v1/webhooks", json=body)))

    def webhooks(self) -> Flow[Sequence[Webhook]]:
        return (yield from self._listed("/api/v1/webhooks", "webhooks", Webhook.read))

    def update_webhook(
        self,
        webhook_id: str,
        url: str | None,
        events: Iterable[str] | None,
        enabled: bool | None,
    ) -> Flow[Webhook]:
        given = {
            "url": url,
            "events": None if events is None else list(events),
            "enabled": enabled,
        }
        body = {name: value for name, value in given.items() if value is not None}
        return Webhook.read((yield from self._json("PATCH", _webhook(webhook_id), json=body)))

    def delete_webhook(self, webhook_id: str) -> Flow[None]:
        yield from self._json("DELETE", _webhook(webhook_id))

    def test_webhook(self, webhook_id: str) -> Flow[Delivery]:
        return Delivery.read((yield from self._json("POST", f"{_webhook(webhook_id)}/test")))

    def rotate_webhook(self, webhook_id: str) -> Flow[Webhook]:
        return Webhook.read((yield from self._json("POST", f"{_webhook(webhook_id)}/rotate")))

    def deliveries(self, webhook_id: str) -> Flow[Sequence[Delivery]]:
        path = f"{_webhook(webhook_id)}/deliveries"
        return (yield from self._listed(path, "deliveries", Delivery.read))

    def redeliver(self, webhook_id: str, delivery_id: str) -> Flow[Delivery]:
        path = f"{_webhook(webhook_id)}/deliveries/{quote(delivery_id, safe='')}/redeliver"
        return Delivery.read((yield from self._json("POST", path)))

    def _listed(
        self, path: str, name: str, read: Callable[[Mapping[str, Any]], T]
    ) -> Flow[Sequence[T]]:
        found: list[T] = []
        token = ""
        while True:
            query = {"page_size": "100", "page_token": token} if token else {"page_size": "100"}
            raw = yield from self._json("GET", path, params=query)
            found += map(read, raw[name])
            token = raw.get("next_page_token") or ""
            if not token:
                return found

    def _json(self, method: str, path: str, **parts: Any) -> Flow[Any]:
        request = self._builder(method, path, **parts)
        return (yield from self._send(request, repeatable=method != "POST")).json()

    def _builder(self, method: str, path: str, **parts: Any) -> Callable[[], httpx.Request]:
        return lambda: self._http.build_request(method, path, **parts)

    def _send(
        self, build: Callable[[], httpx.Request], repeatable: bool = True
    ) -> Flow[httpx.Response]:
        """The answer to a request, tried again where that may help.

        One that is not repeatable is tried again only where it was surely not carried out.
        """
        tries = 0
        while True:
            tries += 1
            failure: errors.EmotionChatError
            retry_after = None
            try:
                response = cast(httpx.Response, (yield build()))
                if response.status_code < 400:
                    return response
                retry_after = response.headers.get("retry-after")
                failure = errors.of_answer(response.status_code, _body(response), retry_after)
            except httpx.TransportError as error:
                failure = errors.ConnectionFailed(f"No answer came: {error}")
                failure.__cause__ = error
            unsent = isinstance(failure.__cause__, httpx.ConnectError | httpx.ConnectTimeout)
            passing = (
                failure.status in REFUSED
                or unsent
                or (repeatable and failure.status in (0, *TRANSIENT))
            )
            wait_s = self._retries.wait_s(tries, retry_after) if passing else None
            if wait_s is None:
                raise failure
            yield wait_s


def _opened(video: Video, stack: ExitStack) -> tuple[str, bytes | IO[bytes]]:
    if isinstance(video, bytes):
        return "video", video
    if isinstance(video, str | Path):
        return Path(video).name, stack.enter_context(Path(video).open("rb"))
    if video.seekable():
        video.seek(0)
    return Path(str(getattr(video, "name", "video"))).name, video


def _recording(recording_id: str) -> str:
    return f"/api/v1/recordings/{quote(recording_id, safe='')}"


def _webhook(webhook_id: str) -> str:
    return f"/api/v1/webhooks/{quote(webhook_id, safe='')}"


def _body(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None


def _failure(recording: Recording) -> errors.AnalysisFailed:
    found = recording.raw.get("error") or {}
    return errors.AnalysisFailed(
        str(found.get("message", "The analysis failed.")),
        code=str(found.get("code", "")),
        details={"recording_id": recording.recording_id},
    )
