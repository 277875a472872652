"""Numbers in the query, in every dialect that takes some: what is wrong is said, and what to do."""

from collections.abc import AsyncIterator

import httpx
import pytest

from services.mesh.temporary import TemporaryMesh
from tests.contract.tenants import PASSWORD, tenant

WRONG = ("-1", "+1", "1e3", "1.5", "1_0", "²", "٣", "many", " 1", "", "9" * 12)
"""What is no whole number, or one that no list is as long as."""

PAGES = {
    "/v1/jobs": "page_size",
    "/v1/webhooks": "page_size",
    "/v1/webhooks/whk_none/deliveries": "page_size",
    "/api/v1/webhooks": "page_size",
    "/api/v1/recordings": "per_page",
}
ACCOUNTS = ("/api/keys", "/api/clients", "/api/users", "/api/audit")


@pytest.fixture(scope="module")
async def client(mesh: TemporaryMesh) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"authorization": f"Bearer {mesh.key}"}
    async with httpx.AsyncClient(base_url=mesh.address, headers=headers, timeout=60) as client:
        yield client


async def check_page(client: httpx.AsyncClient, path: str, name: str) -> None:
    """Every size but 1 to 100 is refused, with that range."""
    for value in (*WRONG, "0", "101"):
        refused = await client.get(path, params={name: value})
        assert refused.status_code == 400, (value, refused.text)
        for said in (f"{name} must be a whole number from 1 to 100.", f"leave {name} out for 20"):
            assert said in refused.text, value


@pytest.mark.parametrize(("path", "name"), PAGES.items())
async def test_the_size_of_a_page_is_from_1_to_100(
    client: httpx.AsyncClient, path: str, name: str
) -> None:
    await check_page(client, path, name)


async def test_pages_of_accounts_are_of_1_to_100(mesh: TemporaryMesh) -> None:
    owner = await tenant(mesh)
    signed_in = {"email": owner.email, "password": PASSWORD}
    async with httpx.AsyncClient(base_url=mesh.address, timeout=60) as user:
        assert (await user.post("/api/session", json=signed_in)).status_code == 201
        for path in ACCOUNTS:
            await check_page(user, path, "page_size")


async def test_what_is_skipped_is_from_0_to_a_million(client: httpx.AsyncClient) -> None:
    for value in (*WRONG, "1000001"):
        refused = (await client.get("/v1/jobs", params={"skip": value})).json()["error"]
        assert refused["message"] == "skip must be a whole number from 0 to 1000000."
        assert refused["details"]["suggestion"] == "Send one, or leave skip out for 0."
    assert (await client.get("/v1/jobs?skip=1000000")).json()["jobs"] == []


async def test_pages_of_affectiva_are_of_1_to_100(mesh: TemporaryMesh) -> None:
    async with httpx.AsyncClient(
        base_url=mesh.address, auth=("user", mesh.key), timeout=60
    ) as user:
        for value in (*WRONG, "0", "101"):
            refused = await user.get("/jobs", params={"page_size": value})
            assert refused.status_code == 422, value
            assert refused.json()["error"] == "page_size must be a whole number from 1 to 100."
            assert "leave page_size out for 100" in refused.json()["details"]["suggestion"]


@pytest.mark.parametrize("name", ["range_from", "range_to", "max_speech_length"])
async def test_seconds_of_phonexia_have_a_range(client: httpx.AsyncClient, name: str) -> None:
    for value in ("-1", "nan", "inf", "1e9", "1_0", "²", "soon", ""):
        path = "/api/technology/emotion-recognition"
        refused = await client.post(path, params={name: value}, files={"file": b"RIFF"})
        assert refused.status_code == 422, value
        assert "Input should be a number of seconds from 0 to 1000000." in refused.text, value
