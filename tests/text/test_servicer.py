"""The service over a real gRPC server."""

from collections.abc import AsyncIterator

import grpc
import pytest

from affectmesh.v1 import text_pb2, text_pb2_grpc
from services.common import errors
from services.text.analyze import TextAnalyzer
from services.text.servicer import TextServicer
from tests.common.serving import serving

Stub = text_pb2_grpc.TextServiceStub


@pytest.fixture
async def stub(analyzer: TextAnalyzer) -> AsyncIterator[Stub]:
    async def add(server: grpc.aio.Server) -> None:
        text_pb2_grpc.add_TextServiceServicer_to_server(TextServicer(analyzer), server)

    async with serving(add) as address, grpc.aio.insecure_channel(address) as channel:
        yield text_pb2_grpc.TextServiceStub(channel)


async def test_answers_every_field_of_the_contract(stub: Stub) -> None:
    request = text_pb2.AnalyzeTextRequest(
        text="I absolutely love this product! Best purchase ever.",
        options=text_pb2.TextOptions(return_sentences=True),
    )
    answer = await stub.AnalyzeText(request)
    fields = {field.name for field, _ in answer.ListFields()}
    left = {field.name for field in answer.DESCRIPTOR.fields} - fields
    assert left <= {"warnings", "processing_time_ms"}
    assert answer.emotions.all[0] == answer.emotions.primary
    assert answer.text_length == 51
    assert answer.language == "en"
    assert [p.model for p in answer.provenance] == ["text_affect", "text_dimensions"]
    assert all(len(p.digest) == 64 and p.version and p.calibration for p in answer.provenance)
    assert answer.entities[0].start == 23


async def test_options_switch_parts_off(stub: Stub) -> None:
    options = text_pb2.TextOptions(
        return_aspects=False, return_entities=False, detect_sarcasm=False, return_dimensions=False
    )
    answer = await stub.AnalyzeText(text_pb2.AnalyzeTextRequest(text="Great.", options=options))
    assert not answer.HasField("sarcasm")
    assert not answer.HasField("dimensions")
    assert not answer.aspects
    assert not answer.entities
    assert [p.model for p in answer.provenance] == ["text_affect"]


async def test_a_batch_keeps_ids_and_languages(stub: Stub) -> None:
    texts = [
        text_pb2.BatchText(id="z", text="Great product!"),
        text_pb2.BatchText(id="a", text="Dat is echt heel slecht.", language="nl"),
        text_pb2.BatchText(id="b", text="Das ist wirklich sehr schlecht.", language="de"),
    ]
    request = text_pb2.AnalyzeTextBatchRequest(texts=texts, language="en")
    answer = await stub.AnalyzeTextBatch(request)
    assert [r.id for r in answer.results] == ["z", "a", "b"]
    assert [r.language for r in answer.results] == ["en", "nl", "de"]
    assert [w.code for w in answer.results[1].warnings] == ["LANGUAGE_NOT_SUPPORTED"]
    assert answer.summary.positive_count >= 1
    assert [w.code for w in answer.results[2].warnings] == ["OPTION_NOT_SUPPORTED"]
    assert [p.model for p in answer.provenance] == ["text_affect", "text_multilingual"]


async def test_an_error_carries_its_code_and_what_to_do(stub: Stub) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.AnalyzeText(text_pb2.AnalyzeTextRequest(text="  "))
    found = errors.from_rpc(caught.value, "text")
    assert isinstance(found, errors.InvalidText)
    assert found.details["suggestion"]
    assert (await stub.AnalyzeText(text_pb2.AnalyzeTextRequest(text="Hi there."))).text_length == 9
