"""Tokens for service accounts and from metadata servers, over real sockets."""

import sys
from base64 import urlsafe_b64decode
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from access.clock import Clock
from providers.issuing import Desk, token
from scripted import Peer, ScriptedServer
from trunkline.errors import GatewayError
from trunkline.providers.google import (
    AccountSource,
    GoogleSigner,
    MetadataSource,
    ServiceAccount,
    find_source,
    read_service_account,
)

EMAIL = "gateway@project.iam.gserviceaccount.com"


def write_pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture
def account(key: rsa.RSAPrivateKey) -> dict[str, Any]:
    """A key file's content; the token's address is a closed port until a test sets it."""
    return {
        "type": "service_account",
        "project_id": "project",
        "private_key_id": "key-7",
        "private_key": write_pem(key),
        "client_email": EMAIL,
        "token_uri": "http://127.0.0.1:9/token",
        "universe_domain": "googleapis.com",
    }


def write_file(folder: Path, content: object) -> Path:
    path = folder / "key.json"
    path.write_bytes(msgspec.json.encode(content))
    return path


def decode(part: str) -> bytes:
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


async def test_an_assertion_signed_with_the_key_is_exchanged_for_a_token(
    account: dict[str, Any], key: rsa.RSAPrivateKey, tmp_path: Path
) -> None:
    clock = Clock()
    async with ScriptedServer(Desk(token("ya29.one"))) as server:
        account["token_uri"] = f"{server.url}/token?x=1"
        path = write_file(tmp_path, account)
        signer = GoogleSigner(find_source(str(path), {}, clock=clock), clock)
        await signer.ready()
        assert signer.sign("/v1/x", b"{}") == b"authorization: Bearer ya29.one\r\n"
        await signer.close()
        [request] = server.requests
    assert (request.method, request.target) == ("POST", "/token?x=1")
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    fields = parse_qs(request.body.decode(), strict_parsing=True)
    assert fields["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    assert fields.keys() == {"grant_type", "assertion"}
    header, claims, signature = fields["assertion"][0].split(".")
    assert "=" not in header + claims + signature
    assert msgspec.json.decode(decode(header)) == {"alg": "RS256", "typ": "JWT", "kid": "key-7"}
    assert msgspec.json.decode(decode(claims)) == {
        "iss": EMAIL,
        "scope": "https://www.googleapis.com/auth/cloud-platform",
        "aud": "https://oauth2.googleapis.com/token",
        "iat": int(clock.now_s),
        "exp": int(clock.now_s) + 3600,
    }
    signed = f"{header}.{claims}".encode()
    key.public_key().verify(decode(signature), signed, PKCS1v15(), SHA256())


async def test_the_metadata_server_is_asked_as_google_wants_it() -> None:
    async with ScriptedServer(Desk(token("ya29.c.b0...."))) as server:
        host = f"{server.host}:{server.port}"
        source = find_source("", {"GCE_METADATA_HOST": host}, clock=Clock())
        issued = await source.obtain()
        await source.close()
        [request] = server.requests
    assert issued.value == "ya29.c.b0...."
    assert issued.ends_at_s == Clock().now_s + 3600
    wanted = "/computeMetadata/v1/instance/service-accounts/default/token"
    assert (request.method, request.target) == ("GET", wanted)
    assert request.headers["metadata-flavor"] == "Google"
    assert request.headers["host"] == host


def test_without_a_key_file_the_metadata_server_is_the_source(
    account: dict[str, Any], tmp_path: Path
) -> None:
    path = str(write_file(tmp_path, account))
    assert isinstance(find_source("", {}), MetadataSource)
    named = {"GOOGLE_APPLICATION_CREDENTIALS": path}
    assert isinstance(find_source("", named), AccountSource)
    missing = {"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "missing")}
    assert isinstance(find_source(path, missing), AccountSource)


async def test_tokens_are_fetched_through_the_proxy_of_the_environment(
    account: dict[str, Any],
) -> None:
    async with ScriptedServer(Desk(token("one"))) as proxy:
        account["token_uri"] = "http://tokens.example/token"
        known = msgspec.convert(account, ServiceAccount)
        variables = {"http_proxy": proxy.url}
        source = AccountSource(known, clock=Clock(), variables=variables)
        assert (await source.obtain()).value == "one"
        await source.close()
        assert proxy.requests[0].target == "http://tokens.example/token"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (
            (400, {"error": "invalid_grant", "error_description": "canary"}),
            r"\(400 invalid_grant\)$",
        ),
        ((400, {"error": "canary\r\ninjected: yes"}), r"\(400\)$"),
        ((401, {"error": {"message": "canary"}}), r"\(401\)$"),
        ((404, "canary"), r"\(404\)$"),
        ((200, "canary"), "no token$"),
        ((200, {"access_token": "canary"}), "no token$"),
        ((200, {"access_token": "", "expires_in": 1}), "no token$"),
        ((200, {"access_token": "canary\r\nx: y", "expires_in": 1}), "no token$"),
        ((200, {"access_token": "canary", "expires_in": "soon"}), "no token$"),
    ],
)
async def test_what_is_no_token_is_refused_and_not_repeated(answer: Any, reason: str) -> None:
    async with ScriptedServer(Desk(answer)) as server:
        source = MetadataSource(f"{server.host}:{server.port}", clock=Clock())
        with pytest.raises(GatewayError, match=reason) as caught:
            await source.obtain()
        await source.close()
    assert caught.value.code == "upstream_auth"
    assert "canary" not in caught.value.message


