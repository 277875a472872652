"""Which requests are recorded, and what those that are not carry onwards."""

import secrets
from collections.abc import Callable, Iterator
from contextvars import Context

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from services.common import tracing
from tests.observability.sink import Collector, collector

Seen = tuple[tuple[tuple[str, str], ...], str]


@pytest.fixture(scope="module")
def sink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    """A collector to which this process exports, of requests from outside, none."""
    with (
        collector(tmp_path_factory.mktemp("collector")) as running,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", running.address)
        patch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
        patch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
        patch.setattr(tracing, "_tracer", None)
        patch.setattr(tracing, "_parent_decides", False)
        tracing.start("test", "0")
        yield running
        provider = trace.get_tracer_provider()
        assert isinstance(provider, TracerProvider)
        provider.shutdown()


def serve(*headers: tuple[str | bytes, str | bytes]) -> Seen:
    """What a request with these headers carries on, and the trace its log lines name."""

    def request() -> Seen:
        begun = tracing.begin("POST /v1/test", headers, "req_0")
        seen = (tracing.metadata(), tracing.trace_id())
        with tracing.span("model", {}):
            tracing.finish(begun, "200")
        return seen

    run: Callable[[Callable[[], Seen]], Seen] = Context().run
    return run(request)


@pytest.mark.parametrize("flags", ["00", "02"])
def test_what_its_sender_does_not_record_goes_on_as_it_came(sink: Collector, flags: str) -> None:
    identifier = secrets.token_hex(16)
    parent = f"00-{identifier}-{secrets.token_hex(8)}-{flags}"
    assert serve((b"traceparent", parent.encode())) == ((("traceparent", parent),), identifier)
    assert serve(("traceparent", parent)) == ((("traceparent", parent),), identifier)


def test_what_its_sender_records_is_recorded(sink: Collector) -> None:
    identifier, outer = secrets.token_hex(16), secrets.token_hex(8)
    ((_, onwards),), logged = serve((b"traceparent", f"00-{identifier}-{outer}-01".encode()))
    provider = trace.get_tracer_provider()
    assert isinstance(provider, TracerProvider)
    assert provider.force_flush()
    spans = sink.wait_for(identifier, {"POST /v1/test", "model"})
    (served,) = (span for span in spans if span.name == "POST /v1/test")
    assert served.parent == outer
    assert onwards == f"00-{identifier}-{served.id}-01"
    assert logged == identifier


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "nonsense",
        f"00-{'0' * 32}-{'1' * 16}-00",
        f"00-{'1' * 32}-{'0' * 16}-00",
        f"00-{'１' * 32}-{'1' * 16}-00",
        f"00-{'1' * 32}-{'1' * 16}-00\r\nx: y",
    ],
)
def test_without_a_sound_parent_a_request_begins_unrecorded(sink: Collector, parent: str) -> None:
    ((_, onwards),), _ = serve(("traceparent", parent))
    assert onwards.startswith("00-")
    assert int(onwards[-2:], 16) % 2 == 0
    assert "1" * 32 not in onwards
    assert serve(("traceparent", onwards))[0] == (("traceparent", onwards),)


def test_what_begins_unrecorded_names_no_trace(sink: Collector) -> None:
    ((_, onwards),), logged = serve()
    assert serve()[0] == (("traceparent", onwards),)
    assert logged == ""
    assert serve(("traceparent", onwards))[1] == ""


def test_a_recorded_request_does_not_carry_the_parent_of_one_before_it(sink: Collector) -> None:
    def both() -> str:
        tracing.begin("a", [("traceparent", f"00-{'a' * 32}-{'1' * 16}-00")], "req_0")
        tracing.finish(
            tracing.begin("b", [("traceparent", f"00-{'b' * 32}-{'1' * 16}-01")], "req_1"), "OK"
        )
        return tracing.trace_id()

    assert Context().run(both) == "b" * 32
