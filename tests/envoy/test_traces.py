"""Envoy's spans, in a real collector."""

import secrets
from pathlib import Path

import httpx
import pytest

from services.common.settings import Settings
from tests.envoy.servers import Envoy
from tests.observability.sink import collector

SECRET = "sk_live_" + "c" * 40


@pytest.mark.slow
async def test_span_holds_no_key_of_a_query(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collector(tmp_path) as sink:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", sink.address)
        trace = secrets.token_hex(16)
        parent = f"00-{trace}-{secrets.token_hex(8)}-01"
        with Envoy(Settings(), ("edge",)) as envoy:
            async with httpx.AsyncClient(base_url=envoy.url, timeout=60) as client:
                for name in ("apikey", "token"):
                    await client.post(
                        f"/v1/analyze/text?{name}={SECRET}",
                        json={},
                        headers={"traceparent": parent, "x-wia-api-key": SECRET},
                    )
            spans = sink.wait_for_service(trace, set(), "affectmesh-envoy")
        assert spans
        assert SECRET not in sink.text
