"""Webhooks: registered, told, signed, tried again, given up."""

import asyncio
import hashlib
import hmac
import json
import re
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import select

from affectmesh.v1 import jobs_pb2 as pb
from services.common import errors
from services.jobs.tables import deliveries
from services.jobs.tables import webhooks as table
from services.jobs.webhook_attempts import Patience
from services.jobs.webhooks import EVENTS, MAX_WEBHOOKS
from tests.jobs.media_service import BOB, until
from tests.jobs.receivers import Receiver, receiving
from tests.jobs.webhook_service import WebhookService, webhook_service

DAY_S = 24 * 60 * 60
ROOT = Path(__file__).parents[2]


@pytest.fixture
async def service(tmp_path: Path, database_url: str) -> AsyncIterator[WebhookService]:
    async with webhook_service(tmp_path, database_url=database_url) as service:
        yield service


async def test_an_event_arrives_signed(service: WebhookService) -> None:
    async with receiving() as receiver:
        webhook = await service.webhook(receiver.address + "/hook?a=b", "analysis.completed")
        data = {"recording_id": "rec_1", "score": 78.0, "cost_usd": 1.31, "said": "Grüße"}
        await service.publish("analysis.completed", data)
        delivery = await service.tried(webhook)
    (request,) = receiver.requests
    assert request.path == "/hook?a=b"
    assert re.fullmatch(
        '{"event":"analysis.completed","timestamp":"[-0-9]{10}T[:0-9]{8}Z","data":'
        '{"recording_id":"rec_1","score":78,"cost_usd":1.31,"said":"Grüße"}}',
        request.body.decode(),
    )
    expected = hmac.new(webhook.secret.encode(), request.body, hashlib.sha256).hexdigest()
    assert request.headers["x-emotionchat-signature"] == expected
    moment, _, signature = request.headers["x-affectmesh-signature"].partition(",v1=")
    signed = moment.removeprefix("t=").encode() + b"." + request.body
    assert signature == hmac.new(webhook.secret.encode(), signed, hashlib.sha256).hexdigest()
    assert int(moment.removeprefix("t=")) == service.clock() // 1000
    assert request.headers["content-type"] == "application/json"
    assert request.headers["x-affectmesh-event"] == "analysis.completed"
    assert request.headers["x-affectmesh-delivery"] == delivery.delivery_id
    assert delivery.payload.encode() == request.body
    assert (delivery.delivered, delivery.last_status, delivery.last_error) == (True, 200, "")
    assert not delivery.HasField("next_attempt_time")


async def test_only_who_listens_is_told(service: WebhookService) -> None:
    async with receiving() as receiver:
        listening = await service.webhook(receiver.address, "job.completed", "job.failed")
        deaf = await service.webhook(receiver.address, "job.cancelled")
        foreign = await service.webhook(receiver.address, "job.failed", by=BOB)
        await service.publish("job.failed", {"job_id": "job_1"})
        await service.tried(listening)
        assert await service.log(deaf) == []
        assert await service.log(foreign, BOB) == []
    assert len(receiver.requests) == 1


async def test_what_is_not_committed_is_not_sent(service: WebhookService) -> None:
    async with receiving() as receiver:
        webhook = await service.webhook(receiver.address)

        async def fail() -> None:
            async with service.database.write() as connection:
                await service.outbox.publish(connection, 1, "job.completed", {})
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        assert await service.log(webhook) == []


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        (500, 500, "500 Internal"),
        (404, 404, "404 Not Found"),
        (302, 302, "redirect"),
        (307, 307, "redirect"),
        (b"SSH-2.0-x\r\n\r\n", None, "not HTTP"),
        (b"", None, "broke off"),
    ],
)
async def test_a_failure_is_told_and_tried_again(
    service: WebhookService, answer: int | bytes, status: int | None, said: str
) -> None:
    async with receiving(answer, 204) as receiver:
        webhook = await service.webhook(receiver.address)
        await service.publish()
        failed = await service.tried(webhook)
        assert (failed.delivered, failed.attempts) == (False, 1)
        assert (failed.last_status if failed.HasField("last_status") else None) == status
        assert said in failed.last_error
        wait_ms = failed.next_attempt_time.ToMilliseconds() - service.clock()
        assert 24_000 <= wait_ms <= 36_000
        service.later(wait_ms / 1000 + 0.1)
        again = await service.tried(webhook, 2)
    assert (again.delivered, again.last_status, again.last_error) == (True, 204, "")
    assert again.delivery_id == failed.delivery_id
    assert receiver.requests[0].body == receiver.requests[1].body
    assert len(receiver.requests) == 2


