"""Client of AffectMesh over REST, WebSocket and gRPC."""

from affectmesh_client.client import AffectMesh
from affectmesh_client.contract import Contract
from affectmesh_client.errors import Refused
from affectmesh_client.stream import Stream

__all__ = ["AffectMesh", "Contract", "Refused", "Stream"]
