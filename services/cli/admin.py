"""The operator's commands: organisations, users, keys, usage, the audit log.

They talk to the running billing service, so that what they change counts at once. Answers are
JSON, one object a line.
"""

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

import click
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from affectmesh.v1 import billing_pb2 as pb
from affectmesh.v1 import billing_pb2_grpc
from services.billing.fields import SCOPES
from services.billing.plans import PLANS
from services.billing.rules import USE_CONTEXTS
from services.billing.vault import FAMILIES
from services.common import errors
from services.common.channels import Channels, call
from services.common.server import read_settings

_TIMEOUT_S = 60
_ROLES = {
    "analyst": pb.ROLE_ANALYST,
    "manager": pb.ROLE_MANAGER,
    "admin": pb.ROLE_ADMIN,
    "owner": pb.ROLE_OWNER,
}

_org = click.option("--org", "org_id", type=int, required=True, help="Id of the organisation.")
_month = click.option("--month", default="", help="Such as 2025-01. Default: the current one.")
_plan = click.option("--plan", type=click.Choice(list(PLANS)), help="Name of the plan.")
_jurisdiction = click.option("--jurisdiction", help='Country code of ISO 3166, or "EU".')
_use_context = click.option(
    "--use-context", type=click.Choice(USE_CONTEXTS), help="What emotions are inferred for."
)
_scopes = click.option("--scope", "scopes", type=click.Choice(SCOPES), multiple=True)


def _password(command: Callable[..., None]) -> Callable[..., None]:
    """Asks for a password, or reads it from the first line of standard input."""
    return click.option(
        "--password-stdin",
        "password",
        is_flag=True,
        callback=_read_password,
        help="Read the password from standard input instead of asking for it.",
    )(command)


