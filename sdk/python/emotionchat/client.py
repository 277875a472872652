"""The clients: one that waits, one to be awaited."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import httpx

from emotionchat.flows import Flow, Flows, Step, Video
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
from emotionchat.retries import Retries

T = TypeVar("T")

BASE_URL = "http://127.0.0.1:8080"
LONGEST_WAIT_S = 3600.0


class EmotionChat:
    """A client that waits. Close it, or use it in a `with` statement."""

    def __init__(
        self,
        api_key: str,
        base_url: str = BASE_URL,
        *,
        timeout_s: float = 60.0,
        retries: Retries | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._http = httpx.Client(
            base_url=base_url, headers=_headers(api_key), timeout=timeout_s, transport=transport
        )
        self._flows = Flows(self._http, retries or Retries())
        self.recordings = Recordings(self)
        self.webhooks = Webhooks(self)

    def analyze(
        self,
        video: Video,
        *,
        metadata: Mapping[str, Any] | None = None,
        depth: Depth = "basic",
        language: str | None = None,
        wait: bool = True,
        timeout_s: float = LONGEST_WAIT_S,
    ) -> Recording:
        """Analyses a video: a path, its bytes, or an open file.

        Raises EmotionChatError where it is refused, AnalysisFailed where it cannot be analysed, and
        TimeoutError where that takes longer than timeout_s.
        """
        return self.run(self._flows.analyze(video, metadata, depth, language, wait, timeout_s))

    def usage(self) -> Usage:
        """The current month."""
        return self.run(self._flows.usage())

    def close(self) -> None:
        """Ends the connections."""
        self._http.close()

    def __enter__(self) -> EmotionChat:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    @property
    def flows(self) -> Flows:
        """The calls as steps."""
        return self._flows

    def run(self, flow: Flow[T]) -> T:
        """Carries out the steps of a call."""
        try:
            step: Step = next(flow)
            while True:
                if isinstance(step, httpx.Request):
                    try:
                        response = self._http.send(step)
                    except httpx.TransportError as error:
                        step = flow.throw(error)
                    else:
                        step = flow.send(response)
                else:
                    time.sleep(step)
                    step = next(flow)
        except StopIteration as done:
            result: T = done.value
            return result


class Recordings:
    """What is kept."""

    def __init__(self, client: EmotionChat) -> None:
        self._client = client

    def list(self, page: int = 1, per_page: int = 20, status: Status | None = None) -> Page:
        """A page, newest first."""
        return self._client.run(self._client.flows.page(page, per_page, status))

    def all(self, status: Status | None = None) -> Iterator[Recording]:
        """Every recording, newest first."""
        number = 1
        while (found := self.list(number, 100, status)).recordings:
            yield from found.recordings
            number += 1

    def get(self, recording_id: str) -> Recording:
        """One recording with all that is known of it."""
        return self._client.run(self._client.flows.recording(recording_id))

    def wait(self, recording_id: str, timeout_s: float = LONGEST_WAIT_S) -> Recording:
        """One recording, once it is analysed. Raises AnalysisFailed and TimeoutError."""
        return self._client.run(self._client.flows.wait(recording_id, timeout_s))

    def export(self, recording_id: str, format: Format = "json") -> bytes:
        """The analysis in a form for other programs."""
        return self._client.run(self._client.flows.export(recording_id, format))

    def delete(self, recording_id: str) -> Deletion:
        """Deletes a recording with all that was made of it."""
        return self._client.run(self._client.flows.delete(recording_id))


class Webhooks:
    """Addresses that are told of events."""

    def __init__(self, client: EmotionChat) -> None:
        self._client = client

    def create(
        self, url: str, events: Iterable[str] | None = None, secret: str | None = None
    ) -> Webhook:
        """Registers an address; the secret is shown this once. Default: all three events."""
        return self._client.run(self._client.flows.create_webhook(url, events, secret))

    def list(self) -> Sequence[Webhook]:
        """Every webhook, oldest first."""
        return self._client.run(self._client.flows.webhooks())

    def update(
        self,
        webhook_id: str,
        *,
        url: str | None = None,
        events: Iterable[str] | None = None,
        enabled: bool | None = None,
    ) -> Webhook:
        """Changes what is given."""
        return self._client.run(self._client.flows.update_webhook(webhook_id, url, events, enabled))

    def delete(self, webhook_id: str) -> None:
        """Deletes a webhook."""
        self._client.run(self._client.flows.delete_webhook(webhook_id))

    def test(self, webhook_id: str) -> Delivery:
        """Sends a test event."""
        return self._client.run(self._client.flows.test_webhook(webhook_id))

    def rotate(self, webhook_id: str) -> Webhook:
        """Replaces the secret; the new one is shown this once."""
        return self._client.run(self._client.flows.rotate_webhook(webhook_id))

    def deliveries(self, webhook_id: str) -> Sequence[Delivery]:
        """What was sent, newest first."""
        return self._client.run(self._client.flows.deliveries(webhook_id))

    def redeliver(self, webhook_id: str, delivery_id: str) -> Delivery:
        """Sends a past delivery again."""
        return self._client.run(self._client.flows.redeliver(webhook_id, delivery_id))


class AsyncEmotionChat:
    """The same client, to be awaited. Close it, or use it in an `async with` statement."""

    def __init__(
        self,
        api_key: str,
        base_url: str = BASE_URL,
        *,
        timeout_s: float = 60.0,
        retries: Retries | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._http = httpx.AsyncClient(
            base_url=base_url, headers=_headers(api_key), timeout=timeout_s, transport=transport
        )
        self._flows = Flows(self._http, retries or Retries())
        self.recordings = AsyncRecordings(self)
        self.webhooks = AsyncWebhooks(self)

    async def analyze(
        self,
        video: Video,
        *,
        metadata: Mapping[str, Any] | None = None,
        depth: Depth = "basic",
        language: str | None = None,
        wait: bool = True,
        timeout_s: float = LONGEST_WAIT_S,
    ) -> Recording:
        """As EmotionChat.analyze."""
        flow = self._flows.analyze(video, metadata, depth, language, wait, timeout_s)
        return await self.run(flow)

    async def usage(self) -> Usage:
        """The current month."""
        return await self.run(self._flows.usage())

    async def close(self) -> None:
        """Ends the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> AsyncEmotionChat:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()

    @property
    def flows(self) -> Flows:
        """The calls as steps."""
        return self._flows

    async def run(self, flow: Flow[T]) -> T:
        """Carries out the steps of a call."""
        try:
            step: Step = next(flow)
            while True:
                if isinstance(step, httpx.Request):
                    try:
                        response = await self._http.send(step)
                    except httpx.TransportError as error:
                        step = flow.throw(error)
                    else:
                        step = flow.send(response)
                else:
                    await asyncio.sleep(step)
                    step = next(flow)
        except StopIteration as done:
            result: T = done.value
            return result


