"""Client of the EmoVision API, as AffectMesh serves it."""

from emotionchat.client import AsyncEmotionChat, EmotionChat
from emotionchat.errors import (
    AnalysisFailed,
    AuthenticationError,
    ConnectionFailed,
    EmotionChatError,
    InvalidRequest,
    InvalidVideo,
    NotFound,
    PayloadTooLarge,
    PermissionDenied,
    RateLimited,
    ServerError,
)
from emotionchat.models import (
    Deletion,
    Delivery,
    KeyMoment,
    Page,
    RateLimit,
    Recording,
    Usage,
    Webhook,
)
from emotionchat.retries import Retries
from emotionchat.webhooks import verify_timestamped, verify_webhook

__all__ = [
    "AnalysisFailed",
    "AsyncEmotionChat",
    "AuthenticationError",
    "ConnectionFailed",
    "Deletion",
    "Delivery",
    "EmotionChat",
    "EmotionChatError",
    "InvalidRequest",
    "InvalidVideo",
    "KeyMoment",
    "NotFound",
    "Page",
    "PayloadTooLarge",
    "PermissionDenied",
    "RateLimit",
    "RateLimited",
    "Recording",
    "Retries",
    "ServerError",
    "Usage",
    "Webhook",
    "verify_timestamped",
    "verify_webhook",
]
