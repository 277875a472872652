"""The gRPC contract, with a key on every call and errors as exceptions."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable
from functools import cached_property
from typing import Any, TypeVar, cast

import grpc

from affectmesh.v1 import (
    biosignal_pb2_grpc,
    face_pb2_grpc,
    fusion_pb2_grpc,
    jobs_pb2_grpc,
    text_pb2_grpc,
    voice_pb2_grpc,
)
from affectmesh_client.errors import of_call

S = TypeVar("S")

LARGEST_BYTES = 256 * 1024 * 1024
_OPTIONS = (
    ("grpc.max_receive_message_length", LARGEST_BYTES),
    ("grpc.max_send_message_length", LARGEST_BYTES),
)


class Contract:
    """Stubs of every service behind one address, the mesh's edge.

    tls: with the system's root certificates, with those given as PEM, or (False) without. Calls
    raise Refused.
    """

    def __init__(self, address: str, api_key: str, *, tls: bool | bytes = True) -> None:
        if tls is False:
            self._channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        else:
            roots = tls if isinstance(tls, bytes) else None
            credentials = grpc.ssl_channel_credentials(roots)
            self._channel = grpc.aio.secure_channel(address, credentials, options=_OPTIONS)
        self._keyed = _Keyed(self._channel, (("x-wia-api-key", api_key),))

    @cached_property
    def face(self) -> face_pb2_grpc.FaceServiceStub:
        """Faces in images, videos and live frames."""
        return self._stub(face_pb2_grpc.FaceServiceStub)

    @cached_property
    def voice(self) -> voice_pb2_grpc.VoiceServiceStub:
        """Speech, recorded and live."""
        return self._stub(voice_pb2_grpc.VoiceServiceStub)

    @cached_property
    def text(self) -> text_pb2_grpc.TextServiceStub:
        """Written text."""
        return self._stub(text_pb2_grpc.TextServiceStub)

    @cached_property
    def biosignal(self) -> biosignal_pb2_grpc.BiosignalServiceStub:
        """Heart, skin and breath, recorded and live."""
        return self._stub(biosignal_pb2_grpc.BiosignalServiceStub)

    @cached_property
    def fusion(self) -> fusion_pb2_grpc.FusionServiceStub:
        """Several modalities as one; recordings."""
        return self._stub(fusion_pb2_grpc.FusionServiceStub)

    @cached_property
    def jobs(self) -> jobs_pb2_grpc.JobServiceStub:
        """Media, jobs and webhooks."""
        return self._stub(jobs_pb2_grpc.JobServiceStub)

    async def close(self) -> None:
        """Ends the connection."""
        await self._channel.close()

    async def __aenter__(self) -> Contract:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()

    def _stub(self, make: Callable[[grpc.aio.Channel], S]) -> S:
        return make(cast(grpc.aio.Channel, self._keyed))


class _Keyed:
    """A channel whose calls carry a key and raise Refused."""

    def __init__(self, channel: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...]) -> None:
        self._channel = channel
        self._metadata = metadata

    def unary_unary(self, *arguments: Any, **named: Any) -> Any:
        return self._once(self._channel.unary_unary(*arguments, **named))

    def stream_unary(self, *arguments: Any, **named: Any) -> Any:
        return self._once(self._channel.stream_unary(*arguments, **named))

    def unary_stream(self, *arguments: Any, **named: Any) -> Any:
        return self._many(self._channel.unary_stream(*arguments, **named))

    def stream_stream(self, *arguments: Any, **named: Any) -> Any:
        return self._many(self._channel.stream_stream(*arguments, **named))

    def _once(self, method: Any) -> Any:
        async def call(request: Any, timeout: float | None = None) -> Any:
            try:
                return await method(request, timeout=timeout, metadata=self._metadata)
            except grpc.aio.AioRpcError as error:
                raise of_call(error) from error

        return call

    def _many(self, method: Any) -> Any:
        async def call(
            request: Any | AsyncIterable[Any], timeout: float | None = None
        ) -> AsyncIterator[Any]:
            stream = method(request, timeout=timeout, metadata=self._metadata)
            try:
                async for answer in stream:
                    yield answer
            except grpc.aio.AioRpcError as error:
                raise of_call(error) from error
            finally:
                stream.cancel()

        return call
