"""The scopes of OAuth that credentials have."""

READ_SCOPE = "emotion:read"
ANALYZE_SCOPE = "emotion:analyze"
STREAM_SCOPE = "emotion:stream"
