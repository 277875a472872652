"""The life of one live stream, whatever it carries."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, ClassVar

import structlog

from affectmesh.v1 import types_pb2
from services.common import errors, metrics
from services.common.channels import Channels
from services.gateway.policy import Policy
from services.gateway.streaming import messages
from services.gateway.streaming.client import Client
from services.gateway.streaming.clock import iso
from services.gateway.streaming.closing import (
    CloseCode,
    Ended,
    Gone,
    close_code_of,
    ended_by,
    said,
    stream_code,
)
from services.gateway.streaming.config import consent_reference
from services.gateway.streaming.following import Running
from services.gateway.streaming.limits import Limits
from services.gateway.streaming.rates import Throttle
from services.gateway.streaming.resumption import Dropped, Resumption
from services.gateway.streaming.standing import Standing
from services.gateway.streaming.upstream import Upstream

log = structlog.get_logger()

_MICRO = Decimal("0.000001")
_DROPS_TOLD_EVERY_S = 1.0


@dataclass(frozen=True)
class Surroundings:
    """What the streams of one gateway share."""

    channels: Channels
    policy: Policy
    limits: Limits
    resumption: Resumption
    running: Running


class Stream(ABC):
    """One stream; a subclass knows its messages.

    Actions of the client are the same on every stream: ping, pong, pause, resume, close and
    auth_refresh.
    """

    route: ClassVar[str]
    item: ClassVar[str]
    """In the price table, by the minute."""
    hears_pauses: ClassVar[bool] = False
    """Whether the service gets what comes in a pause, to keep count of time."""

    def __init__(
        self, client: Client, standing: Standing, surroundings: Surroundings, request_id: str
    ) -> None:
        self.client = client
        self.standing = standing
        self.surroundings = surroundings
        self.limits = surroundings.limits
        self.parts: dict[str, Upstream] = {}
        self.frames = 0
        self.dropped = 0
        self._request_id = request_id
        self._paused = False
        self._closing = False
        self._expired_s: float | None = None
        self._started_s = self._active_s = self._pinged_s = time.monotonic()
        self._drops: dict[str, Throttle] = {}
        self._failure: errors.AffectMeshError | None = None
        self._fatal: types_pb2.StreamError | None = None

    @abstractmethod
    async def configure(self, kind: str, message: dict[str, Any]) -> None:
        """Reads the first message and opens `parts`. Raises InvalidRequest, Ended."""

    @abstractmethod
    async def take(self, data: bytes) -> None:
        """Hands a binary message on. Raises InvalidRequest."""

    @abstractmethod
    async def answer(self, part: str, response: Any) -> None:
        """Words what a service says to the client. Raises Gone."""

    @abstractmethod
    def action(self, part: str, action: types_pb2.StreamAction.ValueType) -> Any:
        """An action as the part's service takes it."""

    @abstractmethod
    def summary(self) -> Mapping[str, Any] | None:
        """The session summary, once every part has ended."""

    async def take_message(self, kind: str, message: dict[str, Any]) -> None:
        """Hands on a JSON message that is no action. Raises InvalidRequest."""
        raise errors.InvalidRequest(
            f"Messages of type {kind[:32]!r} are not known here.",
            field="type",
            suggestion="Known types are listed in the streaming documentation.",
        )

    @property
    def id(self) -> str:
        """Of the configured stream; by it others follow it, and its client resumes it."""
        return ""

    def resumable(self) -> Any:
        """What the stream needs to go on when the client comes back; None where it cannot."""
        return None

    def resumed(self, stream_id: str) -> Dropped | None:
        """What a dropped stream of this id and kind left; only once."""
        org_id = self.standing.admission.principal.org_id
        return self.surroundings.resumption.take(org_id, self.route, stream_id)

    async def opened(self) -> None:
        """Tells the client that the config was understood, where no service has to say so."""
        return

    async def run(self) -> None:
        """Serves the client until the end, and leaves nothing behind."""
        tasks: list[asyncio.Task[None]] = []
        code = int(CloseCode.NORMAL)
        listed = ExitStack()
        try:
            pumps: list[asyncio.Task[None]] = []
            try:
                await self._begin()
                listed.enter_context(self._listed())
                await self.opened()
                pumps = [asyncio.create_task(self._pump(name)) for name in self.parts]
                serving = [asyncio.create_task(self._read()), asyncio.create_task(self._watch())]
                tasks = [*serving, *pumps]
                await self._serve(serving, pumps)
                ended = Ended(CloseCode.NORMAL, "")
            except Ended as error:
                ended = error
            except Gone:
                self._keep()
                raise
            except Exception:
                log.exception("stream failed", route=self.route)
                internal = errors.Internal()
                ended = Ended(CloseCode.SERVICE_FAILED, said(internal), stream_code(internal))
            self._closing = True
            await self._end(ended, tasks, pumps)
            code = ended.close_code
        except Gone as gone:
            code = gone.close_code
        finally:
            for part in self.parts.values():
                part.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            listed.close()
            if self.parts:
                await self._meter()
            log.info("stream", route=self.route, code=code, frames=self.frames)

    async def drop(self, what: str, count: int = 1, number: int | None = None) -> None:
        """Counts what came too fast, and tells the client now and then. Raises Gone."""
        self.dropped += count
        metrics.STREAM_INPUTS_DROPPED.labels(self.route).inc(count)
        await self.tell_dropped(what, count, number)

    async def tell_dropped(self, what: str, count: int, number: int | None = None) -> None:
        """Tells the client, at most once a second, how much was dropped. Raises Gone."""
        throttle = self._drops.setdefault(what, Throttle(_DROPS_TOLD_EVERY_S))
        if told := throttle.count(time.monotonic(), count):
            await self.client.error(
                "RATE_EXCEEDED",
                f"{told} {what} came faster than they can be analysed and were dropped. "
                "Send less at once.",
                True,
                number,
                dropped_count=told,
            )

    async def tell_error(self, part: str, error: types_pb2.StreamError) -> None:
        """Hands on a service's error; the stream ends with the last service. Raises Gone."""
        told = messages.error(error)
        if not error.recoverable:
            self._fatal = error
            others = [other.alive for name, other in self.parts.items() if name != part]
            told |= {"recoverable": any(others), "modality": part}
        await self.client.send("error", **told)

    def consent(self, token: str) -> None:
        """Puts a consent token of the config in the ledger's entry of this stream."""
        admission = self.standing.admission
        if token and not admission.consent_reference:
            reference = consent_reference(token)
            self.standing.admission = replace(admission, consent_reference=reference)

    async def _begin(self) -> None:
        try:
            async with asyncio.timeout(self.limits.config_s):
                first = await self.client.receive()
        except TimeoutError:
            raise Ended(
                CloseCode.TIMEOUT,
                f"No config came within {self.limits.config_s:g} s.",
                "INVALID_REQUEST",
            ) from None
        self._active_s = time.monotonic()
        try:
            if isinstance(first, bytes):
                raise errors.InvalidRequest(
                    "Media came before the config.",
                    suggestion="Send the config as the first message.",
                )
            await self.configure(*self.client.read(first))
        except errors.AffectMeshError as error:
            raise Ended(CloseCode.INVALID_CONFIG, said(error), stream_code(error)) from None

    async def _serve(
        self, serving: list[asyncio.Task[None]], pumps: list[asyncio.Task[None]]
    ) -> None:
        """Until the client closes. Raises Ended when the server does, and Gone."""
        waiting = {*serving, *pumps}
        while True:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            if done & set(serving):
                return
            if not waiting & set(pumps):
                raise self._why_services_ended()

    def _why_services_ended(self) -> Ended:
        if self._failure is None and self._fatal is not None:
            return Ended(close_code_of(self._fatal.code), self._fatal.message)
        return ended_by(self._failure or errors.Unavailable("The service ended the stream."))

    async def _end(
        self, ended: Ended, tasks: list[asyncio.Task[None]], pumps: list[asyncio.Task[None]]
    ) -> None:
        for task in tasks:
            if task not in pumps:
                task.cancel()
        try:
            async with asyncio.timeout(self.limits.farewell_s):
                if ended.code:
                    await self.client.error(ended.code, ended.message, False)
                for name, part in self.parts.items():
                    if part.alive:
                        part.finish(self.action(name, types_pb2.STREAM_ACTION_CLOSE))
                for found in await asyncio.gather(*pumps, return_exceptions=True):
                    if isinstance(found, Gone):
                        raise found
                if self.parts and (summary := self.summary()) is not None:
                    await self.client.send("session_summary", **summary)
                await self.client.close(ended.close_code, ended.message)
        except TimeoutError:
            log.warning("stream ended without its summary", route=self.route)
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self.client.close(ended.close_code, ended.message)

    async def _read(self) -> None:
        """Takes the client's messages until it closes."""
        while True:
            message = await self.client.receive()
            try:
                if isinstance(message, bytes):
                    await self._take_bytes(message)
                elif await self._take_text(message):
                    return
            except errors.AffectMeshError as error:
                await self.client.error(stream_code(error), said(error), True)

    async def _take_bytes(self, data: bytes) -> None:
        self._active_s = time.monotonic()
        self.frames += 1
        if self.frames > self.limits.frames:
            raise Ended(
                CloseCode.LIMIT, f"A stream ends after {self.limits.frames} frames.", "STREAM_LIMIT"
            )
        if self._paused and not self.hears_pauses:
            return
        if self._expired_s is not None:
            self.dropped += 1
            return
        try:
            await self.take(data)
        except errors.InvalidRequest as error:
            await self.client.error("INVALID_FRAME", said(error), True, self.frames)

    async def _take_text(self, text: str) -> bool:
        """Whether the client asks for the end."""
        kind, message = self.client.read(text)
        if kind in ("ping", "pong"):
            if kind == "ping":
                await self.client.send("pong", timestamp=iso(time.time_ns() // 1_000_000))
            return False
        self._active_s = time.monotonic()
        match kind:
            case "close":
                return True
            case "pause":
                self._pause(True)
            case "resume":
                self._pause(False)
            case "auth_refresh":
                await self._refresh(message.get("token"))
            case "config":
                raise errors.InvalidRequest(
                    "The stream is configured already.",
                    suggestion="Open another stream for another configuration.",
                )
            case _:
                await self.take_message(kind, message)
        return False

    def _pause(self, paused: bool) -> None:
        if paused is self._paused:
            return
        self._paused = paused
        action = types_pb2.STREAM_ACTION_PAUSE if paused else types_pb2.STREAM_ACTION_RESUME
        for name, part in self.parts.items():
            if part.alive:
                part.act(self.action(name, action))

    @property
    def accepting(self) -> bool:
        """Whether input is taken now."""
        return not self._paused and self._expired_s is None

    async def _refresh(self, token: Any) -> None:
        if type(token) is not str:
            raise errors.InvalidRequest(
                "auth_refresh has no token.", field="token", suggestion="Send a new token."
            )
        try:
            await self.standing.refresh(token)
        except (errors.Unauthorized, errors.Forbidden, errors.Unavailable) as error:
            await self.client.error("AUTH_EXPIRED", said(error), True)
        else:
            self._expired_s = None

    async def _watch(self) -> None:
        """Looks at the limits and at the credential. Raises Ended."""
        limits = self.limits
        while True:
            await asyncio.sleep(limits.tick_s)
            now_s = time.monotonic()
            if now_s - self._started_s >= limits.duration_s:
                raise Ended(
                    CloseCode.LIMIT, f"A stream ends after {limits.duration_s:g} s.", "STREAM_LIMIT"
                )
            if now_s - self._active_s >= limits.idle_s:
                raise Ended(
                    CloseCode.TIMEOUT, f"Nothing came for {limits.idle_s:g} s.", "STREAM_LIMIT"
                )
            if now_s - max(self._pinged_s, self.client.heard) >= limits.ping_s:
                self._pinged_s = now_s
                await self.client.send("ping", timestamp=iso(time.time_ns() // 1_000_000))
            await self._check_standing(now_s)

    async def _check_standing(self, now_s: float) -> None:
        if self._expired_s is None:
            try:
                await self.standing.check()
            except errors.Unauthorized as error:
                self._expired_s = now_s
                await self.client.error("AUTH_EXPIRED", said(error), True)
            except errors.Forbidden as error:
                raise Ended(CloseCode.FORBIDDEN, error.message, error.code) from error
        elif now_s - self._expired_s >= self.limits.auth_grace_s:
            raise Ended(CloseCode.AUTH_EXPIRED, "The credential has expired.")

    async def _pump(self, name: str) -> None:
        """Hands on what one service says, until it ends."""
        try:
            async for response in self.parts[name].responses():
                await self.answer(name, response)
        except errors.AffectMeshError as error:
            self._failure = error
            alive = any(part.alive for part in self.parts.values())
            if alive or self._closing:
                await self.client.error(
                    stream_code(error), f"{name}: {said(error)}", alive, modality=name
                )

    def _keep(self) -> None:
        if self.parts and (state := self.resumable()) is not None:
            org_id = self.standing.admission.principal.org_id
            self.surroundings.resumption.keep(org_id, self.route, self.id, state, self.frames)

    def _listed(self) -> AbstractContextManager[None]:
        if not self.id:
            return nullcontext()
        org_id = self.standing.admission.principal.org_id
        return self.surroundings.running.listed(org_id, self.id, self.client.audience)

    async def _meter(self) -> None:
        minutes = Decimal(time.monotonic() - self._started_s) / 60
        await self.surroundings.policy.record(
            self.standing.admission, self._request_id, self.item, minutes.quantize(_MICRO)
        )
