"""Recorded files of biosignals over REST, on the running mesh."""

import base64
from typing import Any

import httpx
import pytest

from tests.biosignal import recorded, synthetic
from tests.biosignal.recorded import Channel

ECG = synthetic.ecg(synthetic.beat_times(30), 30, 250)
HEADER = "r 1 250 7500\nr.dat 16 200 16 0 0 0 0 II\n"
FILES = {
    "edf": recorded.edf(Channel("ECG", "mV", 250, ECG, 5)),
    "wfdb": recorded.zipped({"r.hea": HEADER, "r.dat": recorded.words(recorded.counts(ECG, 200))}),
    "csv": recorded.csv("ecg (mV) @ 250 Hz", ECG),
}


async def send(client: httpx.AsyncClient, body: dict[str, Any]) -> httpx.Response:
    return await client.post("/v1/analyze/biosignal", json=body)


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("said", [True, False])
async def test_a_file_of_every_format_is_read(
    client: httpx.AsyncClient, kind: str, said: bool
) -> None:
    body = {"recording_base64": base64.b64encode(FILES[kind]).decode()}
    answer = await send(client, {**body, "recording_format": kind} if said else body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["duration_ms"] == 30_000
    assert answer.json()["heart_rate"]["mean_bpm"] == pytest.approx(66, abs=0.5)


async def test_a_damaged_file_is_the_clients_error(client: httpx.AsyncClient) -> None:
    cut = base64.b64encode(FILES["edf"][:-100]).decode()
    answer = await send(client, {"recording_base64": cut})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["code"] == "INVALID_SIGNAL"
    assert error["details"]["suggestion"]
