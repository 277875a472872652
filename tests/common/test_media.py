"""Media given in a request or behind a URL, against real servers that behave and misbehave."""

import asyncio
import ipaddress
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import av
import pytest
import uvloop
from aiohttp import web
from aiohttp.test_utils import TestServer

from services.common import addresses, caller, errors
from services.common.caller import Caller
from services.common.channels import Channels
from services.common.media import MAX_REDIRECTS, MediaLoader
from services.common.settings import Settings
from tests.common.holding import holding
from tests.jobs import files

LIMIT = 1000
BODY = bytes(range(256))


@dataclass
class Site:
    """A site that counts its visitors."""

    address: str = ""
    port: int = 0
    visits: list[str] = field(default_factory=list)


async def body(request: web.Request) -> web.Response:
    return web.Response(body=BODY)


async def zipped(request: web.Request) -> web.Response:
    response = web.Response(body=b"0" * 100 * LIMIT)
    response.enable_compression(web.ContentCoding.gzip)
    return response


async def sized(request: web.Request) -> web.Response:
    return web.Response(body=b"0" * int(request.match_info["size"]))


async def pieces(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(int(request.match_info["count"])):
        await response.write(b"0" * 1024 * 1024)
    return response


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"0" * LIMIT)


async def slow(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"0")
        await asyncio.sleep(0.05)


async def silent(request: web.Request) -> web.Response:
    await asyncio.sleep(30)
    return web.Response()


async def cut(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "500"})
    await response.prepare(request)
    await response.write(b"0" * 10)
    assert request.transport
    request.transport.close()
    return response


async def status(request: web.Request) -> web.Response:
    return web.Response(status=int(request.match_info["code"]), body=BODY)


async def onward(request: web.Request) -> web.Response:
    raise web.HTTPFound(request.query["to"])


async def hops(request: web.Request) -> web.Response:
    left = int(request.match_info["left"])
    raise web.HTTPFound(f"/hops/{left - 1}" if left > 1 else "/body")


async def loop(request: web.Request) -> web.Response:
    raise web.HTTPFound("/loop")


