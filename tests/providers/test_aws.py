"""The places where AWS credentials may be, in their order, and requests signed with them."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from access.clock import Clock
from providers.issuing import Desk
from scripted import Request, ScriptedServer, wait_until
from trunkline.errors import GatewayError
from trunkline.providers import sigv4
from trunkline.providers.aws import AwsSigner, CredentialChain
from trunkline.providers.aws_source import find_container_url
from trunkline.providers.credential import Signer
from trunkline.providers.sigv4 import Credentials, Scope

HOST = "bedrock-runtime.us-east-1.amazonaws.com"
SCOPE = Scope("us-east-1", "bedrock")
NOWHERE = {"AWS_EC2_METADATA_DISABLED": "true"}
ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "AKENV", "AWS_SECRET_ACCESS_KEY": "env-secret"}
START_S = Clock().now_s


def answer(access_key: str, ends_at_s: float | None = START_S + 3600) -> tuple[int, dict[str, Any]]:
    """Credentials as the services of containers and instances answer them."""
    fields = {
        "Code": "Success",
        "AccessKeyId": access_key,
        "SecretAccessKey": "its-secret",
        "Token": "its-token",
    }
    if ends_at_s is not None:
        fields["Expiration"] = f"{datetime.fromtimestamp(ends_at_s, UTC):%Y-%m-%dT%H:%M:%SZ}"
    return 200, fields


def write_xml(access_key: str) -> tuple[int, str]:
    """Credentials as STS answers them."""
    ends_at = datetime.fromtimestamp(START_S + 3600, UTC)
    return (
        200,
        f"""<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
      <AssumeRoleWithWebIdentityResult><Audience>sts.amazonaws.com</Audience><Credentials>
        <SessionToken>its//token==</SessionToken><SecretAccessKey>its-secret</SecretAccessKey>
        <Expiration>{ends_at:%Y-%m-%dT%H:%M:%SZ}</Expiration><AccessKeyId>{access_key}</AccessKeyId>
      </Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>""",
    )


def write_profiles(home: Path, text: str) -> None:
    (home / ".aws").mkdir(exist_ok=True)
    (home / ".aws" / "credentials").write_text(text)


async def find(variables: dict[str, str], home: Path, keys: Credentials | None = None) -> Any:
    chain = CredentialChain("us-east-1", variables, home, keys, Clock())
    try:
        return await chain.obtain()
    finally:
        await chain.close()


async def test_the_places_are_looked_at_in_their_order(tmp_path: Path) -> None:
    token_file = tmp_path / "identity"
    token_file.write_text("identity-token\n")
    write_profiles(tmp_path, "[default]\naws_access_key_id=AKFILE\naws_secret_access_key=s\n")
    async with (
        ScriptedServer(Desk(write_xml("AKSTS"))) as sts,
        ScriptedServer(Desk(answer("AKCONTAINER"))) as container,
        ScriptedServer(Desk((200, "t"), (200, "role"), answer("AKINSTANCE"))) as instance,
    ):
        places: list[tuple[str, dict[str, str]]] = [
            ("AKINSTANCE", {"AWS_EC2_METADATA_SERVICE_ENDPOINT": instance.url}),
            ("AKCONTAINER", {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{container.url}/c"}),
            ("AKFILE", {"AWS_SHARED_CREDENTIALS_FILE": ""}),
            (
                "AKSTS",
                {
                    "AWS_ROLE_ARN": "arn:aws:iam::1:role/r",
                    "AWS_WEB_IDENTITY_TOKEN_FILE": str(token_file),
                    "AWS_ENDPOINT_URL_STS": sts.url,
                },
            ),
            ("AKENV", ENVIRONMENT),
        ]
        variables = {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "missing")}
        for access_key, added in places:
            variables |= added
            assert (await find(variables, tmp_path)).value.access_key == access_key
        keys = Credentials("AKCONFIG", "s")
        assert (await find(variables, tmp_path, keys)).value.access_key == "AKCONFIG"
        assert len(instance.requests) == 3
        assert len(container.requests) == len(sts.requests) == 1


async def test_a_machine_without_credentials_says_so(tmp_path: Path) -> None:
    chain = CredentialChain("us-east-1", NOWHERE, tmp_path, None, Clock())
    signer = AwsSigner(HOST, SCOPE, chain, Clock())
    with pytest.raises(GatewayError, match="No credential for AWS: neither") as caught:
        await signer.ready()
    assert caught.value.code == "upstream_auth"
    assert signer.sign("/x", b"") is None
    await signer.close()


async def test_a_machine_that_is_no_instance_is_told_so(tmp_path: Path) -> None:
    async with ScriptedServer(Desk((200, ""))) as server:
        url = server.url
    with pytest.raises(GatewayError, match="there is no instance service at http://127") as caught:
        await find({"AWS_EC2_METADATA_SERVICE_ENDPOINT": url}, tmp_path)
    assert caught.value.code == "upstream_auth"


async def test_the_environment_may_hold_a_session_token(tmp_path: Path) -> None:
    found = await find({**ENVIRONMENT, "AWS_SESSION_TOKEN": "env-token"}, tmp_path)
    assert found.value == Credentials("AKENV", "env-secret", "env-token")
    assert found.ends_at_s == float("inf")
    with pytest.raises(GatewayError, match="without AWS_SECRET_ACCESS_KEY"):
        await find({**NOWHERE, "AWS_ACCESS_KEY_ID": "AKENV"}, tmp_path)


@pytest.mark.parametrize("broken", ["sec\nret", "sec ret", "secrét"])
async def test_credentials_that_no_header_can_carry_are_refused(
    tmp_path: Path, broken: str
) -> None:
    for name in (*ENVIRONMENT, "AWS_SESSION_TOKEN"):
        with pytest.raises(GatewayError, match="no header may") as caught:
            await find({**ENVIRONMENT, name: broken}, tmp_path)
        assert broken not in caught.value.message


async def test_a_profile_is_read_as_it_stands(tmp_path: Path) -> None:
    write_profiles(
        tmp_path,
        "[default]\naws_access_key_id = AKDEFAULT\naws_secret_access_key = a\n"
        "[work]\naws_access_key_id = AKWORK\naws_secret_access_key = %(per)cent%\n"
        "aws_session_token = file-token\ns3 =\n    max_queue_size = 7\n",
    )
    assert (await find({}, tmp_path)).value == Credentials("AKDEFAULT", "a")
    found = await find({"AWS_PROFILE": "work"}, tmp_path)
    assert found.value == Credentials("AKWORK", "%(per)cent%", "file-token")


async def test_a_profile_is_read_again_every_few_minutes(tmp_path: Path) -> None:
    clock = Clock()
    text = "[default]\naws_access_key_id = {}\naws_secret_access_key = a\n"
    write_profiles(tmp_path, text.format("AKOLD"))
    signer = AwsSigner(HOST, SCOPE, CredentialChain("r", {}, tmp_path, None, clock), clock)
    await signer.ready()
    write_profiles(tmp_path, text.format("AKNEW"))
    assert b"AKOLD" in (signer.sign("/x", b"") or b"")
    clock.now_s += 300
    assert signer.sign("/x", b"") is None
    await signer.ready()
    assert b"AKNEW" in (signer.sign("/x", b"") or b"")
    await signer.close()


@pytest.mark.parametrize(
    ("text", "profile", "reason"),
    [
        ("", "work", "profile 'work' has no access key"),
        ("[work]\nrole_arn = x\n", "work", "profile 'work' has no access key"),
        ("[default]\naws_access_key_id = AK\n", "", "profile 'default' has no access key"),
        ("[default]\naws_secret_access_key = canary\n", "", "profile 'default'"),
        ("aws_secret_access_key = canary\n", "", "cannot be read"),
        ("[default\ncanary\n", "", "cannot be read"),
    ],
)
async def test_a_profile_that_is_no_good_ends_the_search(
    tmp_path: Path, text: str, profile: str, reason: str
) -> None:
    write_profiles(tmp_path, text)
    with pytest.raises(GatewayError, match=reason) as caught:
        await find({**NOWHERE, "AWS_PROFILE": profile}, tmp_path)
    assert caught.value.code == "upstream_auth"
    assert "canary" not in caught.value.message


async def test_a_container_shows_its_token_and_reads_it_anew(tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    async with ScriptedServer(Desk(answer("AKONE"), answer("AKTWO", None))) as server:
        variables = {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{server.url}/v1/credentials?id=7",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(token_file),
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": "of no account",
        }
        chain = CredentialChain("us-east-1", variables, tmp_path, None, Clock())
        token_file.write_text("first\n")
        issued = await chain.obtain()
        assert issued.value == Credentials("AKONE", "its-secret", "its-token")
        assert issued.ends_at_s == START_S + 3600
        token_file.write_text("second")
        assert (await chain.obtain()).ends_at_s == float("inf")
        shown = [request.headers["authorization"] for request in server.requests]
        assert shown == ["first", "second"]
        assert server.requests[0].target == "/v1/credentials?id=7"
        token_file.write_text("bro\r\nken: yes")
        with pytest.raises(GatewayError, match="no header may"):
            await chain.obtain()
        token_file.unlink()
        with pytest.raises(GatewayError, match="token cannot be read"):
            await chain.obtain()
        assert len(server.requests) == 2
        await chain.close()


@pytest.mark.parametrize(
    ("name", "value", "url"),
    [
        ("RELATIVE", "/v2/credentials/7", "http://169.254.170.2/v2/credentials/7"),
        ("RELATIVE", "@elsewhere.example/", "http://169.254.170.2/@elsewhere.example/"),
        ("FULL", "http://169.254.170.23/v1/credentials", None),
        ("FULL", "http://[fd00:ec2::23]/v1/credentials", None),
        ("FULL", "http://localhost:1234/x", None),
        ("FULL", "http://127.9.9.9/x", None),
        ("FULL", "http://[::1]/x", None),
        ("FULL", "https://anywhere.example/x", None),
    ],
)
def test_a_container_asks_only_where_it_may(name: str, value: str, url: str | None) -> None:
    variables = {f"AWS_CONTAINER_CREDENTIALS_{name}_URI": value}
    assert find_container_url(variables) == (url or value)


@pytest.mark.parametrize(
    "url", ["http://elsewhere.example/x", "http://10.0.0.1/", "http://169.254.169.254/", "x"]
)
def test_a_container_never_shows_its_token_elsewhere(tmp_path: Path, url: str) -> None:
    variables = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": url}
    with pytest.raises(ValueError, match="FULL_URI must begin with https"):
        CredentialChain("us-east-1", variables, tmp_path)


async def test_an_instance_is_asked_in_the_second_version_of_its_service(tmp_path: Path) -> None:
    async with ScriptedServer(
        Desk((200, "session=="), (200, "my-role\n"), answer("AKROLE"))
    ) as server:
        variables = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": server.url}
        issued = await find(variables, tmp_path)
        assert issued.value == Credentials("AKROLE", "its-secret", "its-token")
        assert issued.ends_at_s == START_S + 3600
        first, *others = server.requests
    assert (first.method, first.target) == ("PUT", "/latest/api/token")
    assert first.headers["x-aws-ec2-metadata-token-ttl-seconds"] == "21600"
    root = "/latest/meta-data/iam/security-credentials/"
    assert [other.target for other in others] == [root, f"{root}my-role"]
    assert {other.headers["x-aws-ec2-metadata-token"] for other in others} == {"session=="}


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ([(403, "canary")], "answered 403 where it should give a token"),
        ([(200, "t"), (404, "canary")], "the instance has no role"),
        ([(200, "t"), (200, "")], "the instance has no role"),
        ([(200, "t\r\nx: y")], "no header may"),
        ([(200, "t"), (200, "r"), (500, "canary")], "answered 500"),
        ([(200, "t"), (200, "r"), (200, "canary")], "what are no credentials"),
        (
            [(200, "t"), (200, "r"), (200, {"Code": "Failed", "Message": "canary"})],
            "what are no credentials",
        ),
    ],
)
async def test_what_an_instance_cannot_give_is_said(
    tmp_path: Path, answers: list[Any], reason: str
) -> None:
    async with ScriptedServer(Desk(*answers)) as server:
        with pytest.raises(GatewayError, match=reason) as caught:
            await find({"AWS_EC2_METADATA_SERVICE_ENDPOINT": server.url}, tmp_path)
    assert caught.value.code == "upstream_auth"
    assert "canary" not in caught.value.message


async def test_a_web_identity_is_changed_into_credentials(tmp_path: Path) -> None:
    token_file = tmp_path / "identity"
    token_file.write_text("identity.token+7\n")
    async with ScriptedServer(Desk(write_xml("AKSTS"))) as server:
        variables = {
            "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/gateway",
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(token_file),
            "AWS_ENDPOINT_URL_STS": server.url,
        }
        issued = await find(variables, tmp_path)
        [request] = server.requests
    assert issued.value == Credentials("AKSTS", "its-secret", "its//token==")
    assert issued.ends_at_s == START_S + 3600
    assert (request.method, request.target) == ("POST", "/")
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert "authorization" not in request.headers
    assert parse_qs(request.body.decode(), strict_parsing=True) == {
        "Action": ["AssumeRoleWithWebIdentity"],
        "Version": ["2011-06-15"],
        "RoleArn": ["arn:aws:iam::123456789012:role/gateway"],
        "RoleSessionName": ["trunkline"],
        "WebIdentityToken": ["identity.token+7"],
    }


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (
            (400, "<ErrorResponse><Error><Code>ExpiredTokenException</Code>canary</Error>"),
            r"refused the role \(400, ExpiredTokenException\)",
        ),
        ((500, "canary"), r"refused the role \(500, no code\)"),
        ((200, "<AccessKeyId>canary</AccessKeyId>"), "what are no credentials"),
        ((200, write_xml("AK")[1].replace("<Expiration>", "<Expiration>x")), "no credentials"),
    ],
)
async def test_a_web_identity_that_is_refused_is_said(
    tmp_path: Path, given: Any, reason: str
) -> None:
    token_file = tmp_path / "identity"
    token_file.write_text("t")
    async with ScriptedServer(Desk(given)) as server:
        variables = {
            "AWS_ROLE_ARN": "arn",
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(token_file),
            "AWS_ENDPOINT_URL_STS": server.url,
        }
        with pytest.raises(GatewayError, match=reason) as caught:
            await find(variables, tmp_path)
    assert "canary" not in caught.value.message


async def test_each_request_is_signed_with_its_path_its_body_and_the_time(tmp_path: Path) -> None:
    clock = Clock()
    keys = Credentials("AKCONFIG", "s", "t")
    chain = CredentialChain("us-east-1", NOWHERE, tmp_path, keys, clock)
    signer: Signer = AwsSigner(HOST, SCOPE, chain, clock)
    assert signer.sign("/x", b"") is None
    await signer.ready()

    def expect(path: str, query: str, body: bytes) -> bytes:
        headers = [("host", HOST), ("content-type", "application/json")]
        request = sigv4.Request("POST", path, headers, body, query)
        return sigv4.sign(request, keys, SCOPE, datetime.fromtimestamp(clock.now_s, UTC))

    path = "/model/a%3A0/converse"
    lines = signer.sign(path, b"{}")
    assert lines == expect(path, "", b"{}")
    assert lines != signer.sign(path, b"{ }")
    assert signer.sign(f"{path}?b=1&a=2", b"{}") == expect(path, "b=1&a=2", b"{}")
    clock.now_s += 1
    assert lines != signer.sign(path, b"{}")
    assert signer.sign(path, b"{}") == expect(path, "", b"{}")
    await signer.close()


async def test_credentials_that_end_are_renewed_while_calls_go_on(tmp_path: Path) -> None:
    clock = Clock()
    held = asyncio.Event()

    def give(request: Request) -> tuple[int, dict[str, Any]]:
        return answer("AKONE" if clock.now_s == START_S else "AKTWO", clock.now_s + 3600)

    async with ScriptedServer(Desk(give, held=held)) as server:
        variables = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{server.url}/c"}
        chain = CredentialChain("us-east-1", variables, tmp_path, None, clock)
        signer = AwsSigner(HOST, SCOPE, chain, clock)
        await signer.ready()
        clock.now_s += 3600 - 225
        assert b"AKONE" in (signer.sign("/x", b"") or b"")
        await wait_until(lambda: len(server.requests) == 2)
        assert b"AKONE" in (signer.sign("/x", b"") or b"")
        held.set()
        await wait_until(lambda: b"AKTWO" in (signer.sign("/x", b"") or b""))
        await signer.close()
