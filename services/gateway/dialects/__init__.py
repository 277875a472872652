"""The public APIs, one file each."""
