"""Where AWS credentials lie: files, and the services that hand them out to machines of AWS.

Each function or class knows one place; ``aws.py`` knows their order.
"""

import re
from collections.abc import Mapping
from configparser import Error, RawConfigParser
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from trunkline.errors import GatewayError
from trunkline.providers.credential import Issued
from trunkline.providers.issuer import FAR, NEAR, Issuer
from trunkline.providers.sigv4 import Credentials
from trunkline.providers.upstream import ConnectFailed

_CONTAINER: Final = "http://169.254.170.2"
_CONTAINER_HOSTS: Final = ("169.254.170.2", "169.254.170.23", "fd00:ec2::23", "localhost")
"""Hosts that get a container's token over plain HTTP; loopback addresses too."""
_INSTANCE: Final = "http://169.254.169.254"
_ROLES: Final = "/latest/meta-data/iam/security-credentials/"
_SESSION_S: Final = 21600
_XML_FIELD: Final = re.compile(
    r"<(AccessKeyId|SecretAccessKey|SessionToken|Expiration|Code)>([^<>&]+)</"
)


class _Answer(msgspec.Struct, frozen=True, rename="pascal"):
    """Credentials as the services of containers and instances write them."""

    access_key_id: str
    secret_access_key: str
    token: str = ""
    expiration: datetime | None = None


def read_environment(variables: Mapping[str, str]) -> Credentials | None:
    """The key pair in ``AWS_ACCESS_KEY_ID`` and its companions, if there is one.

    Raises:
        GatewayError: ``upstream_auth`` when only half of it is there.
    """
    access_key = variables.get("AWS_ACCESS_KEY_ID", "")
    if not access_key:
        return None
    secret_key = variables.get("AWS_SECRET_ACCESS_KEY", "")
    if not secret_key:
        raise _refuse("AWS_ACCESS_KEY_ID is set without AWS_SECRET_ACCESS_KEY")
    return Credentials(access_key, secret_key, variables.get("AWS_SESSION_TOKEN", ""))


def read_profile(variables: Mapping[str, str], home: Path) -> Credentials | None:
    """The key pair of a profile in ``~/.aws/credentials``, if it is there.

    Raises:
        GatewayError: ``upstream_auth`` when the file cannot be read, or the profile that
            ``AWS_PROFILE`` names has no key pair in it.
    """
    asked = variables.get("AWS_PROFILE", "")
    name = asked or "default"
    given = variables.get("AWS_SHARED_CREDENTIALS_FILE", "")
    path = Path(given) if given else home / ".aws" / "credentials"
    parser = RawConfigParser(strict=False)  # raw: a secret may hold a percent sign
    try:
        parser.read_string(path.read_text("utf-8"))
    except FileNotFoundError:
        pass
    except (OSError, UnicodeDecodeError, Error):  # a parser's message may quote a secret
        raise _refuse(f"{path} cannot be read as a credentials file") from None
    values = dict(parser.items(name)) if parser.has_section(name) else {}
    access_key, secret_key = values.get("aws_access_key_id"), values.get("aws_secret_access_key")
    if access_key and secret_key:
        return Credentials(access_key, secret_key, values.get("aws_session_token", ""))
    if asked or access_key or secret_key:
        raise _refuse(f"profile '{name}' has no access key and secret in {path}")
    return None