def application(site: Site) -> web.Application:
    @web.middleware
    async def count(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        site.visits.append(request.path)
        return await handler(request)

    served = web.Application(middlewares=[count])
    routes: dict[str, Any] = {
        "/body": body,
        "/zipped": zipped,
        "/sized/{size}": sized,
        "/pieces/{count}": pieces,
        "/endless": endless,
        "/slow": slow,
        "/silent": silent,
        "/cut": cut,
        "/status/{code}": status,
        "/onward": onward,
        "/hops/{left}": hops,
        "/loop": loop,
    }
    served.add_routes([web.get(path, handler) for path, handler in routes.items()])
    return served


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """A site on 127.0.0.1."""
    site = Site()
    async with TestServer(application(site), host="127.0.0.1") as server:
        assert server.port
        site.address, site.port = f"http://127.0.0.1:{server.port}", server.port
        yield site


def opened(**given: Any) -> MediaLoader:
    settings = Settings(**given)
    return MediaLoader(settings, Channels(settings))


@pytest.fixture
async def loader() -> AsyncIterator[MediaLoader]:
    """As in a test set-up: private addresses allowed."""
    loader = opened(fetch_allow_private=True)
    yield loader
    await loader.close()


@pytest.fixture
async def impatient() -> AsyncIterator[MediaLoader]:
    """The same, with a second for each URL."""
    loader = opened(fetch_allow_private=True, fetch_timeout_s=1)
    yield loader
    await loader.close()


@pytest.fixture
async def guarded() -> AsyncIterator[MediaLoader]:
    """As in production."""
    loader = opened()
    yield loader
    await loader.close()


async def refused(loader: MediaLoader, url: str) -> str:
    with pytest.raises(errors.FetchFailed) as raised:
        await loader.load(kind="media", url=url, data=b"", limit_bytes=LIMIT)
    assert raised.value.details["suggestion"]
    return raised.value.message


async def test_bytes_of_the_request_come_back(guarded: MediaLoader) -> None:
    assert await guarded.load(kind="image", url="", data=BODY, limit_bytes=LIMIT) == BODY


@pytest.mark.parametrize(("url", "data"), [("", b""), ("https://example.com/a.png", BODY)])
async def test_exactly_one_of_url_and_bytes_must_be_given(
    guarded: MediaLoader, url: str, data: bytes
) -> None:
    with pytest.raises(errors.InvalidRequest) as raised:
        await guarded.load(kind="image", url=url, data=data, limit_bytes=LIMIT)
    assert "image_url" in raised.value.message
    assert "image_base64" in raised.value.message
    assert raised.value.details["field"] == "image_url"


async def test_bytes_over_the_limit_are_refused(guarded: MediaLoader) -> None:
    with pytest.raises(errors.PayloadTooLarge, match="audio"):
        await guarded.load(kind="audio", url="", data=bytes(LIMIT + 1), limit_bytes=LIMIT)
    assert len(await guarded.load(kind="audio", url="", data=bytes(LIMIT), limit_bytes=LIMIT))


async def test_a_url_is_fetched(loader: MediaLoader, site: Site) -> None:
    url = f"{site.address}/body"
    assert await loader.load(kind="image", url=url, data=b"", limit_bytes=LIMIT) == BODY


async def test_redirects_are_followed(loader: MediaLoader, site: Site) -> None:
    url = f"{site.address}/hops/{MAX_REDIRECTS}"
    assert await loader.load(kind="media", url=url, data=b"", limit_bytes=LIMIT) == BODY


@pytest.mark.parametrize("path", ["/loop", f"/hops/{MAX_REDIRECTS + 1}"])
async def test_too_many_redirects_are_refused(loader: MediaLoader, site: Site, path: str) -> None:
    assert "redirects" in await refused(loader, site.address + path)
    assert len(site.visits) <= MAX_REDIRECTS + 1


@pytest.mark.parametrize("path", ["/slow", "/silent"])
async def test_a_slow_url_is_given_up(impatient: MediaLoader, site: Site, path: str) -> None:
    assert "within 1 s" in await refused(impatient, site.address + path)


@pytest.mark.parametrize("path", [f"/sized/{LIMIT + 1}", "/endless", "/zipped"])
async def test_a_body_over_the_limit_is_refused(loader: MediaLoader, site: Site, path: str) -> None:
    with pytest.raises(errors.PayloadTooLarge) as raised:
        await loader.load(kind="media", url=site.address + path, data=b"", limit_bytes=LIMIT)
    assert raised.value.details["suggestion"]


async def test_a_body_of_just_the_limit_is_taken(loader: MediaLoader, site: Site) -> None:
    url = f"{site.address}/sized/{LIMIT}"
    assert len(await loader.load(kind="media", url=url, data=b"", limit_bytes=LIMIT)) == LIMIT


@pytest.mark.parametrize("code", [204, 401, 404, 500])
async def test_a_url_that_answers_otherwise_is_named(
    loader: MediaLoader, site: Site, code: int
) -> None:
    assert str(code) in await refused(loader, f"{site.address}/status/{code}")


async def test_a_body_that_breaks_off_is_refused(loader: MediaLoader, site: Site) -> None:
    await refused(loader, f"{site.address}/cut")


async def test_nobody_behind_the_url(loader: MediaLoader) -> None:
    await refused(loader, "http://127.0.0.1:1/")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/a.png",
        "file:///etc/passwd",
        "data:image/png;base64,AAAA",
        "javascript:alert(1)",
        "//example.com/a.png",
        "example.com/a.png",
        "http://",
        "http:///a.png",
        "http://[::1",
        "not a url",
    ],
)
async def test_what_is_no_web_address_is_refused(loader: MediaLoader, url: str) -> None:
    assert "http" in await refused(loader, url)


