"""The one writer of config.pbtxt: what each model takes and gives, and how Triton runs it.

    python -m models.training.configuration

writes every file of the repositories anew, with the parameters that it has. Training and
conversion write theirs with `write`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from models.training.text.schema import (
    ASPECT_POLARITIES,
    ASPECT_TAGS,
    EMOTIONS,
    ENTITY_TAGS,
    LEVELS,
    MULTILINGUAL_EMBEDDING,
    WIDTH,
)
from services.common.inference.repository import EXAMPLE_LENGTH, Repository

_MODELS = Path(__file__).parents[1]
REPOSITORY = _MODELS / "repository"
RESEARCH = _MODELS / "research"

ALWAYS = ("version", "license")
"""Parameters of every model."""


@dataclass(frozen=True)
class Tensor:
    """An input or output: its shape without the rows of a batch, -1 for any length."""

    name: str
    dims: tuple[int, ...]
    kind: str = "FP32"

    def line(self) -> str:
        """As a list of a configuration has it."""
        return f'{{ name: "{self.name}" {_shape(self.kind, self.dims)} }}'

    def first(self, length: int) -> str:
        """As the first request has it: zeros."""
        dims = [length if size < 0 else size for size in self.dims]
        return f"""    inputs {{
      key: "{self.name}"
      value {{ {_shape(self.kind, dims)} zero_data: true }}
    }}"""


@dataclass(frozen=True)
class Model:
    """`rows` of one run at most, 0 where there is no batch; `gathers` has requests of one shape
    run together, and `instances` of the model run at a time; the first request, which warms it up,
    has `length` for any length."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    parameters: tuple[str, ...] = ()
    rows: int = 64
    gathers: bool = True
    instances: int = 1
    length: int = EXAMPLE_LENGTH


def _voice_emotion(classes: int) -> Model:
    return Model(
        (Tensor("features", (3072,)),),
        (Tensor("logits", (classes,)),),
        ("pack", "labels", "temperature", "calibration"),
    )


_STATES = Tensor("states", (-1, WIDTH))
_MULTILINGUAL_EMBEDDING = Tensor("embedding", (MULTILINGUAL_EMBEDDING,))
_IDS = Tensor("ids", (-1,), "INT64")
_AFFECT = (
    Tensor("emotions", (EMOTIONS,)),
    Tensor("sentiment", (LEVELS,)),
    Tensor("subjectivity", (1,)),
)


def _dimensions(*inputs: Tensor, parameters: tuple[str, ...] = ()) -> Model:
    outputs = (Tensor("dimensions", (3,)),)
    return Model(inputs, outputs, ("calibration", "labels", *parameters), instances=2)


_STATE = (1, 1, 128)

KNOWN: Mapping[str, Model] = {
    "face_blendshapes": Model(
        (Tensor("points", (146, 2)),), (Tensor("coefficients", (52,)),), ("labels",), rows=32
    ),
    "face_detection": Model(
        (Tensor("image", (192, 192, 3), "UINT8"),),
        (Tensor("boxes", (2304, 16)), Tensor("scores", (2304,))),
        ("threshold",),
        rows=8,
        instances=2,
    ),
    "face_expression": Model(
        (Tensor("crop", (1, 48, 48)),),
        (Tensor("probabilities", (8,)),),
        ("labels", "calibration"),
        instances=2,
    ),
    "face_landmarks": Model(
        (Tensor("image", (256, 256, 3), "UINT8"),),
        (Tensor("landmarks", (478, 3)), Tensor("presence", (1,))),
        rows=8,
        instances=2,
    ),
    "text_affect": Model(
        (_IDS, Tensor("cases", (-1,), "INT64")),
        (
            *_AFFECT,
            Tensor("sarcasm", (1,)),
            Tensor("aspect_tags", (-1, ASPECT_TAGS)),
            Tensor("aspect_polarity", (-1, ASPECT_POLARITIES)),
            Tensor("entity_tags", (-1, ENTITY_TAGS)),
            _STATES,
        ),
        ("calibration", "labels", "run_tokens", "sentiment_levels", "entity_types"),
        instances=2,
    ),
    "text_dimensions": _dimensions(_STATES, Tensor("mask", (-1,)), parameters=("run_tokens",)),
    "text_multilingual": Model(
        (_IDS,),
        (*_AFFECT, _MULTILINGUAL_EMBEDDING),
        ("calibration", "labels", "run_tokens", "sentiment_levels"),
        instances=2,
    ),
    "text_multilingual_dimensions": _dimensions(_MULTILINGUAL_EMBEDDING),
    "voice_activity": Model(
        (Tensor("input", (-1, 576)), Tensor("h", _STATE), Tensor("c", _STATE)),
        (Tensor("speech_probs", (-1,)), Tensor("hn", _STATE), Tensor("cn", _STATE)),
        ("labels",),
        rows=0,
        gathers=False,
        length=16,
    ),
    "voice_emotion_open": _voice_emotion(7),
    "voice_emotion_research": _voice_emotion(9),
    "voice_encoder": Model(
        (Tensor("mel", (-1, 80)), Tensor("frames", (1,), "INT32")),
        (Tensor("features", (3072,)),),
        rows=16,
        gathers=False,
        length=400,
    ),
}
"""Every model, by name."""


def text(name: str, parameters: Mapping[str, str]) -> str:
    """The configuration of a model. Raises ValueError where its parameters are others."""
    model = KNOWN[name]
    wanted = (*ALWAYS, *model.parameters)
    if parameters.keys() != set(wanted):
        raise ValueError(f"{name} has the parameters {', '.join(wanted)}.")
    gathers = ("dynamic_batching { }",) if model.gathers else ()
    lines = (
        f'name: "{name}"',
        'platform: "onnxruntime_onnx"',
        f"max_batch_size: {model.rows}",
        *_list("input", (one.line() for one in model.inputs)),
        *_list("output", (one.line() for one in model.outputs)),
        *gathers,
        f"instance_group [ {{ count: {model.instances} kind: KIND_AUTO }} ]",
        "model_warmup [",
        "  {",
        '    name: "first"',
        f"    batch_size: {min(model.rows, 1)}",
        *(one.first(model.length) for one in model.inputs),
        "  }",
        "]",
        *(
            f'parameters {{ key: "{key}" value {{ string_value: "{parameters[key]}" }} }}'
            for key in wanted
        ),
    )
    return "\n".join(lines) + "\n"


def write(folder: Path, name: str, parameters: Mapping[str, str]) -> None:
    """Writes the configuration of a model into its folder."""
    (folder / "config.pbtxt").write_text(text(name, parameters), encoding="utf-8")


def _list(field: str, entries: Iterable[str]) -> tuple[str, ...]:
    return (f"{field} [", ",\n".join(f"  {entry}" for entry in entries), "]")


def _shape(kind: str, dims: Iterable[int]) -> str:
    return f"data_type: TYPE_{kind} dims: [ {', '.join(map(str, dims))} ]"


def main() -> None:
    repository = Repository(REPOSITORY, RESEARCH)
    for name in repository.names():
        write(repository[name].path, name, repository[name].info.parameters)


if __name__ == "__main__":
    main()
