"""Starts the gateway."""

from services.common.server import run
from services.gateway.http import register

run("gateway", register)
