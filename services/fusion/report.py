"""What the services said of a recording, put together."""

from collections.abc import Sequence
from itertools import pairwise

from affectmesh.v1 import fusion_pb2, text_pb2, types_pb2, voice_pb2
from services.common import errors, results
from services.fusion import body, faces, honesty, messages, moments, timeline
from services.fusion.analyze import Opinion
from services.fusion.depth import Depth
from services.fusion.faces import Person
from services.fusion.honesty import Honesty
from services.fusion.modalities import activation, opinion_of, text_quality
from services.fusion.moments import KeyMoment
from services.fusion.observations import Activation, Observations, Saying, Word
from services.fusion.recording import Gathered, Words
from services.fusion.timeline import Moment

VERSION = "1.0.0"
"""Of the formulas in timeline.py, moments.py, body.py and honesty.py."""
LONGEST_GAP_MS = 3000
_LEAST_CONFIDENCE = 0.01


def compose(found: Gathered, depth: Depth, body_start_ms: int) -> fusion_pb2.RecordingAnalysis:
    """The analysis of a recording of which at least a face, speech or an activation was found.

    body_start_ms: when the signals of the body start. They speak on the timeline; key moments and
    consistency are of behaviour and leave them out. Raises the error of what failed, or
    InvalidVideo, where nothing was found.
    """
    duration_ms = found.footage.duration_ms
    people = faces.people(found.face) if found.face else []
    activations = _activations(found, body_start_ms)
    if not people and found.voice is None and not activations:
        raise _nothing(found)
    sayings = _sayings(found)
    frames = [frame.timestamp_ms for frame in found.face.timeline] if found.face else []
    speaker = faces.main_speaker(people, sayings, frames)
    seen = Observations(
        duration_ms,
        found.interval_ms if frames else None,
        faces.sightings(speaker) if speaker else (),
        sayings,
        [Word(one.start_ms, one.end_ms) for one in found.voice.words] if found.voice else (),
    )
    behaviour = timeline.build(seen, depth.hop_ms)
    line = timeline.build(seen, depth.hop_ms, activations) if activations else behaviour
    score = honesty.assess(seen, behaviour)
    return fusion_pb2.RecordingAnalysis(
        duration_ms=duration_ms,
        emotion_breakdown=timeline.breakdown(line),
        timeline=map(_moment, line),
        key_moments=map(_key_moment, moments.find(seen, behaviour)),
        honesty=_honesty(score),
        body_language=map(_cue, body.cues(seen)),
        voice=found.voice,
        face=found.face,
        text=found.text,
        biosignal=found.biosignal,
        warnings=[*found.warnings, *_warnings(found, people, speaker, frames, score)],
        provenance=_provenance(found),
        timeline_hop_ms=depth.hop_ms,
        main_face_id=speaker.number if speaker else None,
        utterances=_utterances(found),
        depth=depth.name,
    )


def _nothing(found: Gathered) -> errors.AffectMeshError:
    for failure in found.failures:
        if failure.retriable:
            return failure
    return errors.InvalidVideo(
        "The recording shows no face and has no speech.",
        reason=" ".join(["No face was found.", *(warning.message for warning in found.warnings)]),
        suggestion="Send a recording in which somebody is seen or heard.",
    )


def _sayings(found: Gathered) -> list[Saying]:
    if found.voice is None:
        return []
    return [
        Saying(one.start_ms, one.end_ms, one.text, _voice_opinion(one), _words_opinion(words))
        for one, words in zip(found.voice.segments, found.words, strict=True)
    ]


def _activations(found: Gathered, start_ms: int) -> list[Activation]:
    """Where the body's states are known, each until the next, in the part that is recorded."""
    if found.biosignal is None:
        return []
    confidence = found.biosignal.derived_states.confidence
    line = found.biosignal.timeline
    starts = [start_ms + one.time_ms for one in line]
    ends = [*starts[1:], start_ms + found.biosignal.duration_ms]
    return [
        Activation(start, end, activation(one.arousal, confidence))
        for one, start, end in zip(line, starts, ends, strict=True)
        if one.HasField("arousal") and end > 0 and start < found.footage.duration_ms
    ]


def _voice_opinion(segment: voice_pb2.VoiceSegment) -> Opinion:
    said = types_pb2.Emotions(primary=results.emotion(segment.emotion, segment.confidence))
    return opinion_of(
        "voice", voice_pb2.AnalyzeVoiceResponse(emotions=said, dimensions=segment.dimensions)
    )


def _words_opinion(words: Words | None) -> Opinion | None:
    """Of words read in short, polarity stands for valence."""
    if words is None:
        return None
    said = text_pb2.AnalyzeTextResponse(
        emotions=_emotions_of(words), dimensions=_dimensions_of(words)
    )
    return opinion_of("text", said, text_quality(words.warnings))


