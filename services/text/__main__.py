"""Starts the text service."""

from services.common.server import run
from services.text.servicer import register

run("text", register)
