"""Settings, read once from AFFECTMESH_… environment variables; a wrong one stops the start."""

import json
import os
import re
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

SERVICES = ("billing", "jobs", "text", "face", "voice", "biosignal", "fusion", "gateway")
"""Every service of the mesh, in the order they start."""

AUTHORIZATION = "authorization"
"""What Envoy asks whether a gRPC call may go on: the gateway, on a port of its own."""

_ADDRESS = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})")
_ORIGIN = re.compile(r"https?://[A-Za-z0-9._-]+(:[0-9]{1,5})?")


def _check_address(given: Any) -> None:
    found = _ADDRESS.fullmatch(given) if isinstance(given, str) else None
    if found is None or not 1 <= int(found[2]) <= 65535:
        raise ValueError(f"{given!r} is not HOST:PORT")


def refuse(setting: str, problem: str) -> NoReturn:
    """Ends the process with status 2, naming a setting (such as REDIS_URL) that is wrong."""
    print(f"AFFECTMESH_{setting}: {problem}", file=sys.stderr)
    raise SystemExit(2)


MAX_WORKERS = 32

_FIRST_WORKER_PORT = 60


class Settings(BaseSettings):
    """Every setting of every service. The description of each is its reference."""

    model_config = SettingsConfigDict(env_prefix="AFFECTMESH_", extra="ignore", frozen=True)

    http_port: int = Field(8080, ge=0, le=65535, description="Port of the public REST API.")
    host: str = Field("127.0.0.1", description="Address that every server listens on.")
    http_host: str | None = Field(None, description="Address of the REST API, where another.")
    port_base: int = Field(
        50050,
        ge=1024,
        le=65000,
        description="gRPC ports are this plus the service's place in the list of services; "
        "metrics ports are 100 above.",
    )
    addresses: Annotated[dict[str, str], NoDecode] = Field(
        default_factory=dict,
        description='JSON object of service name to "host:port", for services elsewhere.',
    )
    data_dir: Path = Field(Path(".affectmesh"), description="Folder for everything kept.")
    model_repository: Path = Field(
        Path(__file__).parents[2] / "models" / "repository",
        description="Model repository in Triton's layout.",
    )
    inference: Literal["embedded", "triton"] = Field(
        "embedded", description="Run models in each service's process, or on Triton."
    )
    triton_url: str = Field("127.0.0.1:8001", description="gRPC address of Triton.")
    triton_timeout_s: float = Field(
        10, gt=0, le=600, description="Longest time a run of a model on Triton may take."
    )
    threads: int = Field(
        os.cpu_count() or 1, ge=1, le=256, description="Threads a model may use in a process."
    )
    redis_url: str | None = Field(
        None,
        pattern=r"^(rediss?|unix)://.",
        description="Redis for limits, queue and events. Default: the supervisor's own.",
    )
    database_url: str | None = Field(
        None,
        pattern=r"^(sqlite\+aiosqlite|postgresql(\+\w+)?)://.",
        description="SQLAlchemy URL of the records. Default: SQLite in the data folder.",
    )
    object_store_url: str | None = Field(
        None,
        description="Where media is kept: file:///FOLDER or s3://BUCKET/PREFIX?endpoint=URL. "
        "Default: a folder in the data folder.",
    )
    store_min_free_mb: int = Field(
        512, ge=0, description="MiB that stay free where media is kept in a folder; less is full."
    )
    media_key: SecretStr | None = Field(
        None,
        min_length=32,
        description="When set, media is kept encrypted under this key; without the key it is lost.",
    )
    job_workers: int = Field(
        1, ge=1, le=MAX_WORKERS, description="Workers that the supervisor starts for jobs."
    )
    job_concurrency: int = Field(4, ge=1, le=64, description="Jobs that a worker works on at once.")
    job_timeout_s: float = Field(
        3600, gt=0, le=86400, description="Longest time that the analysis of a job may take."
    )
    retention_days: int = Field(
        30, ge=1, le=3650, description="Days that jobs, media, results and deliveries are kept."
    )
    bootstrap_api_key: SecretStr | None = Field(
        None,
        min_length=16,
        description="When set, this key exists at start, on the enterprise plan, all scopes.",
    )
    secret_key: SecretStr | None = Field(
        None,
        min_length=32,
        description="Hashes credentials and seals signing keys; the same for every billing "
        "process. Default: a file in the data folder, made at the first start.",
    )
    fetch_allow_private: bool = Field(
        False, description="Tests only: lets URLs given by clients point at private addresses."
    )
    fetch_timeout_s: float = Field(
        20, gt=0, le=600, description="Longest time a URL given by a client may take."
    )
    webhook_timeout_s: float = Field(
        10, gt=0, le=60, description="Longest time that the receiver of a webhook may take."
    )
    webhook_retry_s: float = Field(
        30,
        gt=0,
        le=3600,
        description="Time from a failed webhook to its second try; four times longer each further.",
    )
    max_body_mb: int = Field(64, ge=1, le=1024, description="Largest request body in MiB.")
    request_timeout_s: float = Field(
        120, gt=0, le=3600, description="Longest time a request may take."
    )
    stop_grace_s: float = Field(
        20, ge=0, le=600, description="How long a stopping service waits for requests in flight."
    )
    drain_s: float = Field(
        0,
        ge=0,
        le=600,
        description="How long a stopping service says that it stops, and still serves, so that "
        "what balances over its replicas sends no more. 3 or more behind Envoy.",
    )
    trusted_proxies: str = Field(
        "",
        description="Addresses or networks, separated by commas, whose X-Forwarded-Proto and "
        "X-Forwarded-For the gateway believes: Envoy's.",
    )
    envoy_host: str | None = Field(
        None, description="Address of Envoy's listeners, where another than that of the servers."
    )
    envoy_edge_port: int = Field(
        8443, ge=1, le=65535, description="Port of Envoy's edge: REST, WebSocket, gRPC, gRPC-Web."
    )
    envoy_internal_port: int = Field(
        9080,
        ge=1,
        le=65535,
        description="Port of Envoy's internal listener: gRPC between services, and JSON.",
    )
    envoy_admin_port: int = Field(
        9901, ge=1, le=65535, description="Port of Envoy's administration, on 127.0.0.1 only."
    )
    envoy_backends: Annotated[dict[str, list[str]], NoDecode] = Field(
        default_factory=dict,
        description='JSON object of service name to a list of its replicas, each "host:port"; '
        "`gateway` is its REST port, `authorization` the port Envoy asks. A name that stands for "
        "several addresses is every one of them. Default: where the services are.",
    )
    envoy_tls_certificate: Path | None = Field(
        None, description="PEM file of the edge's certificate chain. Default: no TLS."
    )
    envoy_tls_key: Path | None = Field(None, description="PEM file of its key.")
    envoy_cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="JSON list of the origins whose pages may call the edge, such as "
        '"https://app.example.org"; "*" is every one. Sessions are never shared with them.',
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least level of log lines."
    )
    voice_pack: Literal["open", "research"] = Field(
        "open",
        description="Weights of the voice model; research is not for commercial use.",
    )
    voice_preload: bool = Field(
        True,
        description="Load speech recognition at the start, not when it is first asked for.",
    )
    research_repository: Path = Field(
        Path(__file__).parents[2] / "models" / "research",
        description="Model repository of the research packs, read only where one is chosen.",
    )

    @field_validator("envoy_backends", mode="before")
    @classmethod
    def _read_backends(cls, given: Any) -> Any:
        backends = json.loads(given) if isinstance(given, str) else given
        known = {*SERVICES, AUTHORIZATION}
        if isinstance(backends, dict):
            if unknown := backends.keys() - known:
                raise ValueError(f"no such service: {', '.join(sorted(unknown))}")
            for name, replicas in backends.items():
                if not isinstance(replicas, list) or not replicas:
                    raise ValueError(f"{name} is no list of addresses")
                for replica in replicas:
                    _check_address(replica)
        return backends

    @field_validator("envoy_cors_origins", mode="before")
    @classmethod
    def _read_origins(cls, given: Any) -> Any:
        origins = json.loads(given) if isinstance(given, str) else given
        for origin in origins if isinstance(origins, list | tuple) else ():
            if origin != "*" and not _ORIGIN.fullmatch(str(origin)):
                raise ValueError(f"{origin} is no origin: send https://HOST or https://HOST:PORT")
        return origins

    @field_validator("triton_url")
    @classmethod
    def _check_triton_url(cls, given: str) -> str:
        _check_address(given)
        return given

    tls_cert: Path | None = Field(
        None,
        description="Certificate (PEM) that this process shows the other services; with tls_key "
        "and tls_ca, gRPC between services is mutual TLS.",
    )
    tls_key: Path | None = Field(None, description="Private key (PEM) of the certificate.")
    tls_ca: Path | None = Field(
        None,
        validate_default=True,
        description="Certificates (PEM) of the authorities that other services' must come from.",
    )

    @field_validator("tls_cert", "tls_key", "tls_ca")
    @classmethod
    def _find_file(cls, given: Path | None) -> Path | None:
        if given is not None and not given.is_file():
            raise ValueError(f"there is no file {given}")
        return given

    @field_validator("tls_ca")
    @classmethod
    def _check_tls(cls, authority: Path | None, info: ValidationInfo) -> Path | None:
        if not {"tls_cert", "tls_key"} <= info.data.keys():
            return authority
        certificate, key = info.data["tls_cert"], info.data["tls_key"]
        if certificate is None and key is None and authority is None:
            return None
        if certificate is None or key is None or authority is None:
            raise ValueError("tls_cert, tls_key and tls_ca are set together or not at all")
        from services.common import tls

        tls.check(certificate, key, authority)
        return authority

    @field_validator("addresses", mode="before")
    @classmethod
    def _read_addresses(cls, given: Any) -> Any:
        addresses = json.loads(given) if isinstance(given, str) else given
        if isinstance(addresses, dict) and (unknown := addresses.keys() - set(SERVICES)):
            raise ValueError(f"no such service: {', '.join(sorted(unknown))}")
        return addresses

    @property
    def model_repositories(self) -> tuple[Path, ...]:
        """Where models are looked for, in order."""
        if self.voice_pack == "research":
            return self.model_repository, self.research_repository
        return (self.model_repository,)

    @property
    def database(self) -> str:
        """SQLAlchemy URL of the records."""
        return self.database_url or f"sqlite+aiosqlite:///{self.data_dir / 'affectmesh.db'}"

    def port(self, service: str) -> int:
        """gRPC port that a service, or a worker such as "worker-1", listens on."""
        name, _, number = service.partition("-")
        if name == "worker":
            return self.port_base + _FIRST_WORKER_PORT + int(number) - 1
        return self.port_base + SERVICES.index(service)

    def metrics_port(self, service: str) -> int:
        """Port of a service's Prometheus metrics."""
        return self.port(service) + 100

    @property
    def workers(self) -> tuple[str, ...]:
        """Names of the workers of this machine."""
        return tuple(f"worker-{number}" for number in range(1, self.job_workers + 1))

    @property
    def authorization_port(self) -> int:
        """Port where Envoy asks the gateway whether a gRPC call may go on."""
        return self.port("gateway") + 50

    def health_address(self, service: str) -> str:
        """Where a service of this machine answers health checks without a certificate."""
        return f"{self.host}:{self.health_port(service) if self.tls_ca else self.port(service)}"

    def health_port(self, service: str) -> int:
        """Port of health checks alone, open where the gRPC port asks for a certificate."""
        return self.port(service) + 200

    def address(self, service: str) -> str:
        """gRPC address under which a service is reached."""
        return self.addresses.get(service, f"{self.host}:{self.port(service)}")
