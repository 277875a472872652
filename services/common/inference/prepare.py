"""Copies the model repository for a Triton of its own."""

import shutil
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from services.common.inference import ensembles
from services.common.inference.repository import DIGEST, EXAMPLE_LENGTH, Repository


def prepare(repository: Repository, target: Path, instances: int | None = None) -> list[str]:
    """Copies every model to `target`, with ensembles of those that follow each other; gives the
    names of the models.

    The configuration of each says the sha256 of the weights beside it, by which services know
    whether Triton has the weights that they have. `instances` of each model run at a time, on each
    GPU, or on the CPU where there is none; by default as its configuration says. A configuration
    without instances gets one on whatever there is, and one without a warm-up request a small one.
    """
    for name in repository.names():
        folder = repository[name]
        version = target / name / "1"
        version.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder.weights, version / folder.weights.name)
        config = model_config_pb2.ModelConfig()
        config.CopyFrom(folder.config)
        config.parameters[DIGEST].string_value = folder.info.digest
        _complete(config)
        if instances is not None:
            for group in config.instance_group:
                group.count = instances
        (version.parent / "config.pbtxt").write_text(text_format.MessageToString(config))
    for first, then in ensembles.pairs(repository):
        config = ensembles.config(repository[first], repository[then])
        (target / config.name / "1").mkdir(parents=True, exist_ok=True)
        (target / config.name / "config.pbtxt").write_text(text_format.MessageToString(config))
    return repository.names()


def _complete(config: model_config_pb2.ModelConfig) -> None:
    if not config.instance_group:
        config.instance_group.add(count=1, kind=model_config_pb2.ModelInstanceGroup.KIND_AUTO)
    if not config.model_warmup:
        sample = config.model_warmup.add(name="first", batch_size=1 if config.max_batch_size else 0)
        for tensor in config.input:
            given = sample.inputs[tensor.name]
            given.data_type = tensor.data_type
            given.dims.extend(size if size > 0 else EXAMPLE_LENGTH for size in tensor.dims)
            given.zero_data = True
