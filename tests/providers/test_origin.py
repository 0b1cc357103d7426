import pytest

from trunkline.providers.origin import Origin, parse_base_url


@pytest.mark.parametrize(
    ("url", "origin", "prefix"),
    [
        ("https://api.openai.com/v1", Origin("https", "api.openai.com", 443), "/v1"),
        ("http://127.0.0.1:9100/v1/", Origin("http", "127.0.0.1", 9100), "/v1"),
        ("http://LAB.example", Origin("http", "lab.example", 80), ""),
        ("https://[::1]:8443/a/b", Origin("https", "::1", 8443), "/a/b"),
    ],
)
def test_base_url_splits_into_origin_and_prefix(url: str, origin: Origin, prefix: str) -> None:
    assert parse_base_url(url) == (origin, prefix)


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("api.openai.com/v1", "http://"),
        ("ftp://host/", "http://"),
        ("https://", "no host"),
        ("https://u:hunter2@host/v1", "api_key"),
        ("https://host/v1?key=1", "query"),
        ("https://host/v1#x", "fragment"),
        ("https://host:99999/", "not a URL"),
        ("https://host:0/", "port 0"),
        ("https://host/a b", "blank"),
        ("https://host/\r\nx: y", "control"),
        ("https://hôst/", "non-ASCII"),
        ("https://[::1/", "not a URL"),
    ],
)
def test_bad_base_url_is_refused_with_a_reason(url: str, word: str) -> None:
    with pytest.raises(ValueError, match=word) as caught:
        parse_base_url(url)
    assert "hunter2" not in str(caught.value)


def test_authority_leaves_out_the_port_of_the_scheme() -> None:
    assert Origin("https", "a.example", 443).authority == "a.example"
    assert Origin("https", "a.example", 80).authority == "a.example:80"
    assert Origin("http", "::1", 80).authority == "[::1]"
    assert str(Origin("http", "::1", 80)) == "http://[::1]:80"