@pytest.mark.parametrize(
    ("answer", "pause_s"),
    [(None, 0.0), (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100, 0.05)],
    ids=["silent", "dripping"],
)
async def test_a_receiver_without_an_answer_in_time_is_cut_off(
    tmp_path: Path, answer: bytes | None, pause_s: float
) -> None:
    async with (
        webhook_service(tmp_path, webhook_timeout_s=1) as service,
        receiving(answer, pause_s=pause_s) as receiver,
    ):
        webhook = await service.webhook(receiver.address)
        await service.publish()
        failed = await service.tried(webhook)
    assert (failed.delivered, failed.last_error) == (False, "No answer within 1 s.")
    assert failed.HasField("next_attempt_time")


async def test_redirects_are_not_followed(service: WebhookService) -> None:
    async with receiving() as target:
        moved = f"HTTP/1.1 308 X\r\nLocation: {target.address}/\r\nContent-Length: 0\r\n\r\n"
        async with receiving(moved.encode()) as receiver:
            webhook = await service.webhook(receiver.address)
            await service.publish()
            await service.tried(webhook)
    assert target.requests == []


async def test_after_four_tries_it_is_given_up(service: WebhookService) -> None:
    waits = []
    async with receiving(503) as receiver:
        webhook = await service.webhook(receiver.address)
        await service.publish()
        for tries in (1, 2, 3):
            delivery = await service.tried(webhook, tries)
            waits.append(delivery.next_attempt_time.ToMilliseconds() - service.clock())
            service.later(waits[-1] / 1000 + 0.1)
        last = await service.tried(webhook, 4)
        assert not last.HasField("next_attempt_time")
        service.later(DAY_S)
        await asyncio.sleep(0.1)
    assert len(receiver.requests) == 4
    assert 24 <= waits[0] / 1000 <= 36
    assert 96 <= waits[1] / 1000 <= 144
    assert 384 <= waits[2] / 1000 <= 576


def test_the_waits_grow_and_are_spread() -> None:
    patience = Patience(timeout_s=10, retry_s=30)
    assert [patience.wait_ms(tries, 0.5) for tries in (1, 2, 3)] == [30_000, 120_000, 480_000]
    assert patience.wait_ms(1, 0.0) == 24_000
    assert patience.wait_ms(1, 0.999_999) == 36_000


async def test_a_closed_port_and_an_unknown_host_are_told(service: WebhookService) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        webhook = await service.webhook(f"http://127.0.0.1:{closed.getsockname()[1]}")
        nowhere = await service.webhook("https://nowhere.invalid/hook")
        await service.publish()
        assert (await service.tried(webhook)).last_error == "The host cannot be reached."
        assert (await service.tried(nowhere)).last_error == "The host is not known."


async def test_an_endless_answer_is_not_read(service: WebhookService) -> None:
    endless = b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 50_000_000
    async with receiving(endless) as receiver:
        webhook = await service.webhook(receiver.address)
        await service.publish()
        assert (await service.tried(webhook)).delivered


async def test_an_endless_head_is_refused(service: WebhookService) -> None:
    endless = b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 1_000_000
    async with receiving(endless) as receiver:
        webhook = await service.webhook(receiver.address)
        await service.publish()
        assert not (await service.tried(webhook)).delivered


async def test_a_slow_receiver_holds_up_nobody_and_is_not_flooded(
    service: WebhookService,
) -> None:
    async with receiving(None) as slow, receiving() as fast:
        await service.webhook(slow.address, "job.failed")
        quick = await service.webhook(fast.address, "job.completed")
        for _ in range(100):
            await service.publish("job.failed")
        for _ in range(20):
            await service.publish("job.completed")

        async def is_told() -> bool:
            return [one.delivered for one in await service.log(quick)] == [True] * 20

        await until(is_told)
        await until(lambda: _holds_two(slow))
        assert len(fast.requests) == 20
        assert fast.most_at_once <= 2


async def test_one_organization_leaves_room_for_others(service: WebhookService) -> None:
    async with receiving(None) as slow, receiving() as fast:
        for _ in range(10):
            await service.webhook(slow.address, "job.failed")
        quick = await service.webhook(fast.address, "job.failed", by=BOB)
        for _ in range(10):
            await service.publish("job.failed")
        await service.publish("job.failed", by=BOB)

        async def is_told() -> bool:
            return [delivery.delivered for delivery in await service.log(quick, BOB)] == [True]

        await until(is_told)
        assert slow.most_at_once <= 8


