"""What was fused, in the words of the contract."""

from collections.abc import Iterable

from affectmesh.v1 import types_pb2
from services.fusion.analyze import Fusion


def dimensions(fusion: Fusion) -> types_pb2.Dimensions | None:
    """The dimensions that some modality gives; None where there is none."""
    values = {"valence": fusion.valence, "arousal": fusion.arousal, "dominance": fusion.dominance}
    given = {name: round(value, 4) for name, value in values.items() if value is not None}
    if not given:
        return None
    return types_pb2.Dimensions(**given, derived=True if fusion.dimensions_derived else None)


def distinct(provenance: Iterable[types_pb2.Provenance]) -> list[types_pb2.Provenance]:
    """Each model once, in the order of its first mention."""
    models = list(provenance)
    return [model for place, model in enumerate(models) if model not in models[:place]]