def _read_password(_context: click.Context, _option: click.Parameter, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    return str(click.prompt("Password", hide_input=True, confirmation_prompt=True))


@click.group()
def admin() -> None:
    """Organisations, users, keys, usage and the audit log of the running mesh."""


@admin.command()
@click.option("--name", required=True, help="Name of the organisation.")
@click.option("--owner-email", required=True, help="E-mail address of its first user.")
@_plan
@_jurisdiction
@_use_context
@_password
def create_organization(
    name: str,
    owner_email: str,
    plan: str | None,
    jurisdiction: str | None,
    use_context: str | None,
    password: str,
) -> None:
    """Create an organisation and its owner."""
    organization = pb.Organization(
        name=name, plan=plan or "", jurisdiction=jurisdiction or "", use_context=use_context or ""
    )
    request = pb.CreateOrganizationRequest(
        organization=organization, owner_email=owner_email, owner_password=password
    )
    _print(_call("CreateOrganization", request))


@admin.command()
@_org
def show_organization(org_id: int) -> None:
    """Show an organisation."""
    _print(_call("GetOrganization", pb.GetOrganizationRequest(org_id=org_id)))


@admin.command()
@_org
@_plan
@_jurisdiction
@_use_context
@click.option("--threshold", "thresholds", multiple=True, help="USD; may be given several times.")
@click.option("--requests-per-minute", type=int, help="Own rate, on the enterprise plan.")
@click.option("--burst", type=int, default=0, help="Own burst. Default: the rate.")
@click.option("--requests-per-day", type=int, default=0, help="Own day limit. Default: none.")
def update_organization(
    org_id: int,
    plan: str | None,
    jurisdiction: str | None,
    use_context: str | None,
    thresholds: tuple[str, ...],
    requests_per_minute: int | None,
    burst: int,
    requests_per_day: int,
) -> None:
    """Change plan, law, use, thresholds or limits of an organisation."""
    limits = None
    if requests_per_minute is not None:
        limits = pb.Limits(
            requests_per_minute=requests_per_minute, burst=burst, requests_per_day=requests_per_day
        )
    request = pb.UpdateOrganizationRequest(
        org_id=org_id,
        plan=plan,
        jurisdiction=jurisdiction,
        use_context=use_context,
        usage_thresholds_usd=thresholds,
        custom_limits=limits,
    )
    _print(_call("UpdateOrganization", request))


@admin.command()
@_org
@click.option("--email", required=True, help="E-mail address, unique.")
@click.option("--role", type=click.Choice(list(_ROLES)), required=True)
@_password
def create_user(org_id: int, email: str, role: str, password: str) -> None:
    """Create a user."""
    user = pb.User(org_id=org_id, email=email, role=_ROLES[role])
    _print(_call("CreateUser", pb.CreateUserRequest(user=user, password=password)))


@admin.command()
@_org
def list_users(org_id: int) -> None:
    """List the users of an organisation."""
    _print_pages("ListUsers", pb.ListUsersRequest(org_id=org_id, page_size=100), "users")


@admin.command()
@click.argument("user_id")
@_password
def set_password(user_id: str, password: str) -> None:
    """Give a user a new password; every session of the user ends."""
    _print(_call("UpdateUser", pb.UpdateUserRequest(user_id=user_id, password=password)))


@admin.command()
@click.argument("user_id")
@click.option("--role", type=click.Choice(list(_ROLES)))
@click.option("--enable/--disable", "enabled", default=None)
def update_user(user_id: str, role: str | None, enabled: bool | None) -> None:
    """Change the role of a user, or whether the user may sign in."""
    request = pb.UpdateUserRequest(
        user_id=user_id, role=_ROLES[role] if role else None, enabled=enabled
    )
    _print(_call("UpdateUser", request))


@admin.command()
@_org
@click.option("--name", required=True)
@click.option("--rate", type=int, help="Own limit, requests a minute. Default: the plan's.")
@_scopes
@click.option("--test", "test_mode", is_flag=True, help="A test key: nothing is billed.")
@click.option("--family", type=click.Choice(FAMILIES), default="ek")
def create_key(
    org_id: int, name: str, rate: int | None, scopes: tuple[str, ...], test_mode: bool, family: str
) -> None:
    """Create an API key; it is shown this once."""
    key = pb.ApiKey(
        org_id=org_id,
        name=name,
        rate_limit_per_minute=rate,
        scopes=scopes,
        test_mode=test_mode,
    )
    _print(_call("CreateApiKey", pb.CreateApiKeyRequest(key=key, family=family)))


@admin.command()
@_org
def list_keys(org_id: int) -> None:
    """List the API keys of an organisation."""
    _print_pages("ListApiKeys", pb.ListApiKeysRequest(org_id=org_id, page_size=100), "keys")


@admin.command()
@_org
@click.argument("key_id")
def revoke_key(org_id: int, key_id: str) -> None:
    """Make an API key invalid at once."""
    _print(_call("RevokeApiKey", pb.RevokeApiKeyRequest(org_id=org_id, key_id=key_id)))


@admin.command()
@_org
@click.argument("key_id")
@click.option("--overlap-s", type=int, help="How long the old key stays valid. Default: a day.")
def rotate_key(org_id: int, key_id: str, overlap_s: int | None) -> None:
    """Create a successor of an API key; it is shown this once."""
    request = pb.RotateApiKeyRequest(org_id=org_id, key_id=key_id, overlap_s=overlap_s)
    _print(_call("RotateApiKey", request))


@admin.command()
@_org
@click.option("--name", required=True)
@_scopes
def create_client(org_id: int, name: str, scopes: tuple[str, ...]) -> None:
    """Create an OAuth client; its secret is shown this once."""
    client = pb.OAuthClient(org_id=org_id, name=name, scopes=scopes)
    _print(_call("CreateOAuthClient", pb.CreateOAuthClientRequest(client=client)))


@admin.command()
@_org
@click.argument("client_id")
def revoke_client(org_id: int, client_id: str) -> None:
    """Make an OAuth client and its tokens invalid at once."""
    request = pb.RevokeOAuthClientRequest(org_id=org_id, client_id=client_id)
    _print(_call("RevokeOAuthClient", request))


@admin.command()
@_org
@_month
def usage(org_id: int, month: str) -> None:
    """Sum up a month."""
    _print(_call("GetUsage", pb.GetUsageRequest(org_id=org_id, month=month)))


@admin.command()
@_org
@_month
def invoice(org_id: int, month: str) -> None:
    """Give the invoice of a month."""
    _print(_call("GetInvoice", pb.GetInvoiceRequest(org_id=org_id, month=month)))


@admin.command()
@click.option("--org", "org_id", type=int, default=0, help="Default: the installation itself.")
def audit(org_id: int) -> None:
    """List the audit log, newest first."""
    _print_pages("ListAudit", pb.ListAuditRequest(org_id=org_id, page_size=100), "entries")


@admin.command()
def verify_audit() -> None:
    """Check the hash chain of the audit log; exit 1 where it is broken."""
    found = _call("VerifyAudit", pb.VerifyAuditRequest())
    _print(found)
    sys.exit(0 if found.intact else 1)


def _call(method: str, request: Message) -> Any:
    return asyncio.run(_calls([(method, request)]))[0]


async def _calls(wanted: list[tuple[str, Message]]) -> list[Any]:
    channels = Channels(read_settings())
    try:
        stub = channels.stub("billing", billing_pb2_grpc.BillingServiceStub)
        return [
            await call("billing", getattr(stub, method), request, _TIMEOUT_S)
            for method, request in wanted
        ]
    except errors.AffectMeshError as error:
        suggestion = error.details.get("suggestion", "")
        raise click.ClickException(f"{error.message} {suggestion}".strip()) from error
    finally:
        await channels.close()


def _print(message: Message) -> None:
    fields = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    click.echo(json.dumps(fields, ensure_ascii=False))


def _print_pages(method: str, request: Any, name: str) -> None:
    while True:
        page = _call(method, request)
        for message in getattr(page, name):
            _print(message)
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token