async def test_a_webhook_that_fails_for_three_days_is_disabled(service: WebhookService) -> None:
    async with receiving(500) as receiver:
        webhook = await service.webhook(receiver.address)
        for days in (0, 2, 4):
            service.clock.ahead_ms = days * DAY_S * 1000
            await _exhaust(service, webhook)
            assert await _enabled(service) == (days < 3)
        await service.publish()
        assert len(receiver.requests) == 12
        with pytest.raises(errors.Conflict):
            await service.call("TestWebhook", pb.TestWebhookRequest(webhook_id=webhook.webhook_id))
        request = pb.UpdateWebhookRequest(webhook_id=webhook.webhook_id, enabled=True)
        assert (await service.call("UpdateWebhook", request)).enabled
        await _exhaust(service, webhook)
        assert await _enabled(service)


async def test_one_success_in_three_days_keeps_a_webhook(service: WebhookService) -> None:
    async with receiving(*[500] * 4, 200, 500) as receiver:
        webhook = await service.webhook(receiver.address)
        await _exhaust(service, webhook)
        service.later(2 * DAY_S)
        await service.publish()
        assert (await service.tried(webhook)).delivered
        service.later(2 * DAY_S)
        await _exhaust(service, webhook)
        assert await _enabled(service)
    assert len(receiver.requests) == 9


async def _exhaust(service: WebhookService, webhook: pb.Webhook) -> None:
    await service.publish()
    for tries in range(1, 5):
        delivery = await service.tried(webhook, tries)
        if delivery.HasField("next_attempt_time"):
            wait_ms = delivery.next_attempt_time.ToMilliseconds() - service.clock()
            service.later(wait_ms / 1000 + 0.1)


async def _enabled(service: WebhookService) -> bool:
    found = await service.call("ListWebhooks", pb.ListWebhooksRequest())
    return bool(found.webhooks[0].enabled)


async def test_a_past_delivery_is_sent_again(service: WebhookService) -> None:
    async with receiving(*[500] * 4, 200) as receiver:
        webhook = await service.webhook(receiver.address)
        await _exhaust(service, webhook)
        (failed,) = await service.log(webhook)
        request = pb.RedeliverWebhookRequest(delivery_id=failed.delivery_id)
        with pytest.raises(errors.NotFound):
            await service.call("RedeliverWebhook", request, BOB)
        await service.call("RedeliverWebhook", request)
        again = await service.tried(webhook, 5)
    assert again.delivered
    assert again.delivery_id == failed.delivery_id
    assert receiver.requests[4].body == receiver.requests[0].body
    assert receiver.requests[4].headers["x-affectmesh-delivery"] == failed.delivery_id


async def test_a_test_is_sent_at_once_and_told(service: WebhookService) -> None:
    async with receiving(200, 500) as receiver:
        webhook = await service.webhook(receiver.address)
        request = pb.TestWebhookRequest(webhook_id=webhook.webhook_id)
        sent = await service.call("TestWebhook", request)
        assert (sent.event, sent.delivered, sent.attempts) == ("webhook.test", True, 1)
        assert json.loads(receiver.requests[0].body)["event"] == "webhook.test"
        failed = await service.call("TestWebhook", request)
        assert (failed.delivered, failed.last_status) == (False, 500)
        assert not failed.HasField("next_attempt_time")
        assert len(await service.log(webhook)) == 2


async def test_a_rotated_secret_signs_what_follows(service: WebhookService) -> None:
    async with receiving() as receiver:
        webhook = await service.webhook(receiver.address, secret="chosen by the client")
        assert webhook.secret == "chosen by the client"
        request = pb.RotateWebhookSecretRequest(webhook_id=webhook.webhook_id)
        rotated = await service.call("RotateWebhookSecret", request)
        assert rotated.secret.startswith("whsec_")
        await service.publish()
        await service.tried(webhook)
    sent = receiver.requests[0]
    expected = hmac.new(rotated.secret.encode(), sent.body, hashlib.sha256).hexdigest()
    assert sent.headers["x-emotionchat-signature"] == expected


