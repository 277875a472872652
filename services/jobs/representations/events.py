"""What webhooks and callbacks are told when a job ends."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from affectmesh.v1 import billing_pb2
from affectmesh.v1 import jobs_pb2 as pb
from services.jobs.representations import deepaffects, emovision
from services.jobs.representations.file import File

_EVENTS: Mapping[int, str] = {
    pb.JOB_STATE_DONE: "job.completed",
    pb.JOB_STATE_ERROR: "job.failed",
    pb.JOB_STATE_REJECTED: "job.failed",
    pb.JOB_STATE_CANCELLED: "job.cancelled",
}


@dataclass(frozen=True)
class Event:
    """Something that webhooks may be told of."""

    name: str
    data: Mapping[str, Any]


def of_job(job: pb.Job, result: Message | None) -> Iterator[Event]:
    """The events of a job that has just ended; `result` is what its analysis gave, if any."""
    if job.dialect == pb.DIALECT_EMOVISION:
        yield Event(*emovision.announcement(job, result))
    yield Event(_EVENTS[job.state], summary(job))


def of_crossing(crossing: billing_pb2.UsageCrossing) -> Event:
    """The event of a usage threshold that was crossed."""
    data = {
        "month": crossing.month,
        "threshold_usd": float(crossing.threshold_usd),
        "total_cost_usd": float(crossing.total_usd),
    }
    return Event("usage.threshold", data)


def callback(job: pb.Job, files: Sequence[File]) -> File:
    """What a job's callback address is sent: DeepAffects' form of the result, or why there is none;
    in any other dialect the job, for a result may be large."""
    if job.dialect == pb.DIALECT_DEEPAFFECTS:
        return files[0] if files else deepaffects.failure(job)
    body = json.dumps(summary(job), separators=(",", ":")).encode()
    return File("application/json", "job.json", body)


def summary(job: pb.Job) -> dict[str, Any]:
    """A job as JSON has it: names of the contract, enums as lower-case words."""
    said = MessageToDict(job, preserving_proto_field_name=True)
    return {**said, **{name: word(job, name) for name in ("dialect", "kind", "state")}}


def word(job: pb.Job, field: str) -> str:
    """The value of an enum field of a job without its prefix, such as "queued"."""
    descriptor = job.DESCRIPTOR.fields_by_name[field].enum_type
    prefix = descriptor.values_by_number[0].name.removesuffix("UNSPECIFIED")
    name: str = descriptor.values_by_number[getattr(job, field)].name
    return name.removeprefix(prefix).lower()
