"""Where the end of a job may be sent."""

import pytest

from services.common import errors
from services.jobs import webhook_addresses


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/hook",
        "https://localhost:8443/hook",
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/",
        "http://[::1]/",
        "http://[::ffff:10.0.0.1]/",
    ],
)
async def test_addresses_inside_are_refused(url: str) -> None:
    with pytest.raises(errors.FetchFailed) as raised:
        await webhook_addresses.check(url, False, field="callback_url", plain=True)
    assert raised.value.details["field"] == "callback_url"


@pytest.mark.parametrize("url", ["http://192.0.32.8/hook", "https://192.0.32.8:8443/hook?token=a"])
async def test_a_callback_may_be_plain(url: str) -> None:
    assert await webhook_addresses.check(url, False, field="callback_url", plain=True) == url
    if url.startswith("http:"):
        with pytest.raises(errors.InvalidRequest):
            await webhook_addresses.check(url, False)
