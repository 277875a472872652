"""How the labels of different modalities meet."""

import pytest

from services.common.inference.repository import Repository
from services.common.labels import LABELS
from services.common.settings import Settings
from services.fusion.vocabulary import BROADER, KNOWN, common_labels
from services.fusion.weights import MODALITIES
from services.text.emotions import FINE, GROUPS, NAMES


def test_every_label_is_of_the_one_vocabulary() -> None:
    assert set(BROADER) | set(BROADER.values()) <= set(LABELS)
    assert frozenset().union(*KNOWN.values()) <= set(LABELS)


def test_every_modality_has_its_labels() -> None:
    assert set(KNOWN) == set(MODALITIES)


@pytest.mark.parametrize(
    ("modality", "model"), [("face", "face_expression"), ("voice", "voice_emotion_open")]
)
def test_what_a_modality_can_emit_is_what_its_model_measures(modality: str, model: str) -> None:
    info = Repository(Settings().model_repository)[model].info
    assert KNOWN[modality] == set(info.labels)


def test_what_text_can_emit_is_what_its_groups_and_fine_labels_are() -> None:
    fine = {NAMES.get(label, label) for label in FINE}
    assert KNOWN["text"] == {*GROUPS, *fine}


def test_the_families_are_those_of_the_text_service() -> None:
    for group, members in GROUPS.items():
        for label in {NAMES.get(member, member) for member in members} & KNOWN["text"]:
            assert BROADER.get(label, label) == group


def test_a_broader_label_has_none_above_it() -> None:
    assert not set(BROADER) & set(BROADER.values())


def test_every_label_can_be_weighed_against_a_face_and_a_voice() -> None:
    alone = set(LABELS) - set(BROADER) - KNOWN["face"]
    assert alone == {"boredom", "confusion", "curiosity", "interest"}


def test_a_label_some_modality_lacks_is_folded_into_its_family() -> None:
    common = common_labels({"face": KNOWN["face"], "text": KNOWN["text"]})
    assert common["gratitude"] == common["excitement"] == common["happiness"] == "happiness"
    assert common["anxiety"] == "fear"


def test_a_label_all_modalities_know_stays_itself() -> None:
    known = frozenset({"happiness", "excitement"})
    assert common_labels({"voice": known, "text": known})["excitement"] == "excitement"


def test_a_label_without_family_stays_itself() -> None:
    common = common_labels({"face": KNOWN["face"], "voice": KNOWN["voice"]})
    assert common["contempt"] == "contempt"
    assert common["boredom"] == "boredom"
