"""The whole analysis of an image with the real nets."""

import math

import cv2
import numpy as np
import pytest

from services.common.errors import InvalidImage, InvalidRequest, NoFaceDetected
from services.common.labels import COORDINATES
from services.face import action_units, expression
from services.face.analyze import Face, FaceAnalyzer, Options
from services.face.image import Pixels, decode
from tests.face.conftest import Recorded
from tests.face.pictures import BACKGROUND, FACE, drawing, encoded, head, scene

DEFAULT = Options()


async def only_face(analyzer: FaceAnalyzer, pixels: Pixels, options: Options = DEFAULT) -> Face:
    faces = (await analyzer.frame(pixels, options)).faces
    assert len(faces) == 1
    return faces[0]


async def test_reads_the_smile_of_a_colour_photograph(
    analyzer: FaceAnalyzer, photograph: bytes
) -> None:
    found = await analyzer.image(photograph, Options())
    [face] = found.faces
    assert (found.width, found.height) == (512, 512)
    assert face.primary == "happiness"
    assert face.emotions["happiness"] > 0.8
    assert face.dimensions is not None
    assert face.dimensions[0] > 0.5
    assert face.quality.score > 0.9
    assert found.warnings == []
    assert np.abs(np.array(face.box) - FACE).max() <= 12


async def test_confidences_of_all_eight_emotions_sum_to_one(
    analyzer: FaceAnalyzer, portrait: Pixels
) -> None:
    face = await only_face(analyzer, portrait)
    assert set(face.emotions) <= set(COORDINATES)
    assert len(face.emotions) == 8
    assert math.isclose(sum(face.emotions.values()), 1, abs_tol=1e-9)
    assert all(0 <= value <= 1 for value in face.emotions.values())


async def test_action_units_show_the_smile(analyzer: FaceAnalyzer, portrait: Pixels) -> None:
    face = await only_face(analyzer, portrait)
    assert face.action_units is not None
    units = {unit.au: unit.intensity for unit in face.action_units}
    assert units["AU12"] > 0.6
    assert max(units["AU4"], units["AU15"], units["AU26"], units["AU45"]) < 0.3
    assert not units.keys() & set(action_units.UNSUPPORTED)


@pytest.mark.parametrize("side", [32, 40, 64, 160])
async def test_reads_the_smile_at_every_size(
    analyzer: FaceAnalyzer, portrait: Pixels, side: int
) -> None:
    picture, _ = scene(portrait, [(300, 200, side)])
    assert (await only_face(analyzer, picture)).primary == "happiness"


@pytest.mark.parametrize("angle", [-30, -15, 15, 30])
async def test_a_tilted_head_reads_the_same(
    analyzer: FaceAnalyzer, portrait: Pixels, angle: int
) -> None:
    middle = (FACE[0] + FACE[2] / 2, FACE[1] + FACE[3] / 2)
    turn = cv2.getRotationMatrix2D(middle, -angle, 1.0)
    tilted = np.asarray(
        cv2.warpAffine(portrait, turn, (512, 512), borderValue=BACKGROUND), np.uint8
    )
    face = await only_face(analyzer, tilted)
    straight = await only_face(analyzer, portrait)
    assert face.primary == "happiness"
    assert face.pose.roll - straight.pose.roll == pytest.approx(angle, abs=5)


async def test_the_mirror_image_turns_the_other_way(
    analyzer: FaceAnalyzer, portrait: Pixels
) -> None:
    face = await only_face(analyzer, portrait)
    mirrored = await only_face(analyzer, np.ascontiguousarray(portrait[:, ::-1]))
    assert mirrored.primary == face.primary
    assert mirrored.pose.yaw == pytest.approx(-face.pose.yaw, abs=3)
    assert mirrored.pose.roll == pytest.approx(-face.pose.roll, abs=3)
    assert mirrored.pose.pitch == pytest.approx(face.pose.pitch, abs=3)
    assert mirrored.gaze.yaw == pytest.approx(-face.gaze.yaw, abs=6)


async def test_what_is_switched_off_is_not_computed(
    analyzer: FaceAnalyzer, inference: Recorded, portrait: Pixels
) -> None:
    inference.runs.clear()
    lean = Options(action_units=False, dimensions=False)
    face = await only_face(analyzer, portrait, lean)
    assert action_units.MODEL not in inference.runs
    assert (face.action_units, face.dimensions, face.landmarks) == (None, None, None)
    assert action_units.MODEL not in {model.name for model in analyzer.provenance(lean)}
    await only_face(analyzer, portrait)
    assert action_units.MODEL in inference.runs


async def test_no_net_but_the_detector_runs_without_a_face(
    analyzer: FaceAnalyzer, inference: Recorded
) -> None:
    inference.runs.clear()
    await analyzer.frame(np.full((300, 300, 3), 90, np.uint8), Options())
    assert set(inference.runs) == {"face_detection"}


