"""Live signals: the last minute of them, analysed once a second.

Time is that of the samples: all signals start together at 0, and each goes on by its own rate,
however its samples are cut into messages. A second is analysed once every signal has reached it.
The window is the last 60 s, or as much of them as a signal has covered unbroken; a signal that does
not cover the window, after a gap, is left out until it does. Seconds that wait for more than 60 s
are dropped and counted.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import Enum
from math import floor

from services.biosignal import units, validation
from services.biosignal.analyze import Analysis, Options, assess
from services.biosignal.measures import measure
from services.biosignal.signals import NAMES, Recording, Signal
from services.biosignal.states import Features
from services.biosignal.track import Track
from services.common import errors

WINDOW_S = 60.0
BACKLOG_S = 60
"""Seconds that may wait to be analysed."""
BEHIND_S = 20.0
"""How far a signal may be behind the others before they go on without it."""
LONGEST_MESSAGE_S = 60.0
LONGEST_BASELINE_S = 600.0
LONGEST_S = 4 * 3600.0
HIGH_AROUSAL, NO_LONGER_HIGH = 0.6, 0.5
"""A moment of high arousal begins above the one and ends below the other."""

_NEAR_S = 1e-6
_LEAST_WINDOW_S = validation.LEAST_S
_SHORTER_BY_BEATS = 0.8
_MOST_PROBLEMS = 50


class Happening(Enum):
    """What an event tells of."""

    HIGH_AROUSAL = "high_arousal"
    INPUT_DROPPED = "input_dropped"


@dataclass(frozen=True, slots=True)
class Result:
    """What the window from start_s to end_s says."""

    start_s: float
    end_s: float
    found: Analysis


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened; dropped is in seconds of signal, since the last such event."""

    happening: Happening
    at_s: float
    dropped: int | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """Input that could not be used; the stream goes on unless it is not recoverable."""

    code: str
    message: str
    recoverable: bool = True


@dataclass(frozen=True, slots=True)
class Summary:
    """The whole session, in seconds of signal analysed and dropped."""

    duration_s: float
    processed: int
    dropped: int
    high_arousal_moments: int


Output = Result | Event | Problem | Summary


@dataclass(frozen=True, slots=True)
class _Window:
    start_s: float
    end_s: float
    signals: Recording


