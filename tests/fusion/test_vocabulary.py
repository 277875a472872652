"""How the labels of different modalities meet."""

from services.common.labels import LABELS
from services.fusion.vocabulary import BROADER, KNOWN, common_labels
from services.fusion.weights import MODALITIES


def test_every_label_is_of_the_one_vocabulary() -> None:
    assert set(BROADER) | set(BROADER.values()) <= set(LABELS)
    assert frozenset().union(*KNOWN.values()) <= set(LABELS)


def test_every_modality_has_its_labels() -> None:
    assert set(KNOWN) == set(MODALITIES)


def test_a_broader_label_has_none_above_it() -> None:
    assert not set(BROADER) & set(BROADER.values())


def test_every_label_can_be_weighed_against_a_face_and_a_voice() -> None:
    alone = set(LABELS) - set(BROADER) - KNOWN["face"]
    assert alone == {"boredom"}


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
