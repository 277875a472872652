"""faster-whisper's model, encoding what it is asked twice in a row only once."""

from __future__ import annotations

from typing import Any

import numpy as np
from faster_whisper import WhisperModel
from numpy.typing import NDArray


class OnceEncoding(WhisperModel):  # type: ignore[misc]
    """Detecting the language and recognising the same speech share one run of the encoder."""

    _last: tuple[bytes, Any] = (b"", None)

    def encode(self, features: NDArray[np.float32]) -> Any:
        key = features.tobytes()
        if key != self._last[0]:
            self._last = (key, super().encode(features))
        return self._last[1]

    def forget(self) -> None:
        """Drop what was encoded last; nothing of a recording outlives its request."""
        self._last = (b"", None)