class LiveSession:
    """One stream. ``offer`` samples as they come; ``outputs`` gives what to answer."""

    def __init__(
        self,
        configured: Recording,
        options: Options,
        rest: Features | None = None,
        longest_s: float = LONGEST_S,
    ) -> None:
        """Signals without samples; `rest` are the features of the person at rest.

        Raises InvalidRequest or InvalidSignal for signals, units, rates and options that cannot be.
        """
        _check(configured, options)
        self._baseline_s = options.baseline_s if rest is None else None
        hold_s = max(WINDOW_S + BACKLOG_S, self._baseline_s or 0.0) + BEHIND_S + LONGEST_MESSAGE_S
        self._tracks = {name: Track(name, given, hold_s) for name, given in configured.items()}
        self._options = options
        self._rest, self._rest_from_s = rest, 0.0
        self._resting: Recording | None = None
        self._longest_s = longest_s
        self._wake = asyncio.Event()
        self._problems: deque[Problem] = deque(maxlen=_MOST_PROBLEMS)
        self._refused: frozenset[str] = frozenset()
        self._paused = self._closed = self._failed = False
        self._done_s = 0
        self._processed = self._dropped = self._unreported = 0
        self._aroused = False
        self._high_arousal_moments = 0

    def offer(self, samples: Recording) -> None:
        """Takes the next samples of any of the signals.

        Raises InvalidSignal for another unit or rate than configured. What is wrong with the
        samples themselves is told among the outputs, and makes a gap in that signal alone.
        """
        if self._paused or self._closed:
            return
        front_s = self._front_s
        for name, signal in samples.items():
            track = self._tracks.get(name)
            if track is None:
                self._report("UNKNOWN_SIGNAL", f"{name} is not among the signals of the config.")
                continue
            _check_alike(track, signal)
            self._take(track, signal, front_s)
        self._leave_behind()
        self._keep_baseline()
        self._drop_old()
        if self._front_s >= self._longest_s:
            self.expire(f"The stream has the {self._longest_s:g} s that one may have.")
        self._wake.set()

    def pause(self) -> None:
        """Ignores samples until resumed; the clock stands still."""
        self._paused = True

    def resume(self) -> None:
        """Takes samples again. What comes does not join what was: the window starts anew."""
        if not self._paused:
            return
        self._paused = False
        front_s = self._front_s
        for track in self._tracks.values():
            track.miss(front_s)

    def close(self) -> None:
        """Ends the session with a summary, once every second that waits is answered."""
        self._closed = True
        self._wake.set()

    def expire(self, message: str) -> None:
        """Closes the session because it has reached a limit."""
        if not self._closed:
            self._report("STREAM_LIMIT", message, recoverable=False)
        self.close()

    @property
    def closed(self) -> bool:
        """Whether no more samples are taken."""
        return self._closed

    def fail(self) -> None:
        """Ends the session at once, without a summary."""
        self._failed = True
        self.close()

    async def outputs(self) -> AsyncIterator[Output]:
        """Results, events and problems as they come; last the summary."""
        while not self._failed:
            if self._problems:
                yield self._problems.popleft()
            elif self._resting is not None:
                await self._take_rest(self._resting)
            elif (window := self._next()) is not None:
                for output in await self._answer(window):
                    yield output
            elif self._closed:
                yield self._summary()
                return
            else:
                self._wake.clear()
                await self._wake.wait()

    @property
    def _front_s(self) -> float:
        return max(track.clock_s for track in self._tracks.values())

    @property
    def _now_s(self) -> float:
        """What every signal that is present has reached."""
        return min(track.clock_s for track in self._tracks.values() if track.present)

    def _report(self, code: str, message: str, recoverable: bool = True) -> None:
        self._problems.append(Problem(code, message, recoverable))

    def _take(self, track: Track, signal: Signal, front_s: float) -> None:
        if not track.present:
            track.miss(front_s)
            track.present = True
        try:
            validation.check_samples(track.name, signal.data, f"samples.{track.name}")
        except errors.InvalidSignal as error:
            self._report("INVALID_SAMPLES", f"{error.message} They are left out.")
            if len(signal.data):
                missed_s = 0.0 if track.name == "rr" else track.duration_s(signal.data)
                track.miss(track.clock_s + min(missed_s, LONGEST_MESSAGE_S))
            return
        if track.duration_s(signal.data) > LONGEST_MESSAGE_S:
            self._report(
                "INVALID_SAMPLES",
                f"{track.name} has more than {LONGEST_MESSAGE_S:g} s of samples in one message. "
                "They are left out.",
            )
            track.miss(track.clock_s)
            return
        track.append(signal.data)

    def _leave_behind(self) -> None:
        front_s = self._front_s
        for track in self._tracks.values():
            if track.present and track.clock_s < front_s - BEHIND_S:
                track.present = False
                self._report(
                    "SIGNAL_BEHIND",
                    f"{track.name} is {front_s - track.clock_s:.0f} s behind the other signals; "
                    "they go on without it until its samples come again.",
                )

    def _keep_baseline(self) -> None:
        """Keeps the first part of the stream as the person's rest, once it is there."""
        if self._baseline_s is None or self._now_s < self._baseline_s:
            return
        self._resting = self._covering(0.0, self._baseline_s)
        self._rest_from_s, self._baseline_s = self._baseline_s, None

    async def _take_rest(self, recording: Recording) -> None:
        found, refused = await asyncio.to_thread(_measured, recording, self._rest_from_s)
        self._resting, self._rest = None, found
        if found is None:
            why = " ".join(refused.values()) or "No signal was unbroken."
            self._report("NO_BASELINE", f"The first part of the stream is no baseline. {why}")

    def _drop_old(self) -> None:
        self._skip()
        self._drop(floor(self._now_s + _NEAR_S) - self._done_s - BACKLOG_S)

    def _drop(self, seconds: int) -> None:
        if seconds > 0:
            self._done_s += seconds
            self._dropped += seconds
            self._unreported += seconds

    def _skip(self) -> None:
        """Passes the seconds whose window is too short to be analysed."""
        while (
            self._done_s + 1 <= self._now_s + _NEAR_S and self._window_s(self._done_s + 1) is None
        ):
            self._done_s += 1

    def _window_s(self, end_s: float) -> float | None:
        """The start of the window that ends there; None where it would be too short."""
        starts = [
            track.unbroken_s(end_s, min(WINDOW_S, end_s))
            for track in self._tracks.values()
            if track.clock_s >= end_s - _NEAR_S
        ]
        start_s = max(end_s - WINDOW_S, min(starts, default=end_s))
        return start_s if end_s - start_s >= _LEAST_WINDOW_S - _NEAR_S else None

    def _covering(self, start_s: float, end_s: float) -> Recording:
        return {
            name: track.read(start_s, end_s)
            for name, track in self._tracks.items()
            if track.covers(start_s, end_s)
        }

    def _next(self) -> _Window | None:
        self._skip()
        end_s = self._done_s + 1
        if end_s > self._now_s + _NEAR_S:
            return None
        start_s = self._window_s(end_s)
        if start_s is None:
            return None
        self._done_s = end_s
        return _Window(start_s, end_s, self._covering(start_s, end_s))

    async def _answer(self, window: _Window) -> list[Output]:
        rest = self._rest if window.end_s >= self._rest_from_s else None
        found, refused = await asyncio.to_thread(_assessed, window.signals, self._options, rest)
        self._processed += 1
        outputs: list[Output] = [
            Problem("INVALID_SIGNAL", message)
            for name, message in refused.items()
            if name not in self._refused
        ]
        self._refused = frozenset(refused)
        if found is not None:
            outputs.append(Result(window.start_s, window.end_s, found))
            outputs += self._moments(found, window.end_s)
        if self._unreported:
            outputs.append(Event(Happening.INPUT_DROPPED, window.end_s, self._unreported))
            self._unreported = 0
        return outputs

    def _moments(self, found: Analysis, at_s: float) -> list[Event]:
        arousal = found.states.arousal
        if arousal is None or not (self._options.stress or self._options.engagement):
            return []
        if self._aroused:
            self._aroused = arousal >= NO_LONGER_HIGH
            return []
        if arousal <= HIGH_AROUSAL:
            return []
        self._aroused = True
        self._high_arousal_moments += 1
        return [Event(Happening.HIGH_AROUSAL, at_s)]

    def _summary(self) -> Summary:
        return Summary(self._front_s, self._processed, self._dropped, self._high_arousal_moments)