async def test_an_endpoint_that_cuts_its_answer_is_no_source() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{")

    async with ScriptedServer(script) as server:
        signer = GoogleSigner(MetadataSource(f"{server.host}:{server.port}"))
        with pytest.raises(GatewayError, match="before the end") as caught:
            await signer.ready()
        assert caught.value.code == "upstream_auth"
        await signer.close()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"type": "external_account"}, "of the type 'external_account'"),
        ({"type": None}, r"`\$\.type`"),
        ({"private_key": None}, r"Expected `str`, got `null` - at `\$.private_key`"),
        ({"client_email": 7}, "client_email"),
    ],
)
def test_a_file_that_is_no_key_of_a_service_account_is_named(
    account: dict[str, Any], tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    path = write_file(tmp_path, account | change)
    with pytest.raises(ValueError, match=reason) as caught:
        read_service_account(path)
    assert str(path) in str(caught.value)


def test_a_users_own_file_is_told_from_a_service_accounts(tmp_path: Path) -> None:
    fields = {"type": "authorized_user", "client_id": "i", "refresh_token": "canary"}
    path = write_file(tmp_path, fields)
    with pytest.raises(ValueError, match="'authorized_user', not 'service_account'") as caught:
        read_service_account(path)
    assert "canary" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"missing\.json cannot be read: No such file"):
        read_service_account(tmp_path / "missing.json")
    path = tmp_path / "noise.json"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"noise\.json is no key file"):
        read_service_account(path)


def test_a_key_that_cannot_sign_is_refused_without_showing_it(account: dict[str, Any]) -> None:
    account["private_key"] = "-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----\n"
    with pytest.raises(ValueError, match="is not a PEM key") as caught:
        AccountSource(msgspec.convert(account, ServiceAccount))
    assert "canary" not in str(caught.value)
    account["private_key"] = write_pem(ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(ValueError, match="is not an RSA key"):
        AccountSource(msgspec.convert(account, ServiceAccount))


def test_a_token_endpoint_that_is_no_url_is_refused(account: dict[str, Any]) -> None:
    account["token_uri"] = "ftp://tokens.example"
    with pytest.raises(ValueError, match="must begin with http"):
        AccountSource(msgspec.convert(account, ServiceAccount))


def test_without_the_extra_the_error_says_what_to_install(
    account: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric.rsa", None)
    with pytest.raises(ValueError, match=r"pip install 'trunkline\[vertex\]'"):
        AccountSource(msgspec.convert(account, ServiceAccount))


def test_a_key_is_not_shown(account: dict[str, Any]) -> None:
    shown = repr(msgspec.convert(account, ServiceAccount))
    assert EMAIL in shown
    assert "PRIVATE KEY" not in shown
