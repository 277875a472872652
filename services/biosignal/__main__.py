"""Starts the biosignal service."""

from services.biosignal.servicer import register
from services.common.server import run

run("biosignal", register)
