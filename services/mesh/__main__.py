"""Starts the mesh with the settings of the environment."""

from services.common.server import read_settings
from services.mesh.supervisor import supervise

if __name__ == "__main__":
    raise SystemExit(supervise(read_settings()))
