"""Settings, read once from AFFECTMESH_… environment variables; a wrong one stops the start."""

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

SERVICES = ("billing", "jobs", "text", "face", "voice", "biosignal", "fusion", "gateway")
"""Every service of the mesh, in the order they start."""


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
    threads: int = Field(
        os.cpu_count() or 1, ge=1, le=256, description="Threads a model may use in a process."
    )
    redis_url: str | None = Field(
        None, description="Redis for limits, queue and events. Default: the supervisor's own."
    )
    database_url: str | None = Field(
        None, description="SQLAlchemy URL of the records. Default: SQLite in the data folder."
    )
    object_store_url: str | None = Field(
        None, description="Where media is kept. Default: a folder in the data folder."
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
    max_body_mb: int = Field(64, ge=1, le=1024, description="Largest request body in MiB.")
    request_timeout_s: float = Field(
        120, gt=0, le=3600, description="Longest time a request may take."
    )
    stop_grace_s: float = Field(
        20, ge=0, le=600, description="How long a stopping service waits for requests in flight."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least level of log lines."
    )
    voice_pack: Literal["open", "research"] = Field(
        "open",
        description="Weights of the voice model; research is not for commercial use.",
    )
    research_repository: Path = Field(
        Path(__file__).parents[2] / "models" / "research",
        description="Model repository of the research packs, read only where one is chosen.",
    )

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
        """gRPC port that a service listens on."""
        return self.port_base + SERVICES.index(service)

    def metrics_port(self, service: str) -> int:
        """Port of a service's Prometheus metrics."""
        return self.port(service) + 100

    def address(self, service: str) -> str:
        """gRPC address under which a service is reached."""
        return self.addresses.get(service, f"{self.host}:{self.port(service)}")
