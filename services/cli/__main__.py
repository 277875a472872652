"""Runs the command line: `python -m services.cli`."""

from services.cli import main

main(prog_name="affectmesh")
