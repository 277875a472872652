"""The public surface as OpenAPI 3.1, and a page to read it.

What the contract says is taken from it, with its comments; the rest stands in a YAML file for each
API. A test compares the document with the routes of the application.
"""

from services.gateway.openapi.document import document
from services.gateway.openapi.routes import routes

__all__ = ["document", "routes"]
