"""Chooses who runs the models."""

from services.common.inference import Inference
from services.common.inference.embedded import EmbeddedInference
from services.common.inference.observed import ObservedInference
from services.common.inference.repository import Repository
from services.common.settings import Settings


def open_inference(settings: Settings) -> Inference:
    """The models, run as the settings say."""
    repository = Repository(*settings.model_repositories)
    if settings.inference == "triton":
        from services.common.inference.triton import TritonInference

        triton = TritonInference(repository, settings.triton_url, settings.triton_timeout_s)
        return ObservedInference(triton)
    return ObservedInference(EmbeddedInference(repository, settings.threads))
