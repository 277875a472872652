"""values.schema.json from values.yaml: names and types from the defaults, bounds from a table."""

import json
from collections.abc import Mapping
from typing import Any

import yaml

from deploy.generate import CHART

Schema = dict[str, Any]

_FREE = frozenset(
    {
        "podLabels",
        "podAnnotations",
        "nodeSelector",
        "triton.nodeSelector",
        "serviceAccount.annotations",
        "envoy.service.annotations",
        "networkPolicy.monitoringNamespace",
        "monitoring.labels",
        "monitoring.dashboardLabels",
    }
)
"""Maps whose names are the user's own."""

_DURATION = {"pattern": r"^[0-9]+h$"}
_SECRET = {"pattern": r"^[A-Za-z0-9]*$"}
_OPTIONAL_SECRET = {"pattern": r"^(.{32,})?$"}
_DIGEST = {"pattern": "^(sha256:[0-9a-f]{64})?$"}
_IMAGE = {"pattern": "^[^@]+:[^@:/]*[0-9][^@:/]*(@sha256:[0-9a-f]{64})?$"}
"""An image of one version, and of one digest where it is pinned."""
_SIZE = {"pattern": r"^[0-9]+(Mi|Gi|Ti)$"}
_EXTERNAL = {
    "items": {
        "type": "object",
        "additionalProperties": False,
        "required": ["cidr", "port"],
        "properties": {
            "cidr": {"type": "string", "pattern": "^[0-9a-fA-F.:]+/[0-9]+$"},
            "port": {"type": "integer", "minimum": 1, "maximum": 65535},
        },
    }
}
_BOUNDS: Mapping[str, Schema] = {
    "fullnameOverride": {"pattern": "^([a-z]([-a-z0-9]*[a-z0-9])?)?$", "maxLength": 40},
    "image.pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
    "logLevel": {"enum": ["debug", "info", "warning", "error"]},
    "drainSeconds": {"minimum": 1, "maximum": 600},
    "stopGraceSeconds": {"minimum": 0, "maximum": 600},
    "secrets.secretKey": _OPTIONAL_SECRET,
    "secrets.mediaKey": _OPTIONAL_SECRET,
    "secrets.bootstrapApiKey": {"pattern": "^(.{16,})?$"},
    "database.url": {"pattern": "^(postgresql.*)?$"},
    "database.password": _SECRET,
    "database.storage": _SIZE,
    "redis.url": {"pattern": "^(rediss?://.*)?$"},
    "redis.password": _SECRET,
    "redis.storage": _SIZE,
    "objectStore.url": {"pattern": "^(s3://.*)?$"},
    "objectStore.storage": _SIZE,
    "inference.mode": {"enum": ["embedded", "triton"]},
    "inference.tritonUrl": {"pattern": "^([^:/]+:[0-9]+)?$"},
    "triton.replicas": {"minimum": 1},
    "triton.gpus": {"minimum": 0},
    "triton.models.source": {"enum": ["image", "claim"]},
    "envoy.replicas": {"minimum": 1},
    "envoy.service.type": {"enum": ["LoadBalancer", "NodePort", "ClusterIP"]},
    "networkPolicy.external": _EXTERNAL,
    "certManager.issuer.kind": {"enum": ["Issuer", "ClusterIssuer"]},
    "certManager.edge.issuer.kind": {"enum": ["Issuer", "ClusterIssuer"]},
    "certManager.duration": _DURATION,
    "certManager.renewBefore": _DURATION,
    "usageJournal.storage": _SIZE,
    "keda.jobsPerWorker": {"minimum": 1},
    "monitoring.interval": {"pattern": "^[0-9]+(s|m)$"},
    "tracing.endpoint": {"pattern": "^(https?://.*)?$"},
    "tracing.ratio": {"minimum": 0, "maximum": 1},
    "tolerations": {"items": {"type": "object"}},
    "triton.tolerations": {"items": {"type": "object"}},
}
"""What a value must be beyond its type."""

