"""Starts the face service."""

from services.common.server import run
from services.face.servicer import register

run("face", register)
