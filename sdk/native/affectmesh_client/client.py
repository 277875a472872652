"""The WIA v1 REST API and the live streams."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
from httpx_retries import Retry, RetryTransport

from affectmesh_client import errors
from affectmesh_client.stream import Stream

Answer = dict[str, Any]
Media = Path | bytes | str
"""A file, its bytes, or the URL of one."""

KEY_HEADER = "X-WIA-API-Key"
TRIES_AGAIN = 3


class AffectMesh:
    """A client of one mesh. Use it in an `async with` statement, or close it.

    Analyses that find the mesh busy or restarting are sent again up to TRIES_AGAIN times.
    """

    def __init__(self, base_url: str, api_key: str, *, timeout_s: float = 120.0) -> None:
        self._base_url = base_url.rstrip("/")
        self._key = api_key
        retry = Retry(
            total=TRIES_AGAIN,
            backoff_factor=0.5,
            status_forcelist=(429, 503),
            allowed_methods=("GET", "POST", "DELETE"),
            retry_on_exceptions=(httpx.ConnectError, httpx.ConnectTimeout),
        )
        self._http = httpx.AsyncClient(
            base_url=self._base_url,
            headers={KEY_HEADER: api_key},
            timeout=timeout_s,
            transport=RetryTransport(retry=retry),
        )

    async def face(self, image: Media, **options: Any) -> Answer:
        """Every face of an image."""
        return await self._analyze("face", {**await _media("image", image), "options": options})

    async def face_video(self, video: Media, **options: Any) -> Answer:
        """Every face of a video, on a timeline."""
        body = {**await _media("video", video), "options": options}
        return await self._analyze("face/video", body)

    async def voice(self, audio: Media, **options: Any) -> Answer:
        """What was said, how, and which emotion it carries."""
        return await self._analyze("voice", {**await _media("audio", audio), "options": options})

    async def text(self, text: str, language: str | None = None, **options: Any) -> Answer:
        """Sentiment, emotions, aspects, entities, sarcasm."""
        body: Answer = {"text": text, "options": options}
        return await self._analyze("text", body | ({"language": language} if language else {}))

    async def text_batch(
        self, texts: Iterable[str | Mapping[str, str]], language: str | None = None
    ) -> Answer:
        """Many texts at once: each a text, numbered from 0, or {id, text, language?}."""
        items = [
            {"id": str(number), "text": one} if isinstance(one, str) else dict(one)
            for number, one in enumerate(texts)
        ]
        body: Answer = {"texts": items} | ({"language": language} if language else {})
        return await self._analyze("text/batch", body)

    async def biosignal(self, signals: Mapping[str, Any], **options: Any) -> Answer:
        """Heart, skin and breath."""
        return await self._analyze("biosignal", {"signals": dict(signals), "options": options})

    async def multimodal(self, modalities: Mapping[str, Any], **fusion: Any) -> Answer:
        """Several modalities as one; `modalities` and the fusion options as documented."""
        return await self._analyze("multimodal", {**modalities, **fusion})

    async def upload(self, file: Path, content_type: str = "application/octet-stream") -> Answer:
        """Keeps a file at the mesh, for jobs."""
        with file.open("rb") as opened:
            part = (file.name, opened, content_type)
            return await self.request("POST", "/v1/media", files={"file": part})

    async def create_job(
        self, kind: str, *, media_id: str | None = None, url: str | None = None, **more: Any
    ) -> Answer:
        """Queues a job, such as "recording_basic", for a file held by the mesh or at a URL."""
        source = {"media_id": media_id} if media_id else {"url": url} if url else {}
        return await self.request("POST", "/v1/jobs", json={"kind": kind, "input": source, **more})

    async def job(self, job_id: str) -> Answer:
        """Where a job stands."""
        return await self.request("GET", f"/v1/jobs/{job_id}")

    async def result(self, job_id: str) -> Answer:
        """What the analysis of a job that is done found. Raises StopIteration where it has none."""
        forms = (await self.job(job_id))["representations"]
        form = next(one for one in forms if one["file_name"] == "result.json")
        return await self.request("GET", f"/v1/media/{form['media_id']}/content")

    async def cancel(self, job_id: str) -> Answer:
        """Stops a job."""
        return await self.request("POST", f"/v1/jobs/{job_id}/cancel")

    async def watch(self, job_id: str) -> AsyncIterator[Answer]:
        """A job now and at every change, until it ends."""
        path = f"/v1/jobs/{job_id}/watch"
        async with self._http.stream("GET", path, timeout=None) as response:
            if response.status_code >= 400:
                await response.aread()
                raise _refusal(response)
            async for line in response.aiter_lines():
                if line.startswith("data:"):
                    yield json.loads(line.removeprefix("data:"))

    def voice_stream(self, sample_rate: int, encoding: str = "LINEAR16", **config: Any) -> Stream:
        """Live audio: binary chunks in, partial and final messages out."""
        first = {"type": "config", "sample_rate": sample_rate, "encoding": encoding, **config}
        return self._stream("/v1/analyze/voice/stream", first)

    def stream(self, modalities: Sequence[str], **config: Any) -> Stream:
        """The WIA streaming protocol: framed pictures, voice, or both, on one clock."""
        first = {"type": "config", "modalities": list(modalities), **config}
        return self._stream("/v1/stream", first)

    def biosignal_stream(self, **config: Any) -> Stream:
        """Live biosignals."""
        return self._stream("/v1/analyze/biosignal/stream", {"type": "config", **config})

    async def request(self, method: str, path: str, **parts: Any) -> Answer:
        """The answer to any request; `parts` as httpx takes them. Raises Refused."""
        response = await self._http.request(method, path, **parts)
        if response.status_code >= 400:
            raise _refusal(response)
        answer: Answer = response.json()
        return answer

    async def close(self) -> None:
        """Ends the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> AffectMesh:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()

    async def _analyze(self, path: str, body: Answer) -> Answer:
        if not body.get("options", True):
            del body["options"]
        return await self.request("POST", f"/v1/analyze/{path}", json=body)

    def _stream(self, path: str, config: Answer) -> Stream:
        url = "ws" + self._base_url.removeprefix("http") + path
        return Stream(url, {KEY_HEADER: self._key}, config)


async def _media(name: str, media: Media) -> Answer:
    if isinstance(media, str):
        return {f"{name}_url": media}
    data = media if isinstance(media, bytes) else await asyncio.to_thread(media.read_bytes)
    return {f"{name}_base64": base64.b64encode(data).decode()}


def _refusal(response: httpx.Response) -> errors.Refused:
    try:
        body = response.json()
    except ValueError:
        body = None
    return errors.of_answer(response.status_code, body, response.headers.get("x-request-id", ""))