async def test_landmarks_lie_on_the_face(analyzer: FaceAnalyzer, portrait: Pixels) -> None:
    face = await only_face(analyzer, portrait, Options(landmarks=True))
    assert face.landmarks is not None
    assert face.landmarks.shape == (478, 3)
    x, y, width, height = FACE
    left_eye, right_eye = face.landmarks[468], face.landmarks[473]
    nose, mouth = face.landmarks[1], face.landmarks[13]
    assert x < left_eye[0] < nose[0] < right_eye[0] < x + width
    assert y < left_eye[1] < nose[1] < mouth[1] < y + height


async def test_largest_faces_come_first_and_max_faces_holds(
    analyzer: FaceAnalyzer, portrait: Pixels
) -> None:
    picture, _ = scene(portrait, [(30, 250, 60), (250, 150, 150), (800, 200, 100)])
    faces = (await analyzer.frame(picture, Options(max_faces=2))).faces
    widths = [face.box[2] for face in faces]
    assert len(widths) == 2
    assert widths[0] > widths[1] > 80


async def test_box_is_clipped_to_the_image(analyzer: FaceAnalyzer, portrait: Pixels) -> None:
    x, y, side, _ = FACE
    cut = np.ascontiguousarray(portrait[y + 8 :, x + 8 :])
    left, top, width, height = (await only_face(analyzer, cut)).box
    assert (left, top) == (0, 0)
    assert width <= side
    assert height <= side


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda p: cv2.GaussianBlur(p, (0, 0), 7), "BLURRED_FACE"),
        (lambda p: (p * 0.08).astype(np.uint8), "POOR_LIGHT"),
        (lambda p: np.asarray(cv2.resize(head(p, 34), None, fx=1, fy=1)), "SMALL_FACE"),
    ],
    ids=["blur", "dark", "small"],
)
async def test_poor_quality_is_named_and_lowers_confidence(
    analyzer: FaceAnalyzer,
    inference: Recorded,
    portrait: Pixels,
    spoil: object,
    code: str,
) -> None:
    assert callable(spoil)
    frame = await analyzer.frame(spoil(portrait), DEFAULT)
    [face] = frame.faces
    assert code in {name for name, _ in face.quality.warnings}
    plain = await expression.classify(inference, frame.crops)
    assert face.emotions[face.primary] < plain.max() - 0.02
    assert face.quality.score < 0.6


async def test_annotated_image_is_a_picture_with_the_box(
    analyzer: FaceAnalyzer, photograph: bytes, portrait: Pixels
) -> None:
    found = await analyzer.image(photograph, Options(annotated=True))
    assert found.annotated is not None
    drawn = decode(found.annotated)
    assert drawn.shape == portrait.shape
    changed = np.abs(drawn.astype(int) - portrait).sum(2) > 60
    x, y, width, height = found.faces[0].box
    assert changed[y + height, x : x + width].mean() > 0.9
    assert not changed[300:].any()


async def test_a_huge_image_says_which_faces_may_be_missed(
    analyzer: FaceAnalyzer, portrait: Pixels
) -> None:
    picture = np.full((5000, 8000, 3), BACKGROUND, np.uint8)
    picture[1000:3048, 1000:3048] = np.repeat(np.repeat(portrait, 4, 0), 4, 1)
    found = await analyzer.image(encoded(picture, "JPEG"), Options())
    assert [code for code, _ in found.warnings] == ["SMALL_FACES_NOT_SOUGHT"]
    assert len(found.faces) == 1


async def test_a_crowd_is_cut_to_the_largest_and_says_so(
    analyzer: FaceAnalyzer, portrait: Pixels
) -> None:
    places = [(20 + 155 * (n % 12), 20 + 250 * (n // 12), 70) for n in range(60)]
    picture, _ = scene(portrait, places, (2000, 1400))
    found = await analyzer.image(encoded(picture, "JPEG"), Options(min_face_size=48))
    assert len(found.faces) == 50
    assert [code for code, _ in found.warnings] == ["FACES_LEFT_OUT"]


@pytest.mark.parametrize("data", [drawing(), encoded(np.full((200, 200, 3), 7, np.uint8))])
async def test_no_face_says_what_to_do(analyzer: FaceAnalyzer, data: bytes) -> None:
    with pytest.raises(NoFaceDetected) as raised:
        await analyzer.image(data, Options())
    assert raised.value.details["suggestion"] == (
        "Ensure the image contains a clearly visible face"
    )


async def test_broken_image_is_refused(analyzer: FaceAnalyzer, photograph: bytes) -> None:
    with pytest.raises(InvalidImage):
        await analyzer.image(photograph[:9000], Options())


@pytest.mark.parametrize("wrong", [{"min_face_size": 0}, {"max_faces": 0}, {"max_faces": 51}])
def test_options_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidRequest) as raised:
        Options(**wrong)  # type: ignore[arg-type]
    assert raised.value.details["field"] == f"options.{next(iter(wrong))}"


async def test_a_face_in_the_dark_has_no_valence(analyzer: FaceAnalyzer, portrait: Pixels) -> None:
    dark = (portrait * 0.08).astype(np.uint8)
    frame = await analyzer.frame(dark, Options(action_units=False))
    [face] = frame.faces
    assert face.quality.trust < 0.2
    assert face.dimensions is not None
    assert face.dimensions == pytest.approx((0, 0), abs=0.15)
