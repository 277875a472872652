"""Starts the job service."""

from services.common.server import run
from services.jobs.servicer import register

run("jobs", register)
