"""Starts the billing service."""

from services.billing.servicer import register
from services.common.server import run

run("billing", register)
