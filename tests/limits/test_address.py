"""What can be the address of the limits, and what of it may be shown."""

import pytest

from trunkline.limits.address import check_url, holds_password, mask_url

GOOD = {
    "redis://localhost": "redis://localhost",
    "redis://127.0.0.1:6379/9": "redis://127.0.0.1:6379/9",
    "redis://[::1]:6379/": "redis://[::1]:6379",
    "redis://:pw-canary@h/0": "redis://h/0",
    "rediss://user:pw%40canary@h:1/2": "rediss://user@h:1/2",
    "rediss://u@h?ssl_ca_certs=/etc/ca.pem&ssl_certfile=/etc/c.pem": "rediss://u@h",
}
BAD = [
    "",
    "redis",
    "Memory",
    "redis://",
    "redis:///1",
    "redis://h/x",
    "redis://h:port",
    "redis://u:p@w@h",
    "redis://u:p/w@h",
    "redis://u:p%zz@h",
    "redis://h/1?ssl_ca_certs=/etc/ca.pem",
    "rediss://h?ssl_cert_reqs=none",
    "rediss://h?ssl_check_hostname=false",
    "rediss://h?password=pw-canary",
    "rediss://h?ssl_ca_certs=",
    "unix:///run/redis.sock",
    "postgresql://h/d",
    "redis://h/1 ",
    "redis://h/1\n",
]


@pytest.mark.parametrize("url", [*GOOD, "memory"])
def test_what_can_be_an_address(url: str) -> None:
    check_url(url)


@pytest.mark.parametrize("url", BAD)
def test_what_cannot_be_one(url: str) -> None:
    with pytest.raises(ValueError, match='expected "memory" or "redis://') as caught:
        check_url(url)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(("url", "shown"), GOOD.items())
def test_what_is_shown_has_no_password_and_no_options(url: str, shown: str) -> None:
    assert mask_url(url) == shown
    assert holds_password(url) == ("canary" in url)


@pytest.mark.parametrize("url", BAD)
def test_of_what_cannot_be_one_nothing_is_shown(url: str) -> None:
    assert mask_url(url) in {"redis://…", "redis://h/1", "rediss://h"}
