"""Speed and memory of a whole mesh, driven over its public REST API."""
