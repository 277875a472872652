"""EmoVision: recordings analysed, kept, listed, exported and deleted, and webhooks.

Each recording is a job of the job service; keys and usage are among the accounts.
"""

from services.gateway.dialects.emovision.routes import routes
from services.gateway.dialects.emovision.words import EmoVision

__all__ = ["EmoVision", "routes"]
