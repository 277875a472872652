"""Where the ends of jobs are told."""

from services.common.database import Database
from services.common.resources import now_ms
from services.common.settings import Settings
from services.jobs.endings import Outbox
from services.jobs.webhook_outbox import WebhookOutbox


def open_outbox(_settings: Settings, _database: Database) -> Outbox:
    """The outbox of this installation."""
    return WebhookOutbox(now_ms)
