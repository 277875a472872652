"""Runs the whole mesh on one machine: Redis and every service, each a process of its own."""
