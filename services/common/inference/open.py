"""Chooses who runs the models."""

from services.common.inference import Inference
from services.common.inference.embedded import EmbeddedInference
from services.common.inference.observed import ObservedInference
from services.common.inference.repository import Repository
from services.common.settings import Settings, refuse


def open_inference(settings: Settings) -> Inference:
    """The models, run as the settings say."""
    folders = settings.model_repositories
    for setting, folder in zip(("MODEL_REPOSITORY", "RESEARCH_REPOSITORY"), folders, strict=False):
        if not folder.is_dir():
            refuse(setting, f"there is no folder {folder}.")
    repository = Repository(*folders)
    if settings.inference == "triton":
        from services.common.inference.triton import TritonInference

        triton = TritonInference(repository, settings.triton_url, settings.triton_timeout_s)
        return ObservedInference(triton)
    return ObservedInference(EmbeddedInference(repository, settings.threads))
