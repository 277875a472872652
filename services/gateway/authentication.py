"""Who is asking: the credential in a request, and the principal behind it."""

import asyncio
import base64
import binascii
import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any
from urllib.parse import parse_qs, urlsplit

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from starlette.types import Scope

from affectmesh.v1 import billing_pb2 as pb
from affectmesh.v1 import billing_pb2_grpc
from services.billing.announcements import CHANNEL, OUTAGES
from services.billing.rules import Rule, rule_against
from services.common import errors
from services.common.channels import Channels, call

log = structlog.get_logger()

SESSION_COOKIE = "session_token"

PUSHED_TTL_S = 30.0
"""How long a principal is taken from memory while revocations are pushed by Redis."""

POLLED_TTL_S = 0.8
"""How long while they are not: a revocation is then seen when the principal is asked for again."""

OUTAGE_TTL_S = 300.0
"""How long a principal once seen is still served while the billing service is gone."""

REFUSED_TTL_S = 1.0
_LARGEST_CACHE = 50_000
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_LONGEST_SECRET = 4096
_CALL_TIMEOUT_S = 2.0
_RECHECK_S = 0.25
_RECONNECT_S = 0.2
_PING_S = 0.25
_SILENCE_S = 0.75


@dataclass(frozen=True)
class Credential:
    """A secret, and how it was presented."""

    kind: pb.CredentialKind.ValueType
    secret: str


class State(Enum):
    """What is known of a principal in memory."""

    CURRENT = 1
    DOUBTFUL = 2
    """A revocation may have been missed: ask again, and serve it while nobody answers."""
    VOID = 3
    """Something of it changed: ask again, and serve it only on an answer."""


@dataclass
class Known:
    """A principal in memory, with what every request needs of it made ready."""

    principal: pb.Principal
    scopes: frozenset[str]
    rule: Rule | None
    expires_s: float
    """Unix time when the principal ends; infinity where it does not."""
    checked: float
    """Monotonic time of the last answer of the billing service."""
    state: State
    recheck: float = 0.0
    """Monotonic time until which it is served while the billing service is gone."""


def credential_of(scope: Scope) -> Credential | None:
    """The credential of an HTTP or WebSocket request; the first of these that it has.

    X-WIA-API-Key, X-API-Key, Authorization (Bearer key or token, or Basic with the key as user
    name or password), ?apikey=, ?token=, the session cookie.
    """
    authorization = cookie = None
    for name, value in scope["headers"]:
        if name in (b"x-wia-api-key", b"x-api-key"):
            return _key_or_token(value.decode("latin-1"))
        if name == b"authorization":
            authorization = value.decode("latin-1")
        elif name == b"cookie":
            cookie = value.decode("latin-1")
    if authorization is not None:
        return _authorization(authorization)
    if query := scope.get("query_string"):
        parameters = parse_qs(query.decode("latin-1"), max_num_fields=100)
        for name in ("apikey", "token"):
            if found := parameters.get(name):
                return _key_or_token(found[0])
    if cookie is not None:
        return _session(cookie)
    return None


def _key_or_token(secret: str) -> Credential:
    secret = secret.strip()
    token = secret.count(".") == 2 and secret.startswith("ey")
    kind = pb.CREDENTIAL_KIND_ACCESS_TOKEN if token else pb.CREDENTIAL_KIND_API_KEY
    return Credential(kind, secret)


def _authorization(value: str) -> Credential:
    scheme, _, rest = value.strip().partition(" ")
    if scheme.lower() == "bearer":
        return _key_or_token(rest)
    if scheme.lower() == "basic":
        try:
            user, _, password = (
                base64.b64decode(rest.strip(), validate=True).decode().partition(":")
            )
        except (binascii.Error, UnicodeDecodeError):
            raise _unauthorized("The Basic credentials cannot be read.") from None
        return _key_or_token(user if user.startswith(("ek_", "sk_")) or not password else password)
    raise _unauthorized(f"Authorization by {scheme[:20]} is not known here.")


def check_origin(scope: Scope) -> None:
    """Refuses what another site makes a signed-in browser send."""
    if scope.get("method", "GET") in _SAFE_METHODS and scope["type"] == "http":
        return
    headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
    site = headers.get(b"sec-fetch-site", "none")
    origin = headers.get(b"origin")
    own = origin is None or urlsplit(origin).netloc.lower() == headers.get(b"host", "").lower()
    if site not in ("same-origin", "same-site", "none") or not own:
        raise errors.Forbidden(
            "Another site may not use this session.",
            suggestion="Use an API key from other sites.",
        )


def session_token(scope: Scope) -> str:
    """The session cookie's value; empty where there is none."""
    for name, value in scope["headers"]:
        if name == b"cookie" and (session := _session(value.decode("latin-1"))) is not None:
            return session.secret
    return ""


def _session(cookie: str) -> Credential | None:
    for part in cookie.split(";"):
        name, _, value = part.strip().partition("=")
        if name == SESSION_COOKIE and value:
            return Credential(pb.CREDENTIAL_KIND_SESSION, value.strip('"'))
    return None


def _unauthorized(message: str) -> errors.Unauthorized:
    return errors.Unauthorized(
        message, suggestion="Send an API key as X-WIA-API-Key, X-API-Key or Authorization: Bearer."
    )


