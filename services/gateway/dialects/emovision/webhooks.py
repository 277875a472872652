"""Webhooks in EmoVision's words."""

from services.gateway.dialects.emovision import views
from services.gateway.views import listed
from services.gateway.webhooks import Form

FORM = Form(
    path="/api/v1/webhooks",
    events=("analysis.completed", "analysis.failed", "usage.threshold"),
    webhook=views.webhook,
    webhooks=lambda found: listed(
        "webhooks", map(views.webhook, found.webhooks), found.next_page_token
    ),
    delivery=views.delivery,
    deliveries=lambda found: listed(
        "deliveries", map(views.delivery, found.deliveries), found.next_page_token
    ),
    deleted=lambda webhook_id: {"webhook_id": webhook_id, "status": "deleted"},
)
"""The events are the document's."""
