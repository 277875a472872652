"""What is said of a file that a plan does not allow."""

from services.billing.plans import MIB, MINUTE_MS, Plan
from services.common import errors


def too_large(plan: Plan) -> errors.PayloadTooLarge:
    """It has too many bytes."""
    return _over("is larger", f"{plan.max_upload_bytes // MIB} MiB", plan)


def too_long(plan: Plan) -> errors.PayloadTooLarge:
    """It plays too long."""
    return _over("plays longer", f"{plan.max_duration_ms // MINUTE_MS} minutes", plan)


def _over(how: str, limit: str, plan: Plan) -> errors.PayloadTooLarge:
    return errors.PayloadTooLarge(
        f"The file {how} than the {limit} of the plan.",
        limit=limit,
        plan=plan.name,
        suggestion="Send a shorter file, or take a larger plan.",
    )