@pytest.mark.parametrize(
    "url",
    [
        "http://exa mple.com/",
        "http://example.com:99999/",
        "http://\x00/",
        "http://127.0.0.1:1\r\nHost: other/",
        f"http://{'a' * 300}.com/",
        "http://nobody.invalid/",
    ],
)
async def test_a_malformed_address_is_refused(loader: MediaLoader, url: str) -> None:
    await refused(loader, url)


async def test_a_redirect_to_another_scheme_is_refused(loader: MediaLoader, site: Site) -> None:
    await refused(loader, f"{site.address}/onward?to=file:///etc/passwd")


INSIDE = [
    "127.0.0.1",
    "127.8.9.10",
    "localhost",
    "LOCALHOST",
    "user:password@127.0.0.1",
    "0x7f000001",
    "0x7f.1",
    "①②⑦.⓪.⓪.①",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "255.255.255.255",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "[fc00::1]",
    "[fe80::1]",
    "[fec0::1]",
    "[ff02::1]",
]


@pytest.mark.parametrize("host", INSIDE)
async def test_an_address_that_is_not_public_is_refused(
    guarded: MediaLoader, site: Site, host: str
) -> None:
    message = await refused(guarded, f"http://{host}:{site.port}/body")
    assert message == "The URL leads to an address that is not public."
    assert not site.visits


@pytest.mark.parametrize("host", ["2130706433", "0177.0.0.1", "127.1", "0", "017700000001"])
async def test_an_address_spelt_oddly_is_refused(
    guarded: MediaLoader, site: Site, host: str
) -> None:
    await refused(guarded, f"http://{host}:{site.port}/body")
    assert not site.visits


def test_the_event_loop_of_the_services_refuses_them_too() -> None:
    async def fetch() -> list[str]:
        loader = opened()
        try:
            return [await refused(loader, f"http://{host}:1/") for host in INSIDE]
        finally:
            await loader.close()

    assert set(uvloop.run(fetch())) == {"The URL leads to an address that is not public."}


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "2001:4860:4860::8888", "64:ff9b::808:808", "::ffff:8.8.8.8"]
)
def test_public_addresses_may_be_reached(address: str) -> None:
    assert addresses.is_public(address)


