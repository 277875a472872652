"""The operator's commands, run as the operator runs them."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from affectmesh.v1 import billing_pb2 as pb
from tests.billing.installation import PASSWORD, Installation, installation


async def run(
    billing: Installation, *arguments: str, stdin: str = ""
) -> tuple[int, list[Any], str]:
    """Exit status, JSON lines, and what was said on standard error."""
    environment = {
        **os.environ,
        "AFFECTMESH_DATA_DIR": str(billing.settings.data_dir),
        "AFFECTMESH_ADDRESSES": json.dumps(billing.settings.addresses),
    }
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", "from services.cli import main; main()", "admin", *arguments],
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
    )
    lines = done.stdout.splitlines()
    return done.returncode, [json.loads(line) for line in lines if line[:1] == "{"], done.stderr


async def test_the_first_organisation_and_what_it_needs(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'affectmesh.db'}"
    async with installation(tmp_path, url) as billing:
        code, (organization,), _ = await run(
            billing,
            *("create-organization", "--name", "First", "--owner-email", "me@example.org"),
            *("--plan", "business", "--jurisdiction", "DE", "--use-context", "research"),
            "--password-stdin",
            stdin=PASSWORD + "\n",
        )
        assert code == 0
        assert organization["plan"] == "business"
        session = pb.CreateSessionRequest(email="me@example.org", password=PASSWORD)
        assert (await billing.call("CreateSession", session)).user.role == pb.ROLE_OWNER
        org = ("--org", str(organization["org_id"]))
        code, (key,), _ = await run(
            billing, "create-key", *org, "--name", "k", "--scope", "emotion:read"
        )
        assert list((await billing.authenticate(key["secret"])).scopes) == ["emotion:read"]
        code, (listed,), _ = await run(billing, "list-keys", *org)
        assert listed["secret"] == ""
        code, _, said = await run(billing, "revoke-key", "--org", "42", key["key_id"])
        assert (code, "no such key" in said) == (1, True)
        code, (revoked,), _ = await run(billing, "revoke-key", *org, key["key_id"])
        assert "revoke_time" in revoked
        code, entries, _ = await run(billing, "audit", *org)
        assert [entry["actor"] for entry in entries if entry["action"] == "key.revoked"] == [
            "operator"
        ]
        code, (check,), _ = await run(billing, "verify-audit")
        assert (code, check["intact"]) == (0, True)


async def test_a_service_that_is_not_there_is_named(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'affectmesh.db'}"
    async with installation(tmp_path, url) as billing:
        pass
    code, lines, said = await run(billing, "verify-audit")
    assert (code, lines) == (1, [])
    assert "billing service is not answering" in said


@pytest.mark.parametrize(
    "arguments",
    [
        ("create-organization", "--name", "x"),
        ("create-key", "--org", "one", "--name", "k"),
        ("create-key", "--org", "1", "--name", "k", "--scope", "emotion:own"),
    ],
)
async def test_a_malformed_command_says_how_it_goes(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'affectmesh.db'}"
    async with installation(tmp_path, url) as billing:
        code, _, said = await run(billing, *arguments)
    assert code == 2
    assert "Usage:" in said
