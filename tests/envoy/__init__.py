"""The real Envoy before a real mesh."""
