"""What results look like as a whole: label mix, confidence, warnings.

When inputs or models change, these move first. Emotions and warnings are found by their place in
the contract's descriptors, so a new field or message needs nothing here.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import islice

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from affectmesh.v1 import types_pb2
from services.common import metrics
from services.common.labels import LABELS

MODALITIES = ("text", "face", "voice", "biosignal", "fusion")
"""Services that measure; what the others pass on was counted already."""

MOST = 200
"""Results and warnings counted of one response: a long video does not outweigh a day of texts."""

MOST_CODES = 64
"""Codes of warnings told apart in one process; the contract has fewer."""

_KNOWN = frozenset(LABELS)
_EMOTIONS = types_pb2.Emotions.DESCRIPTOR
_WARNING = types_pb2.Warning.DESCRIPTOR
_codes: set[str] = set()


def modality_of(method: str) -> str:
    """The modality in the name of a method: `/affectmesh.v1.TextService/…` is `text`."""
    return method.rpartition("/")[0].rpartition(".")[2].removesuffix("Service").lower()


@cache
def observer(method: str) -> Callable[[Message], None]:
    """Counts the results in the responses of a method."""
    modality = modality_of(method)
    if modality not in MODALITIES:
        return lambda _response: None

    def observe(response: Message) -> None:
        for found in islice(_walk(response, _EMOTIONS), MOST):
            primary = found.primary  # type: ignore[attr-defined]
            label = primary.label if primary.label in _KNOWN else "other"
            metrics.RESULTS.labels(modality, label).inc()
            metrics.CONFIDENCE.labels(modality).observe(primary.confidence)
        for found in islice(_walk(response, _WARNING), MOST):
            metrics.WARNINGS.labels(modality, _bounded(found.code)).inc()  # type: ignore[attr-defined]

    return observe


def _bounded(code: str) -> str:
    if code not in _codes:
        if len(_codes) >= MOST_CODES:
            return "OTHER"
        _codes.add(code)
    return code


def _walk(message: Message, wanted: Descriptor) -> Iterator[Message]:
    if message.DESCRIPTOR is wanted:
        yield message
        return
    for field in _paths(message.DESCRIPTOR, wanted):
        for value in _values(message, field):
            yield from _walk(value, wanted)


def _values(message: Message, field: FieldDescriptor) -> Iterable[Message]:
    if field.is_repeated:
        values: Iterable[Message] = getattr(message, field.name)
        return values
    return (getattr(message, field.name),) if message.HasField(field.name) else ()


@cache
def _paths(descriptor: Descriptor, wanted: Descriptor) -> tuple[FieldDescriptor, ...]:
    """The fields through which a message may hold what is wanted."""
    return tuple(field for field in descriptor.fields if _leads(field, wanted, frozenset()))


def _leads(field: FieldDescriptor, wanted: Descriptor, seen: frozenset[str]) -> bool:
    kind = field.message_type
    if kind is None or kind.GetOptions().map_entry or kind.full_name in seen:
        return False
    return kind is wanted or any(
        _leads(inner, wanted, seen | {kind.full_name}) for inner in kind.fields
    )