def _emotions_of(words: Words) -> types_pb2.Emotions:
    if isinstance(words, text_pb2.AnalyzeTextResponse):
        return words.emotions
    return types_pb2.Emotions(primary=words.emotion, all=[words.emotion])


def _dimensions_of(words: Words) -> types_pb2.Dimensions:
    if isinstance(words, text_pb2.AnalyzeTextResponse):
        return words.dimensions
    return types_pb2.Dimensions(valence=words.sentiment.polarity, derived=True)


def _utterances(found: Gathered) -> list[fusion_pb2.RecordingUtterance]:
    segments = found.voice.segments if found.voice else ()
    return [
        fusion_pb2.RecordingUtterance(
            start_ms=one.start_ms,
            end_ms=one.end_ms,
            text=one.text,
            emotions=_emotions_of(words),
            dimensions=_dimensions_of(words),
            sentiment=words.sentiment,
        )
        for one, words in zip(segments, found.words, strict=True)
        if words is not None
    ]


def _moment(one: Moment) -> fusion_pb2.RecordingMoment:
    moment = fusion_pb2.RecordingMoment(
        start_ms=one.start_ms, end_ms=one.end_ms, modalities=sorted(one.opinions)
    )
    if one.fusion is None:
        return moment
    if one.fusion.emotions:
        emotions = results.emotions(one.fusion.emotions, one.fusion.derived, _LEAST_CONFIDENCE)
        moment.emotions.CopyFrom(emotions)
    if measured := messages.dimensions(one.fusion):
        moment.dimensions.CopyFrom(measured)
    if one.agreement is not None:
        moment.agreement = round(one.agreement, 4)
    return moment


def _key_moment(one: KeyMoment) -> fusion_pb2.KeyMoment:
    return fusion_pb2.KeyMoment(
        timestamp_ms=one.start_ms,
        end_ms=one.end_ms,
        type=one.kind,
        score=round(one.score, 4),
        evidence=one.evidence,
    )


def _gaps(found: Gathered, frames: Sequence[int]) -> list[tuple[int, int]]:
    """Stretches of LONGEST_GAP_MS and more between pictures analysed, in ms."""
    least = max(LONGEST_GAP_MS, 3 * found.interval_ms)
    return [(one, other) for one, other in pairwise(frames) if other - one > least]


def _honesty(found: Honesty | None) -> fusion_pb2.HonestyScore | None:
    if found is None:
        return None
    return fusion_pb2.HonestyScore(
        score=round(found.score, 1),
        components={name: round(value, 4) for name, value in found.components.items()},
        weights={name: round(value, 4) for name, value in found.weights.items()},
        interpretation=honesty.interpretation(found),
    )


def _cue(found: body.Cue) -> fusion_pb2.BodyCue:
    return fusion_pb2.BodyCue(
        name=found.name,
        value=round(found.value, 4),
        unit=found.unit,
        measured_ms=found.measured_ms,
    )


def _warnings(
    found: Gathered,
    people: Sequence[Person],
    speaker: Person | None,
    frames: Sequence[int],
    score: Honesty | None,
) -> list[types_pb2.Warning]:
    listed = [
        (
            "PICTURES_MISSING",
            f"Faces from {start / 1000:.1f} s to {end / 1000:.1f} s are missing: "
            "there are no pictures that can be read.",
        )
        for start, end in _gaps(found, frames)
    ]
    if frames and not people:
        listed.append(("NO_FACE", "No face was found; face and body language are left out."))
    if speaker and len(people) > 1:
        listed.append(
            (
                "SEVERAL_FACES",
                f"{len(people)} people are seen. Face {speaker.number} is taken as the main "
                f"speaker's: in {len(speaker.seen) / len(frames):.0%} of the pictures analysed; "
                "presence, size and movement of the mouth during speech decide.",
            )
        )
    if len(people) > 1 and found.voice is not None:
        listed.append(
            (
                "VOICES_NOT_TOLD_APART",
                "Several people are seen. Voice, words and what follows from them are those of all "
                "who speak, whoever the main speaker is.",
            )
        )
    if score is None:
        listed.append(("HONESTY_NOT_MEASURED", "Too little was seen and heard for a score."))
    elif score.missing:
        listed.append(
            (
                "HONESTY_INCOMPLETE",
                f"Not measured: {', '.join(score.missing)}; the others weigh more instead.",
            )
        )
    return [types_pb2.Warning(code=code, message=message) for code, message in listed]


def _provenance(found: Gathered) -> list[types_pb2.Provenance]:
    methods = ("late_fusion_weighted_average", "behavioural_consistency")
    return messages.distinct(
        [
            *(found.face.provenance if found.face else ()),
            *(found.voice.provenance if found.voice else ()),
            *(found.text.provenance if found.text else ()),
            *(found.biosignal.provenance if found.biosignal else ()),
            *(types_pb2.Provenance(model=method, version=VERSION) for method in methods),
        ]
    )
