"""Analyses of recordings, as the fusion service words them."""

from affectmesh.v1 import (
    face_pb2,
    fusion_pb2,
    jobs_pb2,
    text_pb2,
    types_pb2,
    voice_pb2,
)


def emotions(**confidences: float) -> types_pb2.Emotions:
    """Most confident first, as they are given."""
    every = [types_pb2.Emotion(label=name, confidence=one) for name, one in confidences.items()]
    return types_pb2.Emotions(primary=every[0], all=every)


def whole() -> fusion_pb2.RecordingAnalysis:
    """Five and a quarter minutes of somebody seen and heard, three moments of which are shown."""
    happy, sad = emotions(happiness=0.7, neutral=0.2), emotions(sadness=0.55, surprise=0.3)
    return fusion_pb2.RecordingAnalysis(
        duration_ms=315_000,
        emotion_breakdown={"neutral": 0.45, "happiness": 0.35, "surprise": 0.12, "sadness": 0.08},
        timeline_hop_ms=1000,
        timeline=[
            fusion_pb2.RecordingMoment(
                start_ms=0,
                end_ms=1000,
                emotions=happy,
                dimensions=types_pb2.Dimensions(valence=0.5, arousal=-0.25, dominance=0.1),
                agreement=0.62,
                modalities=["face", "text", "voice"],
            ),
            fusion_pb2.RecordingMoment(
                start_ms=1000,
                end_ms=2000,
                emotions=sad,
                dimensions=types_pb2.Dimensions(valence=-0.5, arousal=0.75),
                modalities=["face"],
            ),
            fusion_pb2.RecordingMoment(start_ms=2000, end_ms=3000),
        ],
        key_moments=[
            fusion_pb2.KeyMoment(
                timestamp_ms=1200,
                end_ms=2500,
                type="honesty_drop",
                score=0.45,
                evidence=["agreement 0.31, usually 0.62"],
            )
        ],
        honesty=fusion_pb2.HonestyScore(
            score=78.5,
            components={"agreement": 0.7, "fluency": 0.95},
            weights={"agreement": 0.6667, "fluency": 0.3333},
            interpretation="Behavioural consistency, not lie detection.",
        ),
        body_language=[
            fusion_pb2.BodyCue(name="head_movement", value=6.5, unit="deg/s", measured_ms=3000)
        ],
        voice=voice_pb2.AnalyzeVoiceResponse(
            duration_ms=315_000,
            language_detected="en",
            transcript="=I am glad.",
            emotions=emotions(neutral=0.6, happiness=0.4),
            dimensions=types_pb2.Dimensions(valence=0.1, arousal=0.2),
            prosody=voice_pb2.Prosody(speech_rate_wpm=150, pause_ratio=0.2),
        ),
        face=face_pb2.AnalyzeFaceVideoResponse(
            analyzed_frames=2,
            timeline=[
                face_pb2.FaceFrame(
                    timestamp_ms=time_ms,
                    faces=[
                        face_pb2.Face(
                            face_id=face_id,
                            emotions=shown,
                            dimensions=types_pb2.Dimensions(valence=0.4, arousal=0.0),
                        )
                        for face_id, shown in ((0, happy), (1, sad))
                    ],
                )
                for time_ms in (0, 500)
            ],
            summary=face_pb2.FaceVideoSummary(dominant_emotion="happiness", face_count=2),
        ),
        text=text_pb2.AnalyzeTextResponse(
            text_length=11,
            language="en",
            sentiment=text_pb2.Sentiment(polarity=0.8, subjectivity=0.7, label="positive"),
            emotions=emotions(gratitude=0.81, happiness=0.8),
        ),
        main_face_id=0,
        utterances=[
            fusion_pb2.RecordingUtterance(
                start_ms=100, end_ms=900, text="=I am glad.", emotions=emotions(happiness=0.8)
            )
        ],
        depth="basic",
        warnings=[types_pb2.Warning(code="SEVERAL_FACES", message="2 people are seen.")],
        provenance=[
            types_pb2.Provenance(model="face_expression", version="1.0.0", digest="ab" * 32),
            types_pb2.Provenance(model="late_fusion_weighted_average", version="1.0.0"),
        ],
        processing_time_ms=4200,
    )


def bare() -> fusion_pb2.RecordingAnalysis:
    """Somebody heard for so short that no moment has emotions, and nothing else."""
    return fusion_pb2.RecordingAnalysis(
        duration_ms=1000,
        timeline_hop_ms=1000,
        timeline=[fusion_pb2.RecordingMoment(start_ms=0, end_ms=1000)],
        voice=voice_pb2.AnalyzeVoiceResponse(
            duration_ms=1000, emotions=emotions(anger=0.5, fear=0.5)
        ),
        depth="basic",
    )


def job() -> jobs_pb2.Job:
    """The job of a recording, as its worker holds it."""
    made = jobs_pb2.Job(
        job_id="job_a1b2c3d4e5f60718",
        dialect=jobs_pb2.DIALECT_EMOVISION,
        kind=jobs_pb2.JOB_KIND_RECORDING_BASIC,
        state=jobs_pb2.JOB_STATE_WORKING,
    )
    made.update_time.FromJsonString("2026-01-15T10:30:00Z")
    return made
