"""Pairs of models as ensembles of Triton: the second goes on from the first without a call between.

They are derived from the configurations of the models, and written where a repository is prepared
for Triton. Only calls of both use them.
"""

from tritonclient.grpc import model_config_pb2

from services.common.inference.repository import ModelFolder, Repository


def name(first: str, then: str) -> str:
    """What the ensemble of two models is called."""
    return f"{first}_{then}"


def pairs(repository: Repository) -> list[tuple[str, str]]:
    """Every two models of which the second takes an output of the first."""
    folders = [repository[model] for model in repository.names()]
    return [
        (first.path.name, then.path.name)
        for first in folders
        for then in folders
        if not set(first.outputs).isdisjoint(then.inputs)
    ]


def config(first: ModelFolder, then: ModelFolder) -> model_config_pb2.ModelConfig:
    """The configuration of the ensemble of two models: all that either takes or gives, but for what
    the first hands to the second. (Triton gives up where that is an output nobody asks for.)"""
    handed = set(first.outputs).intersection(then.inputs)
    made = model_config_pb2.ModelConfig(
        name=name(first.path.name, then.path.name),
        platform="ensemble",
        max_batch_size=min(first.config.max_batch_size, then.config.max_batch_size),
        input=[
            *first.config.input,
            *(tensor for tensor in then.config.input if tensor.name not in handed),
        ],
        output=[
            *(tensor for tensor in first.config.output if tensor.name not in handed),
            *then.config.output,
        ],
    )
    for folder in (first, then):
        step = made.ensemble_scheduling.step.add(model_name=folder.path.name, model_version=-1)
        step.input_map.update({tensor: tensor for tensor in folder.inputs})
        step.output_map.update({tensor: tensor for tensor in folder.outputs})
    return made