_MOVED = ("replicaCount", "resources", "autoscaling", "apiKey", "postgresql", "ingress")
"""Names of former versions, let through so that the chart can say what took their place."""

_FORMER: Schema = {"description": "Of a former version; the chart names its heir."}

_AMOUNT: Schema = {"type": ["string", "number"]}

_RESOURCES: Schema = {
    "type": "object",
    "additionalProperties": False,
    "required": ["requests", "limits"],
    "properties": {
        "requests": {
            "type": "object",
            "required": ["cpu", "memory"],
            "additionalProperties": _AMOUNT,
        },
        "limits": {
            "type": "object",
            "required": ["memory"],
            "additionalProperties": _AMOUNT,
        },
    },
}


def schema() -> str:
    """The schema as JSON text."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    made = {"$schema": "http://json-schema.org/draft-07/schema#", **_schema("", values)}
    for name in _MOVED:
        made["properties"][name] = _FORMER
    made["properties"]["services"]["properties"]["gateway"]["properties"]["persistence"] = _FORMER
    return json.dumps(made, indent=2) + "\n"


def _schema(path: str, value: Any) -> Schema:
    if path == "settings":
        return _settings()
    if path.endswith(".resources"):
        return _RESOURCES
    return {**_type(path, value), **_bounds(path)}


def _type(path: str, value: Any) -> Schema:
    if isinstance(value, bool):
        return {"type": "boolean"}
    if isinstance(value, int):
        return {"type": "integer"}
    if isinstance(value, float):
        return {"type": "number"}
    if isinstance(value, str):
        return {"type": "string"}
    if isinstance(value, list):
        return {"type": "array", "items": {"type": "string"}}
    if path in _FREE:
        return {"type": "object", "additionalProperties": {"type": "string"}}
    prefix = f"{path}." if path else ""
    properties = {name: _schema(prefix + name, one) for name, one in value.items()}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _bounds(path: str) -> Schema:
    if path.endswith((".replicas", ".minReplicas", ".maxReplicas")):
        return {"minimum": 1}
    if path.endswith(".image"):
        return _IMAGE
    if path.startswith("image.digests."):
        return _DIGEST
    if path.endswith(".cpuPercent"):
        return {"minimum": 10, "maximum": 100}
    return _BOUNDS.get(path, {})


def _settings() -> Schema:
    """Settings that the chart does not set by other values."""
    return {
        "type": "object",
        "propertyNames": {"pattern": "^AFFECTMESH_[A-Z0-9_]+$", "not": {"enum": sorted(CHOSEN)}},
        "additionalProperties": {"type": ["string", "number", "boolean"]},
    }


CHOSEN = frozenset(
    {
        f"AFFECTMESH_{name}"
        for name in (
            "ADDRESSES",
            "BOOTSTRAP_API_KEY",
            "DATABASE_URL",
            "DATA_DIR",
            "DRAIN_S",
            "ENVOY_BACKENDS",
            "ENVOY_CORS_ORIGINS",
            "ENVOY_EDGE_PORT",
            "ENVOY_TLS_CERTIFICATE",
            "ENVOY_TLS_KEY",
            "FETCH_ALLOW_PRIVATE",
            "HOST",
            "HTTP_HOST",
            "HTTP_PORT",
            "INFERENCE",
            "JOB_WORKERS",
            "LOG_LEVEL",
            "MEDIA_KEY",
            "OBJECT_STORE_URL",
            "PORT_BASE",
            "REDIS_URL",
            "SECRET_KEY",
            "STOP_GRACE_S",
            "THREADS",
            "TLS_CA",
            "TLS_CERT",
            "TLS_KEY",
            "TRITON_URL",
            "TRUSTED_PROXIES",
        )
    }
)
"""Settings that the chart sets itself, from other values or not at all."""
