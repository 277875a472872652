"""Live biosignals: the contract's own messages as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from affectmesh.v1 import biosignal_pb2, biosignal_pb2_grpc, types_pb2
from services.common import errors
from services.common.transcoding import parser, renderer
from services.gateway.streaming import messages
from services.gateway.streaming.stream import Stream
from services.gateway.streaming.upstream import Upstream

_PART = "biosignal"

_read_config = parser(biosignal_pb2.StreamBiosignalConfig.DESCRIPTOR)
_read_samples = parser(biosignal_pb2.StreamBiosignalRequest.DESCRIPTOR)
_render_result = renderer(biosignal_pb2.StreamBiosignalResult.DESCRIPTOR)


class BiosignalStream(Stream):
    """/v1/analyze/biosignal/stream."""

    route = "/v1/analyze/biosignal/stream"
    item = "analyze.biosignal.stream"

    async def configure(self, kind: str, message: dict[str, Any]) -> None:
        """A config as StreamBiosignalConfig."""
        if kind != "config":
            raise errors.InvalidRequest(
                f"The first message is of type {kind[:32]!r}.",
                field="type",
                suggestion="Send the config first.",
            )
        asked = _read_config(message)
        self._id = asked.stream_id
        self._summary: types_pb2.SessionSummary | None = None
        stub = self.surroundings.channels.stub("biosignal", biosignal_pb2_grpc.BiosignalServiceStub)
        self.parts[_PART] = Upstream(
            "biosignal",
            stub.StreamBiosignal,
            biosignal_pb2.StreamBiosignalRequest(config=asked),
            self.limits.samples_waiting,
        )

    async def take(self, data: bytes) -> None:
        """Binary messages have no place here."""
        raise errors.InvalidRequest(
            f"{len(data)} bytes came where JSON belongs.",
            suggestion='Send samples as {"type": "samples", "signals": {…}}.',
        )

    async def take_message(self, kind: str, message: dict[str, Any]) -> None:
        """Samples; a slow service makes the client wait."""
        if kind != "samples":
            await super().take_message(kind, message)
        if message.keys() != {"signals"}:
            raise errors.InvalidRequest(
                "samples needs signals, and nothing else.",
                field="signals",
                suggestion='Send {"type": "samples", "signals": {"ecg": {"data": […]}}}.',
            )
        request = _read_samples({"samples": message["signals"]})
        if self.accepting:
            await self.parts[_PART].put(request)

    def action(self, _part: str, action: types_pb2.StreamAction.ValueType) -> Any:
        """An action for the biosignal service."""
        return biosignal_pb2.StreamBiosignalRequest(action=action)

    async def answer(self, _part: str, response: Any) -> None:
        """The contract's messages."""
        match response.WhichOneof("message"):
            case "result":
                self._id = response.result.stream_id
                await self.client.send("result", **_render_result(response.result))
            case "event":
                await self.client.send("event", **messages.event(response.event))
            case "error":
                await self.tell_error(_PART, response.error)
            case "summary":
                self._summary = response.summary

    def summary(self) -> Mapping[str, Any] | None:
        """The biosignal service's."""
        if self._summary is None:
            return None
        return {"stream_id": self._id, **messages.summary([self._summary], 0)}
