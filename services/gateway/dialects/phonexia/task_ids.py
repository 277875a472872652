"""Task ids: Phonexia's are UUIDs, so a job's id is written as one, and read back from it."""

import base64
import binascii
import uuid

_JOB = "job_"
_VERSION, _VARIANT = 8, 0b10
"""A UUID of our own making (RFC 9562, 5.8)."""


def task_id(job_id: str) -> str:
    """The UUID of a job: the 80 bits of its id in the first places that are free."""
    bits = int.from_bytes(base64.b32decode(job_id.removeprefix(_JOB).upper()))
    first, second, third = bits >> 32, bits >> 20 & 0xFFF, bits & 0xFFFFF
    return str(
        uuid.UUID(int=first << 80 | _VERSION << 76 | second << 64 | _VARIANT << 62 | third << 42)
    )


def job_id(task_id: str) -> str:
    """The job of a UUID; empty for what is none of ours."""
    try:
        number = uuid.UUID(task_id).int
    except ValueError:
        return ""
    bits = number >> 80 << 32 | (number >> 64 & 0xFFF) << 20 | number >> 42 & 0xFFFFF
    found = _JOB + base64.b32encode(bits.to_bytes(10)).decode().lower()
    return found if _same(found, task_id) else ""


def _same(job_id: str, given: str) -> bool:
    try:
        return task_id(job_id) == given.lower()
    except binascii.Error:
        return False
