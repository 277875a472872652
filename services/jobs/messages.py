"""Messages of the contract from what the database holds."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict
from sqlalchemy import RowMapping

from affectmesh.v1 import jobs_pb2 as pb
from services.common import errors
from services.common.resources import timestamp

Row = RowMapping | dict[str, Any]
"""As it is read, or as it will be."""


def job(row: Row, representations: Iterable[Row] = ()) -> pb.Job:
    """A job."""
    return pb.Job(
        job_id=row["job_id"],
        dialect=row["dialect"],
        kind=row["kind"],
        state=row["state"],
        progress=round(row["progress"], 4),
        input=source(row),
        options=json.loads(row["options"]),
        metadata=json.loads(row["metadata"]),
        representations=map(representation, representations),
        error=ParseDict(json.loads(row["error"]), pb.JobError()) if row["error"] else None,
        quoted_usd=row["quoted_usd"],
        charged_usd=row["charged_usd"],
        attempts=row["attempts"],
        create_time=timestamp(row["created_ms"]),
        update_time=timestamp(row["updated_ms"]),
        end_time=timestamp(row["ended_ms"]),
        expire_time=timestamp(row["expires_ms"]),
        summary=json.loads(row["summary"]) if row["summary"] else None,
    )


def source(row: Row) -> pb.JobInput | None:
    """What a job works on, as it was given; None for nothing."""
    if row["url"]:
        return pb.JobInput(url=row["url"])
    return pb.JobInput(media_id=row["media_id"]) if row["media_id"] else None


def representation(row: Row) -> pb.Representation:
    """One form of a result."""
    return pb.Representation(
        content_type=row["content_type"], file_name=row["file_name"], media_id=row["media_id"]
    )


def annotation(row: Row) -> pb.Annotation:
    """A note."""
    return pb.Annotation(
        annotation_id=row["annotation_id"],
        job_id=row["job_id"],
        entry=row["entry"],
        key=row["key"],
        value=row["value"],
        source=row["source"],
        author=row["author"],
        create_time=timestamp(row["created_ms"]),
    )


def error_text(error: errors.AffectMeshError) -> str:
    """An error as a job keeps it: a JobError in JSON."""
    return json.dumps(
        {"code": error.code, "message": error.message, "details": dict(error.details)}
    )


def struct_text(struct: Any) -> str:
    """A google.protobuf.Struct as JSON; whole numbers without a fraction."""
    return json.dumps(as_json(struct), separators=(",", ":"))


def as_json(struct: Any) -> dict[str, Any]:
    """A google.protobuf.Struct as an object; whole numbers without a fraction."""
    return {key: _whole(item) for key, item in MessageToDict(struct).items()}


def _whole(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
