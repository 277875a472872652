"""How long, how much and how fast."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """The limits of one stream; the first three are the WIA streaming protocol's."""

    duration_s: float = 4 * 3600
    idle_s: float = 300
    """Without any message of the client but ping and pong."""
    frames: int = 1_000_000
    """Binary messages."""
    config_s: float = 10
    """Until the first message."""
    image_bytes: int = 4 * 1024 * 1024
    audio_bytes: int = 256 * 1024
    """One chunk of audio."""
    text_bytes: int = 1024 * 1024
    """One JSON message."""
    audio_chunks_waiting: int = 64
    """Chunks that wait for a slow voice service; the next are dropped, or not read."""
    samples_waiting: int = 16
    """Messages of samples that wait for a slow biosignal service; the next are not read."""
    auth_grace_s: float = 60
    """From the end of a credential until the stream ends."""
    ping_s: float = 30
    """A silent client gets a ping this often."""
    alive_s: float = 15
    """A follower that there is nothing for gets a comment this often."""
    farewell_s: float = 30
    """For what is pending at the end, and the summary."""
    tick_s: float = 1
    """How often limits and the credential are looked at."""
    resume_s: float = 60
    """How long a dropped stream may be resumed."""
