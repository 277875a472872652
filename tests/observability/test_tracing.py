"""Which requests are recorded, and what those that are not carry onwards."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from services.common import tracing
from tests.observability.sink import Collector, collector

Seen = tuple[tuple[tuple[str, str], ...], str]


@contextmanager
def started(sink: Collector, sampler: str, share: str) -> Iterator[None]:
    """This process exports what the sampler wants of it."""
    providers: list[TracerProvider] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", sink.address)
        patch.setenv("OTEL_TRACES_SAMPLER", sampler)
        patch.setenv("OTEL_TRACES_SAMPLER_ARG", share)
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        patch.setattr(trace, "set_tracer_provider", providers.append)
        for name, value in (("_tracer", None), ("_parent_decides", False), ("_share", 1.0)):
            patch.setattr(tracing, name, value)
        tracing.start("test", "0")
        yield
        for provider in providers:
            provider.shutdown()


@pytest.fixture(scope="module")
def sink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    """A collector."""
    with collector(tmp_path_factory.mktemp("collector")) as running:
        yield running


@pytest.fixture
def unchosen(sink: Collector) -> Iterator[Collector]:
    """The collector, to which this process exports: of requests from outside, none."""
    with started(sink, "parentbased_traceidratio", "0"):
        yield sink


def serve(*headers: tuple[str | bytes, str | bytes], continued: bool = False) -> Seen:
    """What a request with these headers carries on, and the trace its log lines name."""

    def request() -> Seen:
        begun = tracing.begin("POST /v1/test", headers, "req_0", continued)
        seen = (tracing.metadata(), tracing.trace_id())
        with tracing.span("model", {}):
            tracing.finish(begun, "200")
        return seen

    run: Callable[[Callable[[], Seen]], Seen] = Context().run
    return run(request)


@pytest.mark.parametrize("flags", ["00", "02"])
def test_what_its_sender_does_not_record_goes_on_as_it_came(
    unchosen: Collector, flags: str
) -> None:
    identifier = secrets.token_hex(16)
    parent = f"00-{identifier}-{secrets.token_hex(8)}-{flags}"
    assert serve((b"traceparent", parent.encode())) == ((("traceparent", parent),), identifier)
    assert serve(("traceparent", parent)) == ((("traceparent", parent),), identifier)


def test_what_its_sender_records_is_recorded(unchosen: Collector) -> None:
    identifier, outer = secrets.token_hex(16), secrets.token_hex(8)
    ((_, onwards),), logged = serve((b"traceparent", f"00-{identifier}-{outer}-01".encode()))
    spans = unchosen.wait_for(identifier, {"POST /v1/test", "model"})
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
def test_without_a_sound_parent_a_request_that_is_not_chosen_carries_none(
    unchosen: Collector, parent: str
) -> None:
    assert serve(("traceparent", parent)) == ((), "")


@pytest.mark.parametrize(
    ("sampler", "share", "expected"),
    [
        ("parentbased_traceidratio", "0", range(1)),
        ("parentbased_traceidratio", "0.5", range(1, 200)),
        ("parentbased_traceidratio", "1", range(200, 201)),
        ("traceidratio", "0.5", range(1, 200)),
        ("parentbased_always_on", "", range(200, 201)),
        ("always_off", "", range(1)),
    ],
)
def test_as_many_requests_are_recorded_as_the_sampler_wants(
    sink: Collector, sampler: str, share: str, expected: range
) -> None:
    with started(sink, sampler, share):
        carried = [onwards for onwards, _ in (serve() for _ in range(200)) if onwards]
    recorded = {traceparent for ((_, traceparent),) in carried if int(traceparent[-2:], 16) % 2}
    assert len(recorded) in expected


def test_what_is_continued_begins_no_trace(sink: Collector) -> None:
    with started(sink, "parentbased_always_on", ""):
        assert serve(continued=True) == ((), "")
        assert serve(continued=False) != ((), "")


def test_a_recorded_request_does_not_carry_the_parent_of_one_before_it(unchosen: Collector) -> None:
    def both() -> str:
        tracing.begin("a", [("traceparent", f"00-{'a' * 32}-{'1' * 16}-00")], "req_0")
        tracing.finish(
            tracing.begin("b", [("traceparent", f"00-{'b' * 32}-{'1' * 16}-01")], "req_1"), "OK"
        )
        return tracing.trace_id()

    assert Context().run(both) == "b" * 32
