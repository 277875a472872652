"""Everything that outlives a request."""
