"""What Affectiva answers, as JSON."""

from collections.abc import Iterable, Mapping
from typing import Any

from affectmesh.v1 import jobs_pb2 as pb
from services.gateway.dialects.affectiva.links import Links
from services.gateway.views import time_text
from services.jobs.representations.affectiva import CSV, METRICS, SESSION

STATUSES: Mapping[int, str] = {
    pb.JOB_STATE_QUEUED: "queued",
    pb.JOB_STATE_WORKING: "working",
    pb.JOB_STATE_DONE: "done",
    pb.JOB_STATE_ERROR: "error",
    pb.JOB_STATE_CANCELLED: "error",
    pb.JOB_STATE_REJECTED: "error",
}
"""The document's word for each state."""

INPUT, RESULT = "input", "result"

SOURCE = "AffectMesh"
"""Of what is made here."""

_FORMS = frozenset({SESSION, METRICS, CSV})


def entry_id(job_id: str, entry: str) -> str:
    """The id of a job's input or result."""
    return f"{job_id}-{entry}"


def job_of(entry_id: str) -> tuple[str, str]:
    """The job of an entry, and which of its entries that is; both empty for no entry's id."""
    job_id, _, entry = entry_id.rpartition("-")
    return (job_id, entry) if entry in (INPUT, RESULT) else ("", "")


def listed(job: pb.Job, links: Links) -> dict[str, Any]:
    """A job in a list."""
    metadata = dict(job.metadata)
    return {
        "self": links.job(job.job_id),
        "name": metadata.get("name"),
        "status": STATUSES[job.state],
        "filename": metadata.get("file_name"),
        **_dates(job),
    }


def created(job: pb.Job, links: Links) -> dict[str, Any]:
    """A job that was just created; the document shows it without its entries."""
    return {**listed(job, links), INPUT: []}


def job(job: pb.Job, media: pb.Media | None, links: Links) -> dict[str, Any]:
    """A job; with its result where it has ended well, and why where it has not."""
    found = {**listed(job, links), INPUT: entry(job, INPUT, media, links)}
    if job.state == pb.JOB_STATE_DONE:
        found[RESULT] = entry(job, RESULT, media, links)
    elif STATUSES[job.state] == "error":
        code = job.error.code or pb.JobState.Name(job.state).removeprefix("JOB_STATE_")
        found["error"] = {"code": code, "message": job.error.message}
    return found


def entry(job: pb.Job, which: str, media: pb.Media | None, links: Links) -> dict[str, Any]:
    """The input of a job, whose media this is, or its result."""
    name = entry_id(job.job_id, which)
    timed = which == INPUT and media is not None and media.HasField("duration_ms")
    return {
        "self": links.entry(name),
        "annotations": links.annotations(name),
        "source": SOURCE,
        "media_seconds": media.duration_ms / 1000 if media and timed else None,
        "representations": [representation(name, form, links) for form in forms(job, which, media)],
        **_dates(job),
    }


def forms(job: pb.Job, which: str, media: pb.Media | None) -> Iterable[pb.Representation]:
    """The files of an entry."""
    if which == RESULT:
        return [form for form in job.representations if form.content_type in _FORMS]
    if media is None:
        return []
    name = dict(job.metadata).get("file_name", media.file_name)
    return [
        pb.Representation(
            content_type=media.content_type, file_name=str(name), media_id=media.media_id
        )
    ]


def representation(entry_id: str, form: pb.Representation, links: Links) -> dict[str, Any]:
    """One form of an entry, and where to get it."""
    return {
        "content_type": form.content_type,
        "file_name": form.file_name,
        "media": links.media(entry_id, form.media_id),
        "self": links.representation(entry_id, form.media_id),
    }


def annotation(found: pb.Annotation, links: Links) -> dict[str, Any]:
    """A note on an entry."""
    name = entry_id(found.job_id, found.entry)
    return {
        "author": found.author,
        "source": found.source,
        "entry": links.entry(name),
        "key": found.key,
        "self": links.annotation(name, found.annotation_id),
        "value": found.value,
    }


def _dates(job: pb.Job) -> dict[str, Any]:
    return {
        "author": dict(job.metadata).get("author"),
        "published": time_text(job.create_time),
        "updated": time_text(job.update_time),
    }