def _check(configured: Recording, options: Options) -> None:
    where = "config.signals"
    if not configured:
        raise errors.InvalidRequest(
            "The config names no signal.",
            reason="Empty signals",
            suggestion=f"Name the rate and unit of at least one of {', '.join(NAMES)}.",
            field=where,
        )
    for name, signal in configured.items():
        if len(signal.data):
            raise errors.InvalidRequest(
                f"The config has samples of {name}.",
                field=f"{where}.{name}.data",
                suggestion="Send rate and unit in the config, and samples in the messages after.",
            )
        validation.check_rate(name, signal.rate_hz, f"{where}.{name}")
        units.check(name, signal, where)
    seconds = options.baseline_s
    if seconds is not None and not validation.LEAST_BASELINE_S <= seconds <= LONGEST_BASELINE_S:
        raise errors.InvalidRequest(
            f"The baseline of a stream cannot be its first {seconds:g} s.",
            reason="baseline_ms out of range",
            suggestion=f"Use {validation.LEAST_BASELINE_S * 1000:g} to "
            f"{LONGEST_BASELINE_S * 1000:g}.",
            field="config.options.baseline_ms",
        )


def _check_alike(track: Track, signal: Signal) -> None:
    """Raises InvalidSignal where samples say another rate, unit or gain than the config."""
    configured = track.configured
    for field, said, agreed in (
        ("sample_rate", signal.rate_hz, configured.rate_hz),
        ("unit", signal.unit, configured.unit),
        ("adc_gain", signal.adc_gain, configured.adc_gain),
    ):
        unused = track.name == "rr" and field == "sample_rate"
        if said and said != agreed and not unused:
            raise errors.InvalidSignal(
                f"The samples of {track.name} have {field} {said}; the config said {agreed}.",
                reason="Not as configured",
                suggestion="Leave it out after the config, or open another stream.",
                field=f"samples.{track.name}.{field}",
            )


def _usable(recording: Recording) -> tuple[Recording, dict[str, str]]:
    """The signals that can be analysed, and why each other one cannot."""
    usable, refused = {}, {}
    for name, signal in recording.items():
        try:
            validation.check({name: signal}, _SHORTER_BY_BEATS * _LEAST_WINDOW_S, "samples")
            units.convert(name, signal, "samples")
        except errors.InvalidSignal as error:
            refused[name] = f"{error.message} {error.details['suggestion']}"
        else:
            usable[name] = signal
    return usable, refused


def _assessed(
    recording: Recording, options: Options, rest: Features | None
) -> tuple[Analysis | None, dict[str, str]]:
    usable, refused = _usable(recording)
    if not usable:
        return None, refused
    return assess(measure(usable), usable, options, rest), refused


def _measured(recording: Recording, seconds: float) -> tuple[Features | None, dict[str, str]]:
    usable, refused = _usable(recording)
    return (measure(usable).features(0, seconds) if usable else None), refused
