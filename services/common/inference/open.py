"""Chooses who runs the models."""

from services.common.inference import Inference
from services.common.inference.embedded import EmbeddedInference
from services.common.inference.repository import Repository
from services.common.settings import Settings


def open_inference(settings: Settings) -> Inference:
    """The models as the settings say."""
    return EmbeddedInference(Repository(settings.model_repository), settings.threads)