@pytest.mark.parametrize("target", ["http://127.0.0.2:{port}/body", "http://[::1]:{port}/body"])
async def test_a_redirect_inside_is_refused(
    guarded: MediaLoader, site: Site, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    public = addresses.is_public
    monkeypatch.setattr(
        addresses,
        "is_public",
        lambda host: (
            ipaddress.ip_address(host) == ipaddress.ip_address("127.0.0.1") or public(host)
        ),
    )
    assert (
        await guarded.load(kind="media", url=f"{site.address}/body", data=b"", limit_bytes=LIMIT)
        == BODY
    )
    url = f"{site.address}/onward?to={target.format(port=site.port)}"
    message = await refused(guarded, url)
    assert message == "The URL leads to an address that is not public."
    assert site.visits == ["/body", "/onward"]


async def test_cookies_are_not_carried_from_one_client_to_the_next(
    loader: MediaLoader,
) -> None:
    seen: list[str | None] = []

    async def remember(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Cookie"))
        response = web.Response(body=BODY)
        response.set_cookie("session", "secret")
        return response

    served = web.Application()
    served.add_routes([web.get("/", remember)])
    async with TestServer(served, host="127.0.0.1") as server:
        for _ in range(2):
            await loader.load(
                kind="media", url=f"http://localhost:{server.port}/", data=b"", limit_bytes=LIMIT
            )
    assert seen == [None, None]


@pytest.fixture
async def held() -> AsyncIterator[MediaLoader]:
    """A loader of an organisation that holds two files."""
    media = {"med_small": BODY, "med_large": b"0" * 100 * LIMIT}
    async with holding(media) as jobs:
        loader = opened(addresses={"jobs": jobs}, fetch_allow_private=True)
        token = caller.current.set(Caller(1, "key_1", "pro"))
        yield loader
        caller.current.reset(token)
        await loader.close()


def named(media_id: str) -> dict[str, Any]:
    return {"kind": "video", "url": "", "data": b"", "media_id": media_id, "limit_bytes": LIMIT}


async def test_held_media_is_loaded(held: MediaLoader) -> None:
    assert await held.load(**named("med_small")) == BODY


async def test_held_media_becomes_a_file(held: MediaLoader) -> None:
    async with held.open(**named("med_small")) as file:
        assert file.read() == BODY
    assert file.closed


@pytest.mark.parametrize("how", ["load", "open"])
async def test_held_media_is_limited_too(held: MediaLoader, how: str) -> None:
    with pytest.raises(errors.PayloadTooLarge, match="video"):
        await consume(held, how, named("med_large"))


@pytest.mark.parametrize("how", ["load", "open"])
async def test_media_that_is_not_held_is_not_found(held: MediaLoader, how: str) -> None:
    with pytest.raises(errors.NotFound):
        await consume(held, how, named("med_none"))


async def test_no_service_of_jobs_is_said_so() -> None:
    loader = opened(addresses={"jobs": "127.0.0.1:1"})
    with pytest.raises(errors.Unavailable):
        await consume(loader, "load", named("med_small"))


async def test_data_and_urls_become_files_too(loader: MediaLoader, site: Site) -> None:
    given: dict[str, Any] = {"kind": "video", "limit_bytes": LIMIT, "media_id": ""}
    async with loader.open(url="", data=BODY, **given) as file:
        assert file.read() == BODY
    async with loader.open(url=f"{site.address}/body", data=b"", **given) as file:
        assert file.read() == BODY
    with pytest.raises(errors.PayloadTooLarge):
        async with loader.open(url="", data=b"0" * (LIMIT + 1), **given):
            pass
    with pytest.raises(errors.PayloadTooLarge):
        async with loader.open(url=f"{site.address}/endless", data=b"", **given):
            pass


async def test_a_large_file_goes_through_in_pieces(site: Site) -> None:
    loader = opened(fetch_allow_private=True, fetch_timeout_s=300)
    url, size = f"{site.address}/pieces/64", 64 * 1024 * 1024
    tracemalloc.start()
    async with loader.open(kind="video", url=url, data=b"", limit_bytes=size) as file:
        assert file.seek(0, 2) == size
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    await loader.close()
    assert used < size / 4


async def test_who_still_decodes_a_file_that_is_gone_comes_to_its_end(
    loader: MediaLoader, capfd: pytest.CaptureFixture[str]
) -> None:
    """As a thread does whose request was cancelled; FFmpeg prints what its reader raises."""
    given: dict[str, Any] = {"kind": "audio", "url": "", "data": files.wav(60)}
    async with loader.open(limit_bytes=2**20, **given) as file:
        container = av.open(file, "r", format="wav")
        packets = container.demux()
        next(packets)
    assert file.closed
    assert len(list(packets)) < 100
    container.seek(0)
    container.close()
    assert file.readinto(bytearray(10)) == 0  # type: ignore[attr-defined]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "given",
    [{}, {"url": "https://a.b/c", "media_id": "med_1"}, {"data": b"x", "media_id": "med_1"}],
    ids=["nothing", "url and id", "data and id"],
)
async def test_exactly_one_source_is_taken(guarded: MediaLoader, given: dict[str, Any]) -> None:
    asked = {"kind": "video", "url": "", "data": b"", "media_id": "", "limit_bytes": LIMIT, **given}
    for how in ("load", "open"):
        with pytest.raises(errors.InvalidRequest, match="video_base64 and media_id") as refused:
            await consume(guarded, how, asked)
        assert refused.value.details["field"] == "video_url"


async def consume(loader: MediaLoader, how: str, asked: dict[str, Any]) -> None:
    if how == "load":
        await loader.load(**asked)
    else:
        async with loader.open(**asked):
            pass