def find_container_url(variables: Mapping[str, str]) -> str | None:
    """Where a container gets its credentials, if the environment says so.

    From "Container credential provider" (docs.aws.amazon.com/sdkref/latest/guide/
    feature-container-credentials.html, read 2026-11-22).

    Raises:
        ValueError: the URL leads to a host that must not see the container's token.
    """
    if relative := variables.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"):
        return f"{_CONTAINER}/{relative.removeprefix('/')}"
    url = variables.get("AWS_CONTAINER_CREDENTIALS_FULL_URI")
    if not url:
        return None
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "https" or host in _CONTAINER_HOSTS or _is_loopback(host):
        return url
    raise ValueError(
        "AWS_CONTAINER_CREDENTIALS_FULL_URI must begin with https:// or lead to this machine"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class ContainerService:
    """The service that gives a container of ECS or a pod of EKS its credentials."""

    def __init__(self, url: str, variables: Mapping[str, str]) -> None:
        self.issuer = Issuer(url, NEAR)
        self._variables = variables

    async def obtain(self) -> Issued[Credentials]:
        """The container's credentials; the token's file is read anew each time."""
        token = self._variables.get("AWS_CONTAINER_AUTHORIZATION_TOKEN", "")
        if path := self._variables.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", ""):
            token = _read_token(path)
        headers = {"authorization": token} if token else {}
        status, body = await self.issuer.ask("GET", self.issuer.target, headers)
        return _read_answer(self.issuer, status, body)


class InstanceService:
    """The metadata service of an EC2 instance, in its second version only.

    From "Retrieve security credentials from instance metadata" (docs.aws.amazon.com/AWSEC2/
    latest/UserGuide/instance-metadata-security-credentials.html, read 2026-11-22).
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        url = variables.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or _INSTANCE
        self.issuer = Issuer(url, NEAR)

    async def obtain(self) -> Issued[Credentials]:
        """The credentials of the role that the instance has."""
        ask = self.issuer.ask
        life = {"x-aws-ec2-metadata-token-ttl-seconds": str(_SESSION_S)}
        try:
            status, token = await ask("PUT", "/latest/api/token", life)
        except ConnectFailed:
            message = f"no place has any, and there is no instance service at {self.issuer.origin}"
            raise _refuse(message) from None
        if status != 200:
            raise _refuse(f"{self.issuer.origin} answered {status} where it should give a token")
        headers = {"x-aws-ec2-metadata-token": token.decode("latin-1")}
        status, roles = await ask("GET", _ROLES, headers)
        names = roles.decode("latin-1").split()
        if status != 200 or not names:
            raise _refuse(f"the instance has no role ({self.issuer.origin} answered {status})")
        status, body = await ask("GET", _ROLES + quote(names[0], safe="@=,.+-_"), headers)
        return _read_answer(self.issuer, status, body)


class TokenService:
    """AWS STS, where the token of a Kubernetes service account is changed into credentials.

    From AWS's model of the service (boto/botocore, data/sts/2011-06-15/service-2.json, read
    2026-11-22): an unsigned query, answered in XML.
    """

    def __init__(self, variables: Mapping[str, str], region: str) -> None:
        ending = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
        url = variables.get("AWS_ENDPOINT_URL_STS") or f"https://sts.{region}.{ending}"
        self.issuer = Issuer(url, FAR, variables=variables)
        self._path = variables["AWS_WEB_IDENTITY_TOKEN_FILE"]
        self._fields = {
            "Action": "AssumeRoleWithWebIdentity",
            "Version": "2011-06-15",
            "RoleArn": variables["AWS_ROLE_ARN"],
            "RoleSessionName": variables.get("AWS_ROLE_SESSION_NAME") or "trunkline",
        }

    async def obtain(self) -> Issued[Credentials]:
        """The role's credentials; the token's file is read anew each time."""
        fields = {**self._fields, "WebIdentityToken": _read_token(self._path)}
        headers = {"content-type": "application/x-www-form-urlencoded", "accept": "text/xml"}
        body = urlencode(fields).encode()
        status, answer = await self.issuer.ask("POST", self.issuer.target, headers, body)
        found = dict(_XML_FIELD.findall(answer.decode("utf-8", "replace")))
        if status != 200:
            code = re.sub(r"\W", "", found.get("Code", ""))[:40] or "no code"
            raise _refuse(f"{self.issuer.origin} refused the role ({status}, {code})")
        try:
            ends_at = datetime.fromisoformat(found["Expiration"])
            keys = (found[name] for name in ("AccessKeyId", "SecretAccessKey", "SessionToken"))
            return Issued(Credentials(*keys), ends_at.timestamp())
        except (KeyError, ValueError):
            raise _refuse(f"{self.issuer.origin} sent what are no credentials") from None


def _read_token(path: str) -> str:
    try:
        return Path(path).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise _refuse(f"the token file {path} cannot be read") from None


def _read_answer(issuer: Issuer, status: int, body: bytes) -> Issued[Credentials]:
    if status != 200:
        raise _refuse(f"{issuer.origin} answered {status} where it should give credentials")
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise _refuse(f"{issuer.origin} sent what are no credentials") from None
    credentials = Credentials(answer.access_key_id, answer.secret_access_key, answer.token)
    if answer.expiration is None:
        return Issued(credentials)
    return Issued(credentials, answer.expiration.timestamp())


def _refuse(reason: str) -> GatewayError:
    return GatewayError("upstream_auth", reason)