async def test_secrets_are_shown_once_and_sealed(service: WebhookService) -> None:
    made = await service.webhook("http://127.0.0.1:1/")
    listed = await service.call("ListWebhooks", pb.ListWebhooksRequest())
    assert [webhook.secret for webhook in listed.webhooks] == [""]
    update = pb.UpdateWebhookRequest(webhook_id=made.webhook_id, events=["job.failed"])
    changed = await service.call("UpdateWebhook", update)
    assert (changed.secret, changed.events) == ("", ["job.failed"])
    async with service.database.read() as connection:
        row = (await connection.execute(select(table))).mappings().one()
    assert made.secret not in str(dict(row))


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org/",
        "example.org",
        "",
        "http://",
        "https://user:secret@example.org/",
        "https://example.org/#part",
        "https://example.org:99999/",
        "https://example.org/ x",
        "https://exämple.org/",
        "https://[::1/",
        "https://example.org/" + "x" * 2048,
    ],
)
async def test_an_address_that_is_none_is_refused(service: WebhookService, url: str) -> None:
    with pytest.raises(errors.InvalidRequest) as refused:
        await service.webhook(url)
    assert refused.value.details["field"] == "url"
    made = await service.webhook("https://example.org/")
    with pytest.raises(errors.InvalidRequest):
        await service.call(
            "UpdateWebhook", pb.UpdateWebhookRequest(webhook_id=made.webhook_id, url=url)
        )


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/",
        "https://localhost/",
        "https://10.1.2.3:8443/",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/",
        "https://[fd00::1]/",
        "https://[::ffff:192.168.1.1]/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://0.0.0.0/",
        "https://nowhere.invalid/",
        "http://8.8.8.8/",
    ],
)
async def test_an_address_inside_is_refused(tmp_path: Path, url: str) -> None:
    async with webhook_service(tmp_path, fetch_allow_private=False) as service:
        with pytest.raises(errors.InvalidRequest):
            await service.webhook(url)
        public = await service.webhook("https://8.8.8.8/")
        request = pb.UpdateWebhookRequest(webhook_id=public.webhook_id, url=url)
        with pytest.raises(errors.InvalidRequest):
            await service.call("UpdateWebhook", request)


async def test_an_address_that_leads_inside_later_is_not_reached(tmp_path: Path) -> None:
    async with receiving() as receiver:
        async with webhook_service(tmp_path) as service:
            await service.webhook(receiver.address)
            await service.webhook(receiver.address.replace("127.0.0.1", "localhost"))
        async with webhook_service(tmp_path, fetch_allow_private=False) as service:
            await service.publish()
            listed = await service.call("ListWebhooks", pb.ListWebhooksRequest())
            for webhook in listed.webhooks:
                assert (await service.tried(webhook)).last_error == "The address is not public."
    assert receiver.requests == []


@pytest.mark.parametrize("events", [["analysis.done"], ["*"], ["job.completed", ""]])
async def test_an_unknown_event_is_refused_with_the_list(
    service: WebhookService, events: list[str]
) -> None:
    with pytest.raises(errors.InvalidRequest) as refused:
        await service.webhook("https://example.org/", *events)
    assert all(event in refused.value.details["suggestion"] for event in EVENTS)


@pytest.mark.parametrize("secret", ["short", "x" * 257, "line\nbreak and more", "ü" * 20])
async def test_a_secret_of_no_use_is_refused(service: WebhookService, secret: str) -> None:
    with pytest.raises(errors.InvalidRequest):
        await service.webhook("https://example.org/", secret=secret)


async def test_webhooks_are_listed_page_by_page_and_bounded(service: WebhookService) -> None:
    made = [await service.webhook(f"https://example.org/{n}") for n in range(MAX_WEBHOOKS)]
    with pytest.raises(errors.Conflict):
        await service.webhook("https://example.org/")
    found: list[str] = []
    token = ""
    while True:
        page = await service.call(
            "ListWebhooks", pb.ListWebhooksRequest(page_size=8, page_token=token)
        )
        found += [webhook.webhook_id for webhook in page.webhooks]
        token = page.next_page_token
        if not token:
            break
    assert found == [webhook.webhook_id for webhook in made]


async def test_a_foreign_webhook_is_not_there(service: WebhookService) -> None:
    made = await service.webhook("https://example.org/")
    for method, request in (
        ("UpdateWebhook", pb.UpdateWebhookRequest(webhook_id=made.webhook_id, enabled=False)),
        ("DeleteWebhook", pb.DeleteWebhookRequest(webhook_id=made.webhook_id)),
        ("TestWebhook", pb.TestWebhookRequest(webhook_id=made.webhook_id)),
        ("RotateWebhookSecret", pb.RotateWebhookSecretRequest(webhook_id=made.webhook_id)),
        (
            "ListWebhookDeliveries",
            pb.ListWebhookDeliveriesRequest(webhook_id=made.webhook_id),
        ),
    ):
        with pytest.raises(errors.NotFound):
            await service.call(method, request, BOB)


