"""Affectiva's Emotion as a Service: an index, jobs, entries, their media and annotations."""

from services.gateway.dialects.affectiva.routes import routes
from services.gateway.dialects.affectiva.words import Affectiva

__all__ = ["Affectiva", "routes"]
