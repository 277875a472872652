"""Starts the fusion service."""

from services.common.server import run
from services.fusion.servicer import register

run("fusion", register)
