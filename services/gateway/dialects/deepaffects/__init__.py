"""DeepAffects: the emotions of speech by segment, at once or told to a webhook."""

from services.gateway.dialects.deepaffects.routes import routes
from services.gateway.dialects.deepaffects.words import DeepAffects

__all__ = ["DeepAffects", "routes"]
