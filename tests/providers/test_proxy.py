import pytest

from trunkline.providers.origin import Origin
from trunkline.providers.proxy import Proxy, find_proxy, parse_proxy

VENDOR = Origin("https", "api.vendor.example", 443)
PROXY = "http://proxy.example:3128"


def test_proxy_with_password_becomes_basic_authorization() -> None:
    proxy = parse_proxy("http://me:p%40ss@proxy.example:3128")
    assert proxy == Proxy("proxy.example", 3128, "Basic bWU6cEBzcw==")
    assert "p@ss" not in str(proxy)
    assert proxy.credential_line == b"proxy-authorization: Basic bWU6cEBzcw==\r\n"


def test_proxy_without_scheme_is_read() -> None:
    assert parse_proxy("proxy.example:3128") == Proxy("proxy.example", 3128)


@pytest.mark.parametrize(
    "text", ["https://proxy:1", "socks5://me:hunter2@p", "http://", "http://a:b", "http://a b"]
)
def test_bad_proxy_is_refused_without_its_text(text: str) -> None:
    with pytest.raises(ValueError, match="http://") as caught:
        parse_proxy(text)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("origin", "variables", "proxy"),
    [
        (VENDOR, {}, None),
        (VENDOR, {"HTTPS_PROXY": PROXY}, PROXY),
        (VENDOR, {"https_proxy": PROXY, "HTTPS_PROXY": "http://other"}, PROXY),
        (VENDOR, {"HTTP_PROXY": PROXY}, None),
        (VENDOR, {"ALL_PROXY": PROXY}, PROXY),
        (VENDOR, {"HTTPS_PROXY": PROXY, "NO_PROXY": "*"}, None),
        (VENDOR, {"HTTPS_PROXY": PROXY, "NO_PROXY": "x.example, vendor.example"}, None),
        (VENDOR, {"HTTPS_PROXY": PROXY, "NO_PROXY": ".Vendor.example:443"}, None),
        (VENDOR, {"HTTPS_PROXY": PROXY, "NO_PROXY": "vendor.example:8443"}, PROXY),
        (VENDOR, {"HTTPS_PROXY": PROXY, "NO_PROXY": "dor.example"}, PROXY),
        (Origin("http", "10.1.2.3", 80), {"HTTP_PROXY": PROXY, "NO_PROXY": "10.0.0.0/8"}, None),
        (Origin("http", "11.1.2.3", 80), {"HTTP_PROXY": PROXY, "NO_PROXY": "10.0.0.0/8"}, PROXY),
        (Origin("http", "10.1.2.3", 80), {"HTTP_PROXY": PROXY, "NO_PROXY": "10.1.2.3:80"}, None),
        (Origin("http", "fd00::1", 80), {"HTTP_PROXY": PROXY, "NO_PROXY": "[fd00::1]"}, None),
        (Origin("http", "127.0.0.1", 8080), {"HTTP_PROXY": PROXY}, None),
        (Origin("http", "localhost", 8080), {"HTTP_PROXY": PROXY}, None),
    ],
)
def test_environment_decides_the_proxy(
    origin: Origin, variables: dict[str, str], proxy: str | None
) -> None:
    assert find_proxy(origin, variables) == proxy