class Authenticator:
    """Principals by credential, kept in memory under a hash of the secret.

    A revocation reaches this process by Redis at once; while Redis does not push, every principal
    is asked for again after POLLED_TTL_S. While the billing service is gone, principals once seen
    are still served, and others get Unavailable.
    """

    def __init__(
        self, channels: Channels, redis: Redis | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        stub = channels.stub("billing", billing_pb2_grpc.BillingServiceStub)
        self._authenticate = stub.Authenticate
        self._clock = clock
        self._salt = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, Known] = OrderedDict()
        self._refused: OrderedDict[bytes, tuple[float, errors.AffectMeshError]] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[Known]] = {}
        self._epoch = 0
        self._pushed = False
        self.gateways = 1
        """Gateways that listen on the same Redis, this one among them, when last counted."""
        self._listener = asyncio.create_task(self._listen(redis)) if redis is not None else None

    async def close(self) -> None:
        """Stops listening."""
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)

    async def principal(self, credential: Credential | None) -> Known:
        """Who presents this credential. Raises Unauthorized, Unavailable."""
        if credential is None:
            raise _unauthorized("There is no credential in this request.")
        if not 8 <= len(credential.secret) <= _LONGEST_SECRET:
            raise _unauthorized("This is not a credential of ours.")
        digest = self._digest(credential)
        known = self._known.get(digest)
        if known is not None:
            now = self._clock()
            if known.expires_s <= time.time():
                del self._known[digest]
            elif known.recheck > now or (
                known.state is State.CURRENT
                and now - known.checked < (PUSHED_TTL_S if self._pushed else POLLED_TTL_S)
            ):
                return known
        return await self._ask(digest, credential, known)

    async def _ask(self, digest: bytes, credential: Credential, known: Known | None) -> Known:
        now = self._clock()
        if (refused := self._refused.get(digest)) is not None and refused[0] > now:
            raise type(refused[1])(refused[1].message, **refused[1].details)
        task = self._asking.get(digest)
        if task is None:
            task = asyncio.create_task(self._fetch(digest, credential))
            self._asking[digest] = task
            task.add_done_callback(lambda _: self._asking.pop(digest, None))
        try:
            return await asyncio.shield(task)
        except (errors.Unavailable, errors.DeadlineExceeded, errors.Internal) as error:
            if (
                known is not None
                and known.state is not State.VOID
                and known.expires_s > time.time()
                and now - known.checked < OUTAGE_TTL_S
            ):
                known.recheck = now + _RECHECK_S
                return known
            raise errors.Unavailable(
                "Credentials cannot be checked at the moment.",
                suggestion="Try again in a few seconds.",
                retry_after="2",
            ) from error

    async def _fetch(self, digest: bytes, credential: Credential) -> Known:
        epoch = self._epoch
        request = pb.AuthenticateRequest(kind=credential.kind, secret=credential.secret)
        try:
            principal = await call("billing", self._authenticate, request, _CALL_TIMEOUT_S)
        except errors.Unauthorized as error:
            self._known.pop(digest, None)
            self._refused[digest] = (self._clock() + REFUSED_TTL_S, error)
            _trim(self._refused)
            raise
        ends = principal.expire_time.ToMilliseconds() / 1000
        known = Known(
            principal,
            frozenset(principal.scopes),
            rule_against(principal.jurisdiction, principal.use_context),
            ends if principal.HasField("expire_time") else float("inf"),
            self._clock(),
            State.CURRENT if epoch == self._epoch else State.DOUBTFUL,
        )
        self._known[digest] = known
        _trim(self._known)
        return known

    def _digest(self, credential: Credential) -> bytes:
        content = credential.kind.to_bytes(1, "big") + credential.secret.encode()
        return hashlib.blake2b(content, digest_size=16, key=self._salt).digest()

    def forget(self, credential: Credential) -> None:
        """Has this credential asked about again."""
        self._epoch += 1
        self._known.pop(self._digest(credential), None)

    def void(self, ids: frozenset[str]) -> None:
        """Has the principals of these keys, clients, users and organisations asked for again."""
        self._epoch += 1
        for known in self._known.values():
            principal = known.principal
            if principal.principal_id in ids or f"org_{principal.org_id}" in ids:
                known.state, known.recheck = State.VOID, 0.0

    def _doubt_all(self) -> None:
        self._epoch += 1
        for known in self._known.values():
            if known.state is State.CURRENT:
                known.state = State.DOUBTFUL

    async def _listen(self, redis: Redis) -> None:
        while True:
            try:
                async with redis.pubsub() as subscription:
                    await subscription.subscribe(CHANNEL)
                    await self._hear(redis, subscription)
            except OUTAGES as error:
                if self._pushed:
                    log.warning("revocations are polled", problem=str(error))
            except Exception:
                log.exception("revocations are polled")
            self._pushed = False
            await asyncio.sleep(_RECONNECT_S)

    async def _hear(self, redis: Redis, subscription: PubSub) -> None:
        heard = self._clock()
        while True:
            message = await subscription.get_message(timeout=_PING_S)
            if message is None:
                if self._clock() - heard > _SILENCE_S:
                    raise TimeoutError("Redis is silent")
                await subscription.ping()
                continue
            heard = self._clock()
            if message["type"] == "subscribe":
                self._doubt_all()
                self._pushed = True
                log.info("revocations are pushed")
            elif message["type"] == "message":
                self.void(frozenset(message["data"].decode().split()))
            else:
                self.gateways = max(1, dict(await redis.pubsub_numsub(CHANNEL))[CHANNEL.encode()])


def _trim(cache: OrderedDict[bytes, Any]) -> None:
    while len(cache) > _LARGEST_CACHE:
        cache.popitem(last=False)
