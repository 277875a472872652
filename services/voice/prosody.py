"""How something was said: pitch, level, rate, pauses and how steady the voice is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from services.voice.activity import Span
from services.voice.cycles import Cycles, cycles
from services.voice.features import SAMPLE_RATE_HZ, Samples, Sound

Floats = NDArray[np.float64]

LOWEST_HZ, HIGHEST_HZ = 65.0, 500.0
HOP = SAMPLE_RATE_HZ // 100
#: Syllables in a word of running English speech (de Jong and Wempe's counts against transcripts).
SYLLABLES_A_WORD = 1.5
#: Level in dB of full scale (amplitude 1), read as 1 Pa against 20 µPa, as Praat does.
FULL_SCALE_DB = 93.98

_WINDOW = round(3 / LOWEST_HZ * SAMPLE_RATE_HZ)
_FFT = 2048
_SHORTEST_LAG, _LONGEST_LAG = int(SAMPLE_RATE_HZ / HIGHEST_HZ), int(SAMPLE_RATE_HZ / LOWEST_HZ)
_CANDIDATES = 5
_SILENCE, _VOICING, _OCTAVE, _JUMP, _SWITCH = 0.03, 0.45, 0.01, 0.35, 0.14
_PIECE = 5 * SAMPLE_RATE_HZ
_LEAST_VOICED = 5
#: What jitter and shimmer need: cycles, and no more noise than this beside and in the voice.
LEAST_CYCLES = 50
QUIET_DB, HARMONIC_DB = 10.0, 5.0


@dataclass(frozen=True)
class Prosody:
    """Pitch in Hz over voiced frames (range: 95th minus 5th percentile), mean level of speech in
    dB, rate in words a minute, pauses as a share of the time from first to last speech,
    harmonics-to-noise ratio in dB, and jitter and shimmer (local) as shares. None where it cannot
    be measured; `unsteady` then says why there is no jitter and no shimmer."""

    pitch_mean_hz: float | None
    pitch_range_hz: float | None
    pitch_std_hz: float | None
    intensity_db: float | None
    speech_rate_wpm: float | None
    pause_ratio: float
    hnr_db: float | None
    jitter: float | None
    shimmer: float | None
    unsteady: str | None


class Meter:
    """Measures speech that it hears piece by piece, in pieces of some seconds."""

    def __init__(self, count_syllables: bool) -> None:
        self._count_syllables = count_syllables
        self._pitches: list[Samples] = []
        self._strengths: list[Samples] = []
        self._cycles = Cycles()
        self._energy = 0.0
        self._syllables = 0

    def add(self, part: Samples) -> None:
        """Hear a piece: 16 kHz samples, full scale 1."""
        pitch, strength = pitch_track(part)
        voiced = pitch > 0
        self._pitches.append(pitch[voiced].astype(np.float32))
        self._strengths.append(strength[voiced].astype(np.float32))
        self._cycles += cycles(part, pitch, HOP)
        self._energy += float(np.sum(part.astype(np.float64) ** 2))
        if self._count_syllables:
            self._syllables += syllable_nuclei(part, voiced)

    def result(self, speech: Sequence[Span], words: int | None, above_noise_db: float) -> Prosody:
        """Return the prosody of what was heard.

        speech: where it was. words: their number in the transcript; None estimates the rate from
        syllable nuclei. above_noise_db: level of speech above the background.
        """
        total = sum(span.samples for span in speech)
        extent = speech[-1].end - speech[0].start
        minutes = extent / SAMPLE_RATE_HZ / 60
        spoken = self._syllables / SYLLABLES_A_WORD if words is None else words
        pitch = np.concatenate(self._pitches).astype(np.float64)
        enough = pitch.size >= _LEAST_VOICED
        hnr_db = _harmonics_to_noise(np.concatenate(self._strengths)) if enough else None
        unsteady = self._why_unsteady(hnr_db, above_noise_db)
        level = 10 * float(np.log10(self._energy / total)) if self._energy else None
        return Prosody(
            pitch_mean_hz=float(pitch.mean()) if enough else None,
            pitch_range_hz=float(np.subtract(*np.percentile(pitch, (95, 5)))) if enough else None,
            pitch_std_hz=float(pitch.std()) if enough else None,
            intensity_db=None if level is None else level + FULL_SCALE_DB,
            speech_rate_wpm=spoken / minutes if spoken else None,
            pause_ratio=1 - total / extent,
            hnr_db=hnr_db,
            jitter=None if unsteady else self._cycles.jitter,
            shimmer=None if unsteady else self._cycles.shimmer,
            unsteady=unsteady,
        )

    def _why_unsteady(self, hnr_db: float | None, above_noise_db: float) -> str | None:
        found = min(self._cycles.pairs, self._cycles.amplitude_pairs)
        if hnr_db is None or found < LEAST_CYCLES:
            return f"{found} steady cycles of the voice were found; {LEAST_CYCLES} are needed."
        if above_noise_db < QUIET_DB:
            return f"The speech is less than {QUIET_DB:g} dB louder than the background."
        if hnr_db < HARMONIC_DB:
            return f"Harmonics are less than {HARMONIC_DB:g} dB above the noise in the voice."
        return None


def measure(
    samples: Sound, speech: Sequence[Span], words: int | None, above_noise_db: float = float("inf")
) -> Prosody:
    """Return the prosody of the speech within 16 kHz samples; see Meter."""
    meter = Meter(count_syllables=words is None)
    for piece in pieces(speech):
        meter.add(samples[piece.start : piece.end])
    return meter.result(speech, words, above_noise_db)


def pieces(speech: Sequence[Span]) -> Iterator[Span]:
    """Give the speech in the pieces in which it is measured, at most 5 s each."""
    for span in speech:
        for start in range(span.start, span.end, _PIECE):
            yield Span(start, min(span.end, start + _PIECE))


def pitch_track(samples: Samples) -> tuple[Floats, Floats]:
    """Return the pitch in Hz, 0 where unvoiced, and the autocorrelation there, every 10 ms.

    Boersma, "Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise
    ratio of a sampled sound", IFA Proceedings 17 (1993): autocorrelation of Hann windows of three
    periods divided by that of the window, then the cheapest path through five candidates.
    """
    padded = np.pad(samples, _WINDOW // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::HOP].astype(np.float32)
    frames = frames - frames.mean(axis=1, keepdims=True)
    peak = np.abs(frames).max(axis=1)
    loudness = peak / max(float(peak.max()), 1e-9)
    window, reference = _window()
    spectrum = np.fft.rfft(frames * window, _FFT)
    correlation = np.fft.irfft(np.abs(spectrum) ** 2, _FFT)[:, : _LONGEST_LAG + 2]
    correlation /= np.maximum(correlation[:, :1], 1e-12) * reference[: _LONGEST_LAG + 2]

    lags, heights = _candidates(correlation)
    pitch = SAMPLE_RATE_HZ / lags
    strengths = heights - _OCTAVE * np.log2(LOWEST_HZ / pitch)
    strengths[heights <= 0] = -np.inf
    quiet = np.maximum(0.0, 2.0 - loudness / _SILENCE * (1 + _VOICING))
    path = _cheapest_path(np.log2(pitch), np.column_stack((_VOICING + quiet, strengths)))
    rows = np.arange(len(path))
    voiced = _long_enough(path > 0)
    chosen = np.maximum(path - 1, 0)
    return (
        np.where(voiced, pitch[rows, chosen], 0.0),
        np.where(voiced, heights[rows, chosen], 0.0),
    )


def syllable_nuclei(samples: Samples, voiced: NDArray[np.bool_]) -> int:
    """Return the number of syllable nuclei: voiced peaks of intensity with a dip between.

    De Jong and Wempe, "Praat script to detect syllable nuclei and measure speech rate
    automatically", Behavior Research Methods 41 (2009): within 25 dB of the loudest, dips of 2 dB.
    """
    window = np.hanning(8 * HOP // 2 + 1)
    power = np.convolve(samples.astype(np.float64) ** 2, window / window.sum(), "same")[::HOP]
    level = 10 * np.log10(power + 1e-10)
    if level.size < 3:
        return 0
    threshold = float(np.percentile(level, 99)) - 25.0
    count = 0
    valley = level[0]
    for place in range(1, level.size - 1):
        here = level[place]
        valley = min(valley, here)
        is_peak = level[place - 1] < here >= level[place + 1]
        if not is_peak or here < threshold or not voiced[min(place, len(voiced) - 1)]:
            continue
        if here - valley >= 2.0:
            count += 1
            valley = here
    return count


def _harmonics_to_noise(strength: Samples) -> float:
    share = np.clip(strength.astype(np.float64), 1e-3, 1 - 1e-4)
    return float(np.mean(10 * np.log10(share / (1 - share))))


@lru_cache(maxsize=1)
def _window() -> tuple[Floats, Floats]:
    window = np.hanning(_WINDOW)
    correlation = np.fft.irfft(np.abs(np.fft.rfft(window, _FFT)) ** 2, _FFT)
    return window, correlation / correlation[0]


def _candidates(correlation: Floats) -> tuple[Floats, Floats]:
    """Lags in samples and heights of the best peaks of each frame, [frames, 5], interpolated."""
    low, high = _SHORTEST_LAG, _LONGEST_LAG
    before, here, after = (correlation[:, low + shift : high + shift] for shift in (-1, 0, 1))
    peaks = (here > before) & (here >= after) & (here > 0)
    worth = np.where(peaks, here + _OCTAVE * np.log2(1 / np.arange(low, high)), -np.inf)
    best = np.argpartition(-worth, _CANDIDATES, axis=1)[:, :_CANDIDATES]
    left, middle, right = (np.take_along_axis(a, best, 1) for a in (before, here, after))
    is_peak = np.take_along_axis(peaks, best, 1)
    bend = np.minimum(left - 2 * middle + right, -1e-9)
    offset = np.clip(0.5 * (left - right) / bend, -0.5, 0.5)
    height = np.minimum(middle - 0.25 * (left - right) * offset, 1.0)
    return best + low + offset, np.where(is_peak, height, 0.0)


def _long_enough(voiced: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The runs of at least 50 ms; shorter ones are mostly fricatives with a chance period."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], voiced, [False]))))
    kept = np.zeros_like(voiced)
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        kept[start:end] = end - start >= _LEAST_VOICED
    return kept


def _cheapest_path(octaves: Floats, strengths: Floats) -> NDArray[np.intp]:
    """Viterbi through unvoiced (0) and the candidates (1 …) of each frame."""
    frames, states = strengths.shape
    came_from = np.zeros((frames, states), np.intp)
    total = strengths[0].copy()
    cost = np.zeros((states, states))
    cost[0, 1:] = cost[1:, 0] = _SWITCH
    for frame in range(1, frames):
        jumps = octaves[frame - 1][:, None] - octaves[frame][None]
        cost[1:, 1:] = _JUMP * np.abs(jumps)
        reached = total[:, None] - cost
        best = reached.argmax(axis=0)
        came_from[frame] = best
        total = reached[best, np.arange(states)] + strengths[frame]
    path = np.zeros(frames, np.intp)
    path[-1] = total.argmax()
    for frame in range(frames - 1, 0, -1):
        path[frame - 1] = came_from[frame, path[frame]]
    return path