class AsyncRecordings:
    """What is kept."""

    def __init__(self, client: AsyncEmotionChat) -> None:
        self._client = client

    async def list(self, page: int = 1, per_page: int = 20, status: Status | None = None) -> Page:
        """A page, newest first."""
        return await self._client.run(self._client.flows.page(page, per_page, status))

    async def all(self, status: Status | None = None) -> AsyncIterator[Recording]:
        """Every recording, newest first."""
        number = 1
        while (found := await self.list(number, 100, status)).recordings:
            for one in found.recordings:
                yield one
            number += 1

    async def get(self, recording_id: str) -> Recording:
        """One recording with all that is known of it."""
        return await self._client.run(self._client.flows.recording(recording_id))

    async def wait(self, recording_id: str, timeout_s: float = LONGEST_WAIT_S) -> Recording:
        """One recording, once it is analysed. Raises AnalysisFailed and TimeoutError."""
        return await self._client.run(self._client.flows.wait(recording_id, timeout_s))

    async def export(self, recording_id: str, format: Format = "json") -> bytes:
        """The analysis in a form for other programs."""
        return await self._client.run(self._client.flows.export(recording_id, format))

    async def delete(self, recording_id: str) -> Deletion:
        """Deletes a recording with all that was made of it."""
        return await self._client.run(self._client.flows.delete(recording_id))


class AsyncWebhooks:
    """Addresses that are told of events."""

    def __init__(self, client: AsyncEmotionChat) -> None:
        self._client = client

    async def create(
        self, url: str, events: Iterable[str] | None = None, secret: str | None = None
    ) -> Webhook:
        """Registers an address; the secret is shown this once. Default: all three events."""
        return await self._client.run(self._client.flows.create_webhook(url, events, secret))

    async def list(self) -> Sequence[Webhook]:
        """Every webhook, oldest first."""
        return await self._client.run(self._client.flows.webhooks())

    async def update(
        self,
        webhook_id: str,
        *,
        url: str | None = None,
        events: Iterable[str] | None = None,
        enabled: bool | None = None,
    ) -> Webhook:
        """Changes what is given."""
        flow = self._client.flows.update_webhook(webhook_id, url, events, enabled)
        return await self._client.run(flow)

    async def delete(self, webhook_id: str) -> None:
        """Deletes a webhook."""
        await self._client.run(self._client.flows.delete_webhook(webhook_id))

    async def test(self, webhook_id: str) -> Delivery:
        """Sends a test event."""
        return await self._client.run(self._client.flows.test_webhook(webhook_id))

    async def rotate(self, webhook_id: str) -> Webhook:
        """Replaces the secret; the new one is shown this once."""
        return await self._client.run(self._client.flows.rotate_webhook(webhook_id))

    async def deliveries(self, webhook_id: str) -> Sequence[Delivery]:
        """What was sent, newest first."""
        return await self._client.run(self._client.flows.deliveries(webhook_id))

    async def redeliver(self, webhook_id: str, delivery_id: str) -> Delivery:
        """Sends a past delivery again."""
        return await self._client.run(self._client.flows.redeliver(webhook_id, delivery_id))


def _headers(api_key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {api_key}", "User-Agent": "emotionchat-python/0.1.0"}
