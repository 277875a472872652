"""Phonexia's emotion recognition: tasks that clients poll."""

from services.gateway.dialects.phonexia.routes import routes
from services.gateway.dialects.phonexia.words import Phonexia

__all__ = ["Phonexia", "routes"]
