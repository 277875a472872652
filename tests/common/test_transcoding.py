import base64
import json

import pytest
from google.protobuf import json_format

from affectmesh.v1 import biosignal_pb2, face_pb2, fusion_pb2, jobs_pb2, text_pb2, types_pb2
from services.common.errors import InvalidRequest
from services.common.transcoding import parser, renderer

parse_face = parser(face_pb2.AnalyzeFaceRequest.DESCRIPTOR)
parse_biosignal = parser(biosignal_pb2.AnalyzeBiosignalRequest.DESCRIPTOR)
parse_fusion = parser(fusion_pb2.AnalyzeMultimodalRequest.DESCRIPTOR)


def test_bytes_come_bare_or_as_data_uri() -> None:
    encoded = base64.b64encode(b"\x00image\xff").decode()
    for text in (encoded, f"data:image/jpeg;base64,{encoded}", encoded[:4] + "\n" + encoded[4:]):
        assert parse_face({"image_base64": text}).image == b"\x00image\xff"


def test_field_names_follow_the_public_document() -> None:
    signal = {"sample_rate": 256, "data": [0.12, 1], "unit": "mV"}
    request = parse_biosignal({"signals": {"ecg": signal}, "duration_ms": 60000})
    assert request.signals.ecg.sample_rate_hz == 256
    assert list(request.signals.ecg.data) == [0.12, 1.0]
    assert request.duration_ms == 60000


def test_an_option_that_is_not_given_stays_unset_and_null_is_the_same() -> None:
    options = parse_face({"options": {"return_landmarks": False, "max_faces": None}}).options
    assert options.HasField("return_landmarks")
    assert not options.HasField("max_faces")
    assert not options.HasField("return_dimensions")


def test_maps_of_numbers_are_read() -> None:
    request = parse_fusion({"fusion": {"weights": {"face": 0.5, "voice": 1}}})
    assert dict(request.fusion.weights) == {"face": 0.5, "voice": 1.0}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ([], "body"),
        ("text", "body"),
        ({"image": "x"}, "image"),
        ({"options": []}, "options"),
        ({"options": {"max_faces": "5"}}, "options.max_faces"),
        ({"options": {"max_faces": 2.5}}, "options.max_faces"),
        ({"options": {"max_faces": 2**31}}, "options.max_faces"),
        ({"options": {"max_faces": True}}, "options.max_faces"),
        ({"options": {"return_landmarks": 1}}, "options.return_landmarks"),
        ({"options": {"min_face": 1}}, "options.min_face"),
        ({"image_url": 7}, "image_url"),
        ({"image_base64": "not base64!"}, "image_base64"),
        ({"image_base64": "abc"}, "image_base64"),
        ({"image_base64": "data:image/png,abcd"}, "image_base64"),
        ({"image_base64": 5}, "image_base64"),
    ],
)
def test_a_wrong_field_is_named_with_what_to_do(body: object, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_face(body)
    assert caught.value.details["field"] == field
    assert caught.value.details["suggestion"]


@pytest.mark.parametrize("data", [[0.1, "x"], [None], [True], [[1]], "1,2", {"0": 1}])
def test_a_signal_must_be_a_list_of_numbers(data: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_biosignal({"signals": {"ecg": {"data": data}}})
    assert caught.value.details["field"].startswith("signals.ecg.data")


def test_a_misspelt_field_is_met_with_the_right_one() -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_face({"image_ulr": "https://example.com"})
    assert "image_url" in caught.value.details["suggestion"]


def test_rendering_equals_the_standard_mapping_but_for_absent_numbers() -> None:
    response = text_pb2.AnalyzeTextResponse(
        request_id="req_1",
        text_length=5,
        language="en",
        sentiment=text_pb2.Sentiment(polarity=0.92, subjectivity=0.5, label="positive"),
        emotions=types_pb2.Emotions(
            primary=types_pb2.Emotion(label="happiness", confidence=0.9),
            all=[types_pb2.Emotion(label="happiness", confidence=0.9, derived=True)],
        ),
        dimensions=types_pb2.Dimensions(valence=0.5, arousal=-0.25),
        aspects=[text_pb2.Aspect(aspect="product", sentiment=0.95, mentions=["product"])],
    )
    ours = renderer(text_pb2.AnalyzeTextResponse.DESCRIPTOR)(response)
    assert ours["dimensions"].pop("dominance", 0) is None
    standard = json_format.MessageToDict(
        response, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    assert ours == standard
    assert list(ours) == [f.name for f in response.DESCRIPTOR.fields if f.name in ours]


def test_rendering_of_maps_enums_bytes_and_timestamps() -> None:
    fused = fusion_pb2.AnalyzeMultimodalResponse(
        modality_results={"face": fusion_pb2.ModalityResult()}
    )
    rendered = renderer(fusion_pb2.AnalyzeMultimodalResponse.DESCRIPTOR)(fused)
    assert rendered["modality_results"] == {"face": {"warnings": []}}
    assert "fused_result" not in rendered

    job = jobs_pb2.Job(state=jobs_pb2.JOB_STATE_DONE)
    job.options.update({"depth": "basic"})
    job.create_time.FromSeconds(0)
    rendered = renderer(jobs_pb2.Job.DESCRIPTOR)(job)
    assert rendered["state"] == "done"
    assert rendered["create_time"] == "1970-01-01T00:00:00Z"
    assert json.loads(json.dumps(rendered["options"])) == {"depth": "basic"}

    face = face_pb2.AnalyzeFaceResponse(annotated_image=b"\xff\x00")
    rendered = renderer(face_pb2.AnalyzeFaceResponse.DESCRIPTOR)(face)
    assert base64.b64decode(rendered["annotated_image"]) == b"\xff\x00"


def test_enums_are_read_as_words() -> None:
    parse = parser(types_pb2.StreamOutput.DESCRIPTOR)
    assert parse({"rate": "ON_CHANGE"}).rate == types_pb2.OUTPUT_RATE_ON_CHANGE
    with pytest.raises(InvalidRequest) as caught:
        parse({"rate": "unspecified"})
    assert "per_second" in caught.value.details["suggestion"]
