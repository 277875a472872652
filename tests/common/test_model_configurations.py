"""Every config.pbtxt is as its one writer writes it."""

import onnxruntime
import pytest

from models.training import configuration
from services.common.inference.repository import Repository

REPOSITORY = Repository(configuration.REPOSITORY, configuration.RESEARCH)


def test_every_model_is_known_and_no_other() -> None:
    assert set(REPOSITORY.names()) == configuration.KNOWN.keys()


@pytest.mark.parametrize("name", configuration.KNOWN)
def test_a_configuration_is_as_training_would_write_it(name: str) -> None:
    folder = REPOSITORY[name]
    written = configuration.text(name, folder.info.parameters)
    committed = (folder.path / "config.pbtxt").read_text()
    assert committed == written, "run: python -m models.training.configuration"


@pytest.mark.parametrize("name", configuration.KNOWN)
def test_a_configuration_names_what_the_weights_take_and_give(name: str) -> None:
    model = configuration.KNOWN[name]
    session = onnxruntime.InferenceSession(REPOSITORY[name].weights)
    assert {one.name for one in session.get_inputs()} == {one.name for one in model.inputs}
    assert {one.name for one in session.get_outputs()} >= {one.name for one in model.outputs}


def test_a_parameter_that_is_missing_or_not_known_is_refused() -> None:
    parameters = REPOSITORY["text_dimensions"].info.parameters
    for wrong in ({}, {**parameters, "more": "1"}):
        with pytest.raises(ValueError, match="calibration, labels"):
            configuration.text("text_dimensions", wrong)
