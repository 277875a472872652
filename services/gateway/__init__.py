"""The public door: REST to gRPC, keys, limits."""
