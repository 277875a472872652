"""What EmoVision answers, as JSON."""

from collections.abc import Mapping
from typing import Any

from google.protobuf.struct_pb2 import Struct, Value

from affectmesh.v1 import jobs_pb2 as pb
from services.common import errors
from services.gateway.views import number, optional_time, time_text
from services.jobs.representations import emovision

STATUSES: Mapping[str, tuple["pb.JobState.ValueType", ...]] = {
    "completed": (pb.JOB_STATE_DONE,),
    "processing": (pb.JOB_STATE_QUEUED, pb.JOB_STATE_WORKING),
    "failed": (pb.JOB_STATE_ERROR, pb.JOB_STATE_REJECTED, pb.JOB_STATE_CANCELLED),
}
"""The states of a job by the document's word for them."""

DEPTHS = {"basic": pb.JOB_KIND_RECORDING_BASIC, "advanced": pb.JOB_KIND_RECORDING_ADVANCED}
"""The kind of job by the document's word for the service."""


def status(job: pb.Job) -> str:
    """The document's word for where a job stands."""
    return next(word for word, states in STATUSES.items() if job.state in states)


def analysis(job: pb.Job) -> dict[str, Any]:
    """The answer to /api/v1/analyze."""
    found = plain(job.summary)
    shares = found.get("emotion_breakdown", {})
    return {
        "recording_id": emovision.recording_id(job.job_id),
        "duration_minutes": found.get("duration_minutes"),
        "overall_honesty_score": found.get("overall_honesty_score"),
        "emotion_breakdown": dict(sorted(shares.items(), key=lambda pair: -pair[1])),
        "key_moments": found.get("key_moments", []),
        "cost_usd": _money(job.charged_usd),
        "status": status(job),
        "quoted_cost_usd": _money(job.quoted_usd),
        "depth": _depth(job),
        "progress": round(job.progress, 4),
    }


def entry(job: pb.Job) -> dict[str, Any]:
    """A recording in a list."""
    return {**analysis(job), **_facts(job)}


def recording(job: pb.Job, detail: Mapping[str, Any], video: pb.Media | None) -> dict[str, Any]:
    """A recording with all that is known of it; `video` is None where it is gone."""
    return {
        **analysis(job),
        **detail,
        **_facts(job),
        "video": _video(video) if video else None,
        "exports": _exports(job),
    }


def _video(video: pb.Media) -> dict[str, Any]:
    return {
        "file_name": video.file_name,
        "content_type": video.content_type,
        "size_bytes": video.size_bytes,
        "sha256": video.sha256,
    }


def failure(job: pb.Job) -> errors.AffectMeshError:
    """The error that a job ended with."""
    details = {name: str(value) for name, value in plain(job.error.details).items()}
    details["recording_id"] = emovision.recording_id(job.job_id)
    if job.state == pb.JOB_STATE_CANCELLED:
        return errors.Conflict("The analysis was cancelled.", **details)
    return errors.known(job.error.code, job.error.message, details)


def _facts(job: pb.Job) -> dict[str, Any]:
    failed = job.HasField("error")
    return {
        "metadata": plain(job.metadata),
        "created_at": time_text(job.create_time),
        "completed_at": optional_time(job, "end_time"),
        "expires_at": optional_time(job, "expire_time"),
        "error": {"code": job.error.code, "message": job.error.message} if failed else None,
    }


def _exports(job: pb.Job) -> list[str]:
    made = {one.file_name for one in job.representations}
    return [form for form, name in emovision.EXPORTS.items() if name in made]


def _depth(job: pb.Job) -> str:
    return next((word for word, kind in DEPTHS.items() if kind == job.kind), "basic")


def _money(text: str) -> int | float | None:
    return number(text) if text else None


def plain(struct: Struct) -> dict[str, Any]:
    """The JSON object of a Struct, whole numbers without a point."""
    return {name: _plain(value) for name, value in struct.fields.items()}


def _plain(value: Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return plain(value.struct_value)
    if kind == "list_value":
        return [_plain(one) for one in value.list_value.values]
    if kind == "number_value":
        whole = value.number_value.is_integer()
        return int(value.number_value) if whole else value.number_value
    return None if kind == "null_value" else getattr(value, str(kind))


def webhook(webhook: pb.Webhook) -> dict[str, Any]:
    """A webhook; its secret where it is shown."""
    shown = {"secret": webhook.secret} if webhook.secret else {}
    return {
        "webhook_id": webhook.webhook_id,
        "url": webhook.url,
        "events": list(webhook.events),
        **shown,
        "enabled": webhook.enabled,
        "created_at": time_text(webhook.create_time),
    }


def delivery(delivery: pb.WebhookDelivery) -> dict[str, Any]:
    """One event sent, or tried."""
    answered = delivery.HasField("last_status")
    return {
        "delivery_id": delivery.delivery_id,
        "webhook_id": delivery.webhook_id,
        "event": delivery.event,
        "payload": delivery.payload,
        "attempts": delivery.attempts,
        "last_status": delivery.last_status if answered else None,
        "last_error": delivery.last_error or None,
        "delivered": delivery.delivered,
        "created_at": time_text(delivery.create_time),
        "next_attempt_at": optional_time(delivery, "next_attempt_time"),
    }


def receipt(recording_id: str, receipt: pb.DeletionReceipt) -> dict[str, Any]:
    """What is left of a deleted recording."""
    return {
        "recording_id": recording_id,
        "status": "deleted",
        "deleted_at": time_text(receipt.delete_time),
        "receipt_id": receipt.receipt_id,
        "sha256": list(receipt.sha256),
    }