async def test_a_deleted_webhook_is_told_no_more(service: WebhookService) -> None:
    async with receiving(500) as receiver:
        webhook = await service.webhook(receiver.address)
        await service.publish()
        await service.tried(webhook)
        request = pb.DeleteWebhookRequest(webhook_id=webhook.webhook_id)
        await service.call("DeleteWebhook", request)
        with pytest.raises(errors.NotFound):
            await service.call("DeleteWebhook", request)
        service.later(DAY_S)
        await service.publish()
        await asyncio.sleep(0.1)
    assert len(receiver.requests) == 1


async def test_what_waits_for_a_disabled_webhook_is_given_up(service: WebhookService) -> None:
    async with receiving(500) as receiver:
        webhook = await service.webhook(receiver.address)
        await service.publish()
        await service.tried(webhook)
        off = pb.UpdateWebhookRequest(webhook_id=webhook.webhook_id, enabled=False)
        await service.call("UpdateWebhook", off)
        service.later(60)

        async def is_given_up() -> bool:
            return "disabled" in (await service.log(webhook))[0].last_error

        await until(is_given_up)
        await service.publish()
        assert len(await service.log(webhook)) == 1
    assert len(receiver.requests) == 1


async def test_delivery_goes_on_after_a_restart(tmp_path: Path) -> None:
    async with receiving() as receiver:
        async with webhook_service(tmp_path) as service:
            webhook = await service.webhook(receiver.address)
            async with service.database.write() as connection:
                for number in range(5):
                    await service.outbox.publish(connection, 1, "job.completed", {"number": number})
        async with webhook_service(tmp_path) as service:
            service.webhooks.wake()
            await until(lambda: _are_delivered(service, webhook))
    numbers = [json.loads(request.body)["data"]["number"] for request in receiver.requests]
    assert sorted(numbers) == [0, 1, 2, 3, 4]


async def test_who_is_killed_in_the_middle_loses_no_delivery(tmp_path: Path) -> None:
    async with receiving(None, None, 200) as receiver:
        async with webhook_service(tmp_path) as service:
            webhook = await service.webhook(receiver.address)
            await service.webhooks.close()
            async with service.database.write() as connection:
                for number in range(5):
                    await service.outbox.publish(connection, 1, "job.completed", {"number": number})
            killed = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.jobs.courier_process", str(tmp_path), cwd=ROOT
            )
            await until(lambda: _holds_two(receiver))
            killed.kill()
            await killed.wait()
        async with webhook_service(tmp_path) as service:
            service.later(DAY_S)
            await until(lambda: _are_delivered(service, webhook))
            assert all(delivery.attempts == 1 for delivery in await service.log(webhook))
    numbers = [json.loads(request.body)["data"]["number"] for request in receiver.requests]
    assert sorted(set(numbers)) == [0, 1, 2, 3, 4]
    assert len(numbers) == 7


async def _are_delivered(service: WebhookService, webhook: pb.Webhook) -> bool:
    return all(delivery.delivered for delivery in await service.log(webhook))


async def _holds_two(receiver: Receiver) -> bool:
    return receiver.open_at_once == 2 and len(receiver.requests) == 2


async def test_old_deliveries_are_swept(service: WebhookService) -> None:
    async with receiving() as receiver:
        webhook = await service.webhook(receiver.address)
        await service.publish()
        await service.tried(webhook)
        assert await service.webhooks.sweep() == 0
        service.later(31 * DAY_S)
        assert await service.webhooks.sweep() == 1
        assert await service.log(webhook) == []


async def test_a_callback_is_sent_as_it_is(service: WebhookService) -> None:
    async with receiving(500, 200) as receiver:
        async with service.database.write() as connection:
            await service.outbox.callback(
                connection, 1, receiver.address + "/done", b"<x/>", "text/xml", "job_1"
            )
        await until(lambda: _were_made(service, 1))
        service.later(60)
        await until(lambda: _were_made(service, 2))
    first, second = receiver.requests
    assert (first.path, first.body, first.headers["content-type"]) == ("/done", b"<x/>", "text/xml")
    assert "x-emotionchat-signature" not in first.headers
    assert first.headers["x-affectmesh-delivery"] == second.headers["x-affectmesh-delivery"]


async def _were_made(service: WebhookService, tries: int) -> bool:
    """Whether the one delivery that there is was tried so often."""
    async with service.database.read() as connection:
        made = (await connection.execute(select(deliveries.c.attempts))).scalar_one()
    return int(made) == tries
