"""Signatures that AWS published, and some that its own library made."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from trunkline.providers.sigv4 import Credentials, Request, Scope, normalise_path, sign

KEYS = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
SUITE_AT = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
SUITE_SCOPE = Scope("us-east-1", "service")
HOST = ("Host", "example.amazonaws.com")
UNRESERVED = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
FORM = "application/x-www-form-urlencoded"
TOKEN = "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267"
LONG_TOKEN = (
    "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfI"
    "eoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0"
    "wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDry"
    "pNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="
)


def read_lines(lines: bytes) -> dict[str, str]:
    *fields, end = lines.decode("ascii").split("\r\n")
    assert end == ""
    return dict(field.split(": ", 1) for field in fields)


def read_signature(lines: bytes) -> str:
    return read_lines(lines)["authorization"].rpartition("Signature=")[2]


# The published suite signs paths as they were typed: its one encoding is our second one. Its
# query strings are encoded here as they would go over the wire.
@pytest.mark.parametrize(
    ("target", "headers", "signature"),
    [
        ("/", [], "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("/example/..", [], "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        (
            "/example1/example2/../..",
            [],
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        ),
        ("/./", [], "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("//", [], "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("/./example", [], "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5"),
        ("//example//", [], "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84"),
        ("/example space/", [], "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741"),
        (
            "/example/$delete",
            [],
            "a853c9b21b528b19643d00910d35b83a10c366a10833ceefb45edd6c80e40f27",
        ),
        ("/ሴ", [], "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"),
        (f"/{UNRESERVED}", [], "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"),
        ("/?Param1=value1", [], "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"),
        (
            "/?Param-3=Value3&Param=Value2&%E1%88%B4=Value1",
            [],
            "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac",
        ),
        (
            "/?Param2=value2&Param1=value1",
            [],
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (
            "/?Param1=value2&Param1=Value1",
            [],
            "eedbc4e291e521cf13422ffca22be7d2eb8146eecf653089df300a15b2382bd1",
        ),
        (
            "/?Param1=value2&Param1=value1",
            [],
            "5772eed61e12b33fae39ee5e7012498b51d56abc0abb7c60486157bd471c4694",
        ),
        (
            f"/?{UNRESERVED}={UNRESERVED}",
            [],
            "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197",
        ),
        ("/?%E1%88%B4=bar", [], "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"),
        (
            "/",
            ["value2", "value2", "value1"],
            "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
        ),
        (
            "/",
            ["value1\n  value2\n     value3"],
            "cfd34249e4b1c8d6b91ef74165d41a32e5fab3306300901bb65a51a73575eefd",
        ),
        (
            "/",
            ["value4", "value1", "value3", "value2"],
            "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01",
        ),
    ],
)
def test_gets_of_the_published_suite(target: str, headers: list[str], signature: str) -> None:
    path, _, query = target.partition("?")
    fields = [HOST, *(("My-Header1", value) for value in headers)]
    lines = sign(Request("GET", path, fields, b"", query), KEYS, SUITE_SCOPE, SUITE_AT)
    assert read_signature(lines) == signature


@pytest.mark.parametrize(
    ("target", "headers", "body", "signature"),
    [
        ("/", [], b"", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        (
            "/?Param1=value1",
            [],
            b"",
            "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11",
        ),
        (
            "/",
            [("My-Header1", "value1")],
            b"",
            "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
        ),
        (
            "/",
            [("My-Header1", "VALUE1")],
            b"",
            "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d",
        ),
        (
            "/",
            [("Content-Type", FORM)],
            b"Param1=value1",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
        (
            "/",
            [("Content-Type", f"{FORM}; charset=utf8")],
            b"Param1=value1",
            "1a72ec8f64bd914b0e42e42607c7fbce7fb2c7465f63e3092b3b0d39fa77a6fe",
        ),
    ],
)
def test_posts_of_the_published_suite(
    target: str, headers: list[tuple[str, str]], body: bytes, signature: str
) -> None:
    path, _, query = target.partition("?")
    request = Request("POST", path, [*headers, HOST], body, query)
    assert read_signature(sign(request, KEYS, SUITE_SCOPE, SUITE_AT)) == signature


@pytest.mark.parametrize(
    ("method", "token", "signature"),
    [
        ("GET", TOKEN, "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8"),
        ("POST", LONG_TOKEN, "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"),
    ],
)
def test_a_session_token_is_sent_and_signed(method: str, token: str, signature: str) -> None:
    keys = Credentials(KEYS.access_key, KEYS.secret_key, token)
    lines = read_lines(sign(Request(method, "/", [HOST]), keys, SUITE_SCOPE, SUITE_AT))
    assert lines == {
        "x-amz-date": "20150830T123600Z",
        "x-amz-security-token": token,
        "authorization": (
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
            f"SignedHeaders=host;x-amz-date;x-amz-security-token, Signature={signature}"
        ),
    }


def test_headers_are_trimmed_before_they_are_signed() -> None:
    headers = [HOST, ("My-Header1", " value1"), ("My-Header2", ' "a   b   c"')]
    lines = sign(Request("GET", "/", headers), KEYS, SUITE_SCOPE, SUITE_AT)
    wanted = "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"
    assert read_signature(lines) == wanted


ARN = "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.meta.llama3-3-70b"


# Signatures that botocore 1.44.5 made for the same requests.
@pytest.mark.parametrize(
    ("target", "token", "body", "signature"),
    [
        (
            "/model/anthropic.claude-3-5-sonnet-20241022-v2%3A0/converse",
            "",
            b"{}",
            "117ba4e87e4c42fb09b13bf91025ccf01d808e4db57e4974c82ed5992ddd59c9",
        ),
        (
            f"/model/{ARN}-instruct-v1%3A0/converse-stream",
            "IQoJb3JpZ2luX2VjEXAMPLE//w==",
            '{"messages":[{"role":"user","content":[{"text":"hé"}]}]}'.encode(),
            "2b7b57797b31b1c4fced56416105a3d5d6efc9d2e68878435410d320d7542fac",
        ),
        (
            "/openai/v1/chat/completions?b=2&a=1",
            "",
            b"",
            "495775b65384d49dc6f6e04902a85034226e5387b53603c3aad94c4ccdd9b2b5",
        ),
    ],
)
def test_requests_for_bedrock_are_signed_as_by_aws_own_library(
    target: str, token: str, body: bytes, signature: str
) -> None:
    path, _, query = target.partition("?")
    host = ("host", "bedrock-runtime.us-east-1.amazonaws.com")
    request = Request("POST", path, [host, ("content-type", "application/json")], body, query)
    keys = Credentials(KEYS.access_key, KEYS.secret_key, token)
    at = datetime(2026, 11, 22, 9, 30, 5, tzinfo=UTC)
    scope = Scope("us-east-1", "bedrock")
    assert read_signature(sign(request, keys, scope, at)) == signature
    elsewhere = at.astimezone(timezone(timedelta(hours=-11)))  # where it is still the day before
    assert sign(request, keys, scope, elsewhere) == sign(request, keys, scope, at)


def test_what_is_encoded_on_the_wire_is_encoded_again_in_the_canonical_path() -> None:
    assert normalise_path("/model/a.b-v1%3A0/converse") == "/model/a.b-v1%253A0/converse"
    assert normalise_path("/model/a:0/converse") == "/model/a%3A0/converse"
    assert normalise_path("") == "/"
    assert normalise_path("/../a//./b/") == "/a/b/"


def test_a_secret_is_not_shown() -> None:
    keys = Credentials("AKIDEXAMPLE", "the-secret", "the-token")
    assert "AKIDEXAMPLE" in repr(keys)
    assert "the-" not in f"{keys} {keys!r} {[keys]}"
