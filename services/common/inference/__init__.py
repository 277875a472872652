"""One interface to the models, whoever runs them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class ModelInfo:
    """What the model repository says of a model.

    `parameters` are those of its config.pbtxt; `path` is its folder, where tokenizers lie.
    """

    name: str
    version: str
    digest: str
    parameters: Mapping[str, str]
    path: Path

    @property
    def calibration(self) -> str:
        """The held-out set the model's confidence was calibrated on, or ''."""
        return self.parameters.get("calibration", "")

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the outputs, in order."""
        return tuple(self.parameters["labels"].split(","))


@dataclass(frozen=True)
class Next:
    """A model that goes on from what another makes of the same rows.

    Outputs of the other that have the names of its inputs go to it; `inputs` is what it is given
    besides, which are some of its inputs, with as many rows.
    """

    model: str
    inputs: Arrays = field(default_factory=dict)

    def handed(self, inputs: Iterable[str]) -> tuple[str, ...]:
        """Those of its inputs that the other makes."""
        return tuple(name for name in inputs if name not in self.inputs)


class Inference(Protocol):
    """Runs models of the repository. Concurrent calls of equal shape may share one run."""

    async def load(self, *models: str) -> None:
        """Makes models ready before the first request. Raises Unavailable when one is not."""
        ...

    async def infer(
        self,
        model: str,
        inputs: Arrays,
        outputs: tuple[str, ...] = (),
        then: Next | None = None,
    ) -> dict[str, np.ndarray]:
        """The outputs named, or all, by name. Arrays carry the batch dimension where there is one.

        With `then`, its outputs as well, and of all not those that only go to it. Raises
        Unavailable when a model cannot be reached, Internal when it fails.
        """
        ...

    def info(self, model: str) -> ModelInfo:
        """What is known of a model. Raises KeyError for a name not in the repository."""
        ...

    async def ready(self) -> bool:
        """Whether every model that was loaded answers now."""
        ...

    async def close(self) -> None:
        """Frees threads and connections."""
        ...


__all__ = ["Arrays", "Inference", "ModelInfo", "Next"]
